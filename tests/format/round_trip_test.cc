// What is written is what is read: every sample and option, rows in any range, and the same bytes
// every time.
#include <thread>

#include "octavo/writer.h"
#include "tests/format/octavo_files.h"
#include "tests/testing/random.h"

namespace octavo::testing {
namespace {

using format::Codec;
using format::Reader;
using format::TensorEntry;
using format::Writer;

std::vector<std::byte> RandomBytes(Random& random, uint64_t size, bool compressible) {
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes)
    byte = static_cast<std::byte>(compressible ? random.Bits() & 3 : random.Bits());
  return bytes;
}

struct Tensor {
  std::string name;
  DType dtype;
  Shape shape;
  uint64_t matrix_rows;
  uint64_t chunk_rows;
  std::vector<std::byte> raw;
};

std::vector<Tensor> RandomTensors(Random& random) {
  std::vector<Tensor> tensors;
  for (uint32_t i = 0; i < 30; ++i) {
    const auto dtype = static_cast<DType>(random.Below(15));
    const uint64_t experts = 1 + random.Below(4);
    const uint64_t rows = random.Below(20);
    const uint64_t columns = random.Below(i % 5 == 0 ? 20'000 : 50);
    const Shape shape = i == 0 ? Shape{} : i == 1 ? Shape{columns} : Shape{experts, rows, columns};
    Tensor tensor = {"t" + std::to_string(i), dtype, shape, 0, random.Below(9), {}};
    if (shape.rank() == 3 && rows > 0 && random.Chance(0.5)) tensor.matrix_rows = rows;
    tensor.raw = RandomBytes(random, *shape.NumElements() * DTypeBytes(dtype), random.Chance(0.5));
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

// Chunks are placed in order, then encoded bytes are written by several threads in whatever order
// they come.
void Write(const std::string& path, const std::vector<Tensor>& tensors,
           const format::WriterOptions& options, size_t num_threads) {
  auto writer = Writer::Create(path, options);
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  struct Job {
    Writer::Place place;
    std::vector<std::byte> data;
  };
  std::vector<Job> jobs;
  for (const Tensor& tensor : tensors) {
    ASSERT_TRUE(writer->BeginBundle(tensor.raw.size()).ok());
    const auto idx = writer->AddTensor(tensor.name, tensor.dtype, tensor.shape, tensor.matrix_rows,
                                       tensor.chunk_rows);
    ASSERT_TRUE(idx.ok()) << idx.status().message();
    const TensorEntry& entry = writer->tensor(*idx);
    const uint64_t row_bytes = tensor.shape.row_elements() * DTypeBytes(tensor.dtype);
    for (uint64_t i = 0; i < format::NumChunks(entry); ++i) {
      const auto extent = format::ChunkAt(entry, i);
      std::vector<std::byte> buffer;
      const auto chunk = writer->EncodeChunk(
          std::span(tensor.raw).subspan(extent.first_row * row_bytes, extent.rows * row_bytes),
          &buffer);
      ASSERT_TRUE(chunk.ok());
      const auto place = writer->PlaceChunk(*idx, *chunk);
      ASSERT_TRUE(place.ok()) << place.status().message();
      jobs.push_back({*place, {chunk->data.begin(), chunk->data.end()}});
    }
    ASSERT_TRUE(writer->FinishTensor(*idx).ok());
  }
  std::vector<std::thread> threads;
  for (size_t t = 0; t < num_threads; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = jobs.size(); i-- > 0;) {
        if (i % num_threads != t) continue;
        EXPECT_TRUE(writer->WriteChunk(jobs[i].place, jobs[i].data).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(writer->AppendAsset("tokenizer.json", std::as_bytes(std::span("some text"))).ok());
  ASSERT_TRUE(writer->AppendAsset("empty", {}).ok());
  format::Manifest manifest;
  manifest.converter = "test";
  const Status status = writer->Finish(manifest);
  ASSERT_TRUE(status.ok()) << status.message();
  uint64_t bytes = 0;
  const std::string folder = path.substr(0, path.find_last_of('/') + 1);
  for (const std::string& name : writer->files())
    bytes += std::filesystem::file_size(folder + name);
  EXPECT_EQ(writer->total_bytes(), bytes);
}

void ExpectSame(const Reader& reader, const Tensor& tensor, Random& random) {
  const TensorEntry* entry = reader.FindTensor(tensor.name);
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->dtype, tensor.dtype);
  EXPECT_TRUE(entry->shape == tensor.shape);
  const auto all = reader.ReadAll(*entry);
  ASSERT_TRUE(all.ok()) << all.status().message();
  EXPECT_TRUE(*all == tensor.raw) << tensor.name;
  if (entry->codec == Codec::kNone) {
    EXPECT_TRUE(std::ranges::equal(reader.Bytes(*entry), tensor.raw));
    const size_t alignment = tensor.raw.size() >= 65536 ? 4096 : 64;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(reader.Bytes(*entry).data()) % alignment, 0u);
  }
  const uint64_t rows = *tensor.shape.NumRows();
  const uint64_t row_bytes = tensor.shape.row_elements() * DTypeBytes(tensor.dtype);
  for (int i = 0; i < 5; ++i) {
    const uint64_t first = random.Below(rows + 1);
    const uint64_t count = random.Below(rows - first + 1);
    std::vector<std::byte> out(count * row_bytes);
    const Status status = reader.ReadRows(*entry, first, count, out, random.Chance(0.5));
    ASSERT_TRUE(status.ok()) << status.message();
    const auto expected = std::span(tensor.raw).subspan(first * row_bytes, count * row_bytes);
    EXPECT_TRUE(std::ranges::equal(out, expected)) << tensor.name << " " << first << " " << count;
  }
}

struct Variant {
  const char* name;
  format::WriterOptions options;
};

class RoundTrip : public ::testing::TestWithParam<Variant> {};

TEST_P(RoundTrip, OfRandomTensors) {
  SCOPED_TRACE(SeedText(TestSeed()));
  Random random(TestSeed());
  const TemporaryFolder folder;
  for (int repeat = 0; repeat < 5 && !HasFailure(); ++repeat) {
    const std::string path = folder / (std::to_string(repeat) + ".8vo");
    const std::vector<Tensor> tensors = RandomTensors(random);
    Write(path, tensors, GetParam().options, 3);
    const auto reader = Reader::Open(path, {.verify = true});
    ASSERT_TRUE(reader.ok()) << reader.status().message();
    for (const Tensor& tensor : tensors) ExpectSame(*reader, tensor, random);
    const auto asset = reader->ReadAll(*reader->FindAsset("tokenizer.json"));
    ASSERT_TRUE(asset.ok());
    EXPECT_TRUE(std::ranges::equal(*asset, std::as_bytes(std::span("some text"))));
    EXPECT_TRUE(reader->ReadAll(*reader->FindAsset("empty"))->empty());
  }
}

TEST_P(RoundTrip, GivesTheSameBytesWithAnyNumberOfThreads) {
  SCOPED_TRACE(SeedText(TestSeed()));
  Random random(TestSeed());
  const std::vector<Tensor> tensors = RandomTensors(random);
  const TemporaryFolder first;
  Write(first / "x.8vo", tensors, GetParam().options, 1);
  for (const size_t num_threads : {2, 7}) {
    const TemporaryFolder other;
    Write(other / "x.8vo", tensors, GetParam().options, num_threads);
    ASSERT_EQ(first.Names(), other.Names());
    for (const std::string& name : first.Names()) {
      EXPECT_TRUE(Load(first / name) == Load(other / name)) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, RoundTrip,
    ::testing::Values(Variant{"plain", {}}, Variant{"zstd", {.codec = Codec::kZstd}},
                      Variant{"sharded", {.max_shard_bytes = 100'000}},
                      Variant{"sharded_zstd", {.codec = Codec::kZstd, .max_shard_bytes = 50'000}}),
    [](const auto& param) { return param.param.name; });

TEST(RoundTrip, OfAManifestKeepsEveryValue) {
  for (const Sample& sample : Samples()) {
    const TemporaryFolder folder;
    ASSERT_TRUE(sample.write(folder / "x.8vo").ok());
    const auto reader = Reader::Open(folder / "x.8vo");
    ASSERT_TRUE(reader.ok());
    EXPECT_EQ(format::SerializeManifest(reader->manifest()), reader->manifest_text())
        << sample.name;
  }
}

TEST(RoundTrip, OfTextThatNeedsEscapes) {
  format::Manifest manifest;
  manifest.converter =
      "quote \" backslash \\ control \x01\n\t\b\f\r\x1f delete \x7f é 名 \U0001F419 /";
  manifest.quantization.threshold = 0.1f;
  const std::string text = format::SerializeManifest(manifest);
  const auto parsed = format::ParseManifest(text, false);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->converter, manifest.converter);
  EXPECT_EQ(parsed->quantization.threshold, 0.1f);
}

TEST(Reading, RowsThatAreNotThereAreRefused) {
  const TemporaryFolder folder;
  WriteSample("plain", folder / "x.8vo");
  const auto reader = Reader::Open(folder / "x.8vo");
  ASSERT_TRUE(reader.ok());
  const TensorEntry& entry = *reader->FindTensor("wte.weight");  // [8, 4] BF16
  std::vector<std::byte> out(64);
  for (const auto& [first, count, size] : std::vector<std::tuple<uint64_t, uint64_t, size_t>>{
           {0, 9, 64}, {8, 1, 8}, {~uint64_t{0}, 2, 16}, {1, ~uint64_t{0}, 8}, {0, 8, 63}}) {
    const Status status = reader->ReadRows(entry, first, count, std::span(out).first(size));
    ExpectRefused(status, ErrorCode::kInvalidArgument, {"wte.weight", "8 rows of 8 bytes"});
  }
}

TEST(Reading, AnEntryThatIsNotOfTheFileIsRefused) {
  const TemporaryFolder folder;
  WriteSample("plain", folder / "x.8vo");
  const auto reader = Reader::Open(folder / "x.8vo");
  ASSERT_TRUE(reader.ok());
  TensorEntry entry = *reader->FindTensor("wte.weight");
  entry.offset = uint64_t{1} << 62;
  EXPECT_TRUE(reader->Bytes(entry).empty());
  EXPECT_EQ(reader->ReadAll(entry).code(), ErrorCode::kInvalidFile);
  entry = *reader->FindTensor("wte.weight");
  entry.shape = Shape{1u << 30, 4};
  EXPECT_EQ(reader->ReadAll(entry).code(), ErrorCode::kInvalidFile);
  entry = *reader->FindTensor("wte.weight");
  entry.xxh3.clear();
  EXPECT_EQ(reader->ReadAll(entry).code(), ErrorCode::kInvalidFile);
}

TEST(Reading, ADigestIsCheckedUnlessTheCallerDoesNotWantIt) {
  const TemporaryFolder folder;
  Bytes bytes = SampleBytes("plain");
  bytes[130] ^= std::byte{1};
  Save(folder / "x.8vo", bytes);
  const auto reader = Reader::Open(folder / "x.8vo");
  ASSERT_TRUE(reader.ok()) << "payloads are read on demand";
  const TensorEntry& entry = *reader->FindTensor("wte.weight");
  ExpectRefused(reader->ReadAll(entry).status(), ErrorCode::kNotIntact,
                {folder / "x.8vo", "wte.weight", "chunk 0", "(R23)"});
  std::vector<std::byte> out(64);
  EXPECT_TRUE(reader->ReadRows(entry, 0, 8, out, /*check=*/false).ok());
  EXPECT_TRUE(reader->ReadRows(entry, 3, 5, std::span(out).first(40)).ok()) << "another chunk";
}

TEST(Reading, WhatIsNotThereIsNull) {
  const TemporaryFolder folder;
  WriteSample("plain", folder / "x.8vo");
  const auto reader = Reader::Open(folder / "x.8vo");
  EXPECT_EQ(reader->FindTensor("config.json"), nullptr);
  EXPECT_EQ(reader->FindAsset("wte.weight"), nullptr);
  EXPECT_EQ(reader->FindModule("wte.weight"), nullptr);
  EXPECT_NE(reader->FindModule("wte"), nullptr);
}

TEST(Reading, AMissingFileAFolderAndAFifoAreErrors) {
  const TemporaryFolder folder;
  ExpectRefused(Reader::Open(folder / "x.8vo").status(), ErrorCode::kNotFound, {folder / "x.8vo"});
  EXPECT_EQ(Reader::Verify(folder / "x.8vo").code(), ErrorCode::kNotFound);
  EXPECT_EQ(Reader::Open(folder.path()).code(), ErrorCode::kIo);
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(Reader::Open(folder / "fifo").code(), ErrorCode::kIo);
}

}  // namespace
}  // namespace octavo::testing
