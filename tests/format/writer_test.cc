// The writer's contract: what it refuses, and how it cuts a model into shards.
#include "octavo/writer.h"

#include <sys/stat.h>

#include <thread>

#include "tests/format/octavo_files.h"

namespace octavo::testing {
namespace {

using format::Reader;
using format::Writer;

constexpr ErrorCode kMisuse = ErrorCode::kInvalidArgument;

class WriterContract : public ::testing::Test {
 protected:
  Writer Create(const format::WriterOptions& options = {}) const {
    auto writer = Writer::Create(path_, options);
    EXPECT_TRUE(writer.ok()) << writer.status().message();
    return std::move(writer).value();
  }
  TemporaryFolder folder_;
  std::string path_ = folder_ / "x.8vo";
  std::vector<std::byte> raw_ = std::vector<std::byte>(64);
};

TEST_F(WriterContract, CallsOutOfOrderAreRefused) {
  Writer writer = Create();
  const auto first = writer.AddTensor("a", DType::kU8, Shape{2, 32}, 0, 1);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(writer.AddTensor("b", DType::kU8, Shape{1}).code(), kMisuse);
  EXPECT_EQ(writer.BeginBundle(1).code(), kMisuse);
  EXPECT_EQ(writer.AppendAsset("c", {}).code(), kMisuse);
  EXPECT_EQ(writer.Finish({}).code(), kMisuse);
  EXPECT_EQ(writer.FinishTensor(*first).code(), kMisuse) << "chunks are missing";
  EXPECT_EQ(writer.FinishTensor(*first + 1).code(), kMisuse);
  std::vector<std::byte> buffer;
  const auto wrong = writer.EncodeChunk(std::span(raw_).first(31), &buffer);
  EXPECT_EQ(writer.PlaceChunk(*first, *wrong).code(), kMisuse);
  const auto chunk = writer.EncodeChunk(std::span(raw_).first(32), &buffer);
  EXPECT_EQ(writer.PlaceChunk(*first + 1, *chunk).code(), kMisuse);
  EXPECT_TRUE(writer.PlaceChunk(*first, *chunk).ok());
  EXPECT_TRUE(writer.PlaceChunk(*first, *chunk).ok());
  EXPECT_EQ(writer.PlaceChunk(*first, *chunk).code(), kMisuse) << "there are two";
  EXPECT_TRUE(writer.FinishTensor(*first).ok());
  EXPECT_TRUE(writer.AppendAsset("c", {}).ok());
  EXPECT_EQ(writer.AddTensor("b", DType::kU8, Shape{1}).code(), kMisuse) << "after an asset";
}

TEST_F(WriterContract, ChunksOfZerosAreHoles) {
  constexpr uint64_t kBytes = 8u << 20;
  Writer writer = Create();
  ASSERT_TRUE(
      writer.AppendTensor("zeros", DType::kU8, Shape{8, kBytes / 8}, std::vector<std::byte>(kBytes))
          .ok());
  std::vector<std::byte> one(kBytes);
  one.back() = std::byte{1};  // one chunk of eight is written
  ASSERT_TRUE(writer.AppendTensor("one", DType::kU8, Shape{8, kBytes / 8}, one).ok());
  ASSERT_TRUE(writer.Finish({}).ok());
  struct stat info;
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_GT(static_cast<uint64_t>(info.st_size), 2 * kBytes);
  EXPECT_LT(static_cast<uint64_t>(info.st_blocks) * 512, kBytes / 2);
  const auto reader = Reader::Open(path_, {.verify = true});
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_EQ(*reader->ReadAll(*reader->FindTensor("one")), one);
}

TEST_F(WriterContract, ValuesThatBreakARuleAreRefusedWithIt) {
  Writer writer = Create();
  ExpectRefused(writer.AddTensor("", DType::kU8, Shape{1}).status(), kMisuse, {"(R15)"});
  ExpectRefused(writer.AddTensor("a\nb", DType::kU8, Shape{1}).status(), kMisuse, {"(R15)"});
  ExpectRefused(writer.AddTensor("a", DType::kF64, Shape{1ull << 60, 2}).status(), kMisuse,
                {"(R17)"});
  ExpectRefused(writer.AddTensor("a", DType::kU8, Shape{3, 1}, 2).status(), kMisuse, {"(R19)"});
  ExpectRefused(writer.AppendAsset("../a", {}), kMisuse, {"(R25)"});
  EXPECT_EQ(writer.AppendTensor("a", DType::kU8, Shape{65}, raw_).code(), kMisuse);
}

TEST_F(WriterContract, AManifestThatBreaksARuleIsRefusedAndNothingIsWritten) {
  {
    Writer writer = Create();
    ASSERT_TRUE(writer.AppendTensor("a", DType::kU8, Shape{64}, raw_).ok());
    format::Manifest manifest;
    manifest.modules.resize(1);
    manifest.modules[0].name = "m";
    manifest.modules[0].weight = "b";
    ExpectRefused(writer.Finish(manifest), kMisuse, {"module \"m\"", "(R30)"});
  }
  EXPECT_TRUE(folder_.Names().empty());
}

TEST_F(WriterContract, TheSameNameTwiceIsRefused) {
  Writer writer = Create();
  ASSERT_TRUE(writer.AppendTensor("a", DType::kU8, Shape{64}, raw_).ok());
  ASSERT_TRUE(writer.AppendTensor("a", DType::kU8, Shape{64}, raw_).ok());
  ExpectRefused(writer.Finish({}), kMisuse, {"tensor \"a\"", "(R15)"});
}

TEST_F(WriterContract, TensorsAreCutIntoChunksOfAboutAMebibyte) {
  Writer writer = Create();
  const std::vector<std::byte> raw(5u << 20);
  ASSERT_TRUE(writer.AppendTensor("a", DType::kF32, Shape{1280, 1024}, raw).ok());
  EXPECT_EQ(writer.tensor(0).chunk_rows, 256u);
  EXPECT_EQ(writer.tensor(0).xxh3.size(), 5u);
}

TEST_F(WriterContract, ShardsStayBelowTheLimitUnlessABundleIsLarger) {
  for (const uint64_t limit : {20'000u, 60'000u, 150'000u}) {
    const TemporaryFolder folder;
    SampleFile file(folder / "x.8vo", {.max_shard_bytes = limit});
    for (int i = 0; i < 20; ++i) {
      const uint64_t rows = i % 4 == 0 ? 300 : 20;
      file.AddLinear({.name = "h." + std::to_string(i), .out_features = rows, .in_features = 150});
    }
    file.AddAsset("large.json", std::string(30'000, ' '));
    file.AddAsset("small.json", "{}");
    ASSERT_TRUE(file.Finish().ok());
    const auto reader = Reader::Open(folder / "x.8vo", {.verify = true});
    ASSERT_TRUE(reader.ok()) << reader.status().message();
    ASSERT_GT(reader->manifest().shards.size(), 1u);
    std::vector<int> num_modules(reader->manifest().shards.size(), 0);
    for (const auto& module : reader->manifest().modules) {
      ++num_modules[reader->FindTensor(module.scheme->codes)->shard];
    }
    for (size_t i = 0; i < num_modules.size(); ++i) {
      const bool is_one_bundle = num_modules[i] <= 1;
      EXPECT_TRUE(is_one_bundle || reader->manifest().shards[i].bytes <= limit) << i;
    }
  }
}

TEST_F(WriterContract, WhatFitsIntoOneShardIsAPlainFile) {
  SampleFile file(path_, {.max_shard_bytes = 1 << 20});
  file.AddLinear({.name = "h.0"});
  ASSERT_TRUE(file.Finish().ok());
  EXPECT_EQ(folder_.Names(), std::vector<std::string>{"x.8vo"});
  SampleFile plain(folder_ / "y.8vo");
  plain.AddLinear({.name = "h.0"});
  ASSERT_TRUE(plain.Finish().ok());
  EXPECT_TRUE(Load(path_) == Load(folder_ / "y.8vo"));
}

TEST_F(WriterContract, ShardsAreNamedByTheModelsDigest) {
  SampleFile file(path_, {.max_shard_bytes = 8000});
  for (int i = 0; i < 3; ++i)
    file.AddLinear({.name = "h." + std::to_string(i), .out_features = 60, .in_features = 100});
  ASSERT_TRUE(file.Finish().ok());
  for (size_t i = 1; i < file.writer()->files().size(); ++i) {
    const std::string& name = file.writer()->files()[i];
    EXPECT_EQ(name.substr(0, 2), "x-");
    EXPECT_EQ(name.substr(10), "-0000" + std::to_string(i) + "-of-00003.8vo");
    EXPECT_EQ(name.find_first_not_of("0123456789abcdef", 2), 10u);
  }
}

TEST_F(WriterContract, ChunksAreWrittenWhileShardsAreAdded) {
  SampleFile reference(folder_ / "y.8vo", {.max_shard_bytes = 20'000});
  Writer writer = Create({.max_shard_bytes = 20'000});
  std::vector<std::thread> threads;
  const std::vector<std::byte> raw(15'000, std::byte{5});
  std::vector<std::byte> buffer;
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(writer.BeginBundle(raw.size()).ok());
    const auto idx = writer.AddTensor("t" + std::to_string(i), DType::kU8, Shape{15'000});
    const auto chunk = writer.EncodeChunk(raw, &buffer);
    const auto place = writer.PlaceChunk(*idx, *chunk);
    ASSERT_TRUE(place.ok());
    threads.emplace_back(
        [&writer, &raw, place] { EXPECT_TRUE(writer.WriteChunk(*place, raw).ok()); });
    ASSERT_TRUE(writer.FinishTensor(*idx).ok());
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(writer.Finish({}).ok());
  const auto reader = Reader::Open(path_, {.verify = true});
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_EQ(reader->manifest().shards.size(), 30u);
}

}  // namespace
}  // namespace octavo::testing
