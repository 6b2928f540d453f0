// torch.save's archives: real ones, hostile ones, and tensors that share or turn around a storage.
#include "format/torch_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "octavo/checkpoint.h"
#include "tests/format/sources_testing.h"
#include "tests/format/torch_testing.h"
#include "tests/fuzz/memory_file.h"
#include "tests/testing/temp_dir.h"

namespace octavo::testing {
namespace {

using format::Checkpoint;
using format::TorchFile;

const std::string kData = OCTAVO_TEST_DATA "/torch/";

std::vector<float> Floats(const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

class TorchFileTest : public ::testing::Test {
 protected:
  Result<TorchFile> Open(const std::string& bytes) const {
    return TorchFile::Open(dir_.Write("model.bin", bytes));
  }
  Result<TorchFile> Open(const std::vector<ZipFileEntry>& entries) const {
    return Open(Zip(entries));
  }
  void Refused(const std::vector<ZipFileEntry>& entries, std::string_view part) const {
    ExpectError(Open(entries).status(), ErrorCode::kInvalidFile, part);
  }
  // One tensor "w" of FloatStorage "0" with `elements`, in a file where that has `storage_bytes`.
  std::vector<ZipFileEntry> WithTensor(int64_t elements, size_t storage_bytes, int64_t offset,
                                       const std::string& size, const std::string& stride) const {
    return TorchEntries(
        Pickle(Dict({{"w", Tensor(Storage("FloatStorage", "0", elements), offset, size, stride)}})),
        storage_bytes);
  }
  std::vector<ZipFileEntry> Good() const {
    return WithTensor(24, 96, 0, Ints({4, 6}), Ints({6, 1}));
  }

  TempDir dir_;
};

std::vector<std::byte> ReadTensor(const TorchFile& file, std::string_view name) {
  for (const auto& entry : file.tensors()) {
    if (entry.name != name) continue;
    std::vector<std::byte> bytes(entry.bytes);
    EXPECT_TRUE(file.ReadAt(entry.offset, bytes).ok()) << name;
    // In pieces that split elements, too.
    for (size_t at = 0; at < bytes.size(); at += 5) {
      std::vector<std::byte> piece(std::min<size_t>(5, bytes.size() - at));
      EXPECT_TRUE(file.ReadAt(entry.offset + at, piece).ok());
      EXPECT_TRUE(std::ranges::equal(piece, std::span(bytes).subspan(at, piece.size())))
          << name << " " << at;
    }
    return bytes;
  }
  ADD_FAILURE() << "no tensor " << name;
  return {};
}

TEST_F(TorchFileTest, ReadsWhatTorchWrote) {
  const auto file = TorchFile::Open(kData + "tensors.bin");
  ASSERT_TRUE(file.ok()) << file.status().message();
  ASSERT_EQ(file->tensors().size(), 13u);
  std::vector<float> ramp(24);
  for (size_t i = 0; i < ramp.size(); ++i) ramp[i] = static_cast<float>(i);
  EXPECT_EQ(Floats(ReadTensor(*file, "plain")), ramp);
  EXPECT_EQ(Floats(ReadTensor(*file, "parameter")), std::vector(ramp.begin(), ramp.begin() + 12));
  EXPECT_EQ(Floats(ReadTensor(*file, "column")), (std::vector<float>{1, 7, 13, 19}));
  EXPECT_EQ(Floats(ReadTensor(*file, "scalar")), std::vector<float>{2.5f});
  EXPECT_TRUE(ReadTensor(*file, "empty").empty());
  const std::vector<float> transposed = Floats(ReadTensor(*file, "transposed"));
  for (size_t i = 0; i < 24; ++i) EXPECT_EQ(transposed[i], ramp[i % 4 * 6 + i / 4]) << i;
  const std::vector<std::byte> same = ReadTensor(*file, "same"), slice = ReadTensor(*file, "slice");
  EXPECT_TRUE(std::ranges::equal(slice, std::span(same).subspan(4, 12)));
  EXPECT_EQ(ReadTensor(*file, "half").size(), 48u);
  EXPECT_EQ(ReadTensor(*file, "fp8").size(), 24u);
  const auto dtype = [&file](std::string_view name) {
    return std::ranges::find(file->tensors(), name, &format::SafetensorsEntry::name)->dtype;
  };
  EXPECT_EQ(dtype("fp8"), DType::kF8E4M3);
  EXPECT_EQ(dtype("flag"), DType::kBool);
  EXPECT_EQ(dtype("long"), DType::kI64);
  EXPECT_EQ(dtype("brain"), DType::kBF16);
}

TEST_F(TorchFileTest, SaysWhatItDoesNotRead) {
  const std::pair<const char*, const char*> kCases[] = {{"legacy.pt", "torch before 1.6"},
                                                        {"protocol4.pt", "PROTO 4"},
                                                        {"other_global.pt", "\"torch.device\""},
                                                        {"script.pt", "TorchScript"}};
  for (const auto& [name, part] : kCases) {
    ExpectError(TorchFile::Open(kData + name).status(), ErrorCode::kInvalidFile, part);
  }
  EXPECT_TRUE(TorchFile::Open(kData + "wrapped.pt").ok());
  ExpectError(Open(std::string("GGUF....")).status(), ErrorCode::kInvalidFile,
              "no file of torch.save");
  ExpectError(Open(std::string("version https://git-lfs.github.com/spec/v1")).status(),
              ErrorCode::kInvalidFile, "git lfs");
}

TEST_F(TorchFileTest, ATensorStaysWithinItsStorage) {
  ASSERT_TRUE(Open(Good()).ok());
  constexpr int64_t kHuge = INT64_MAX;
  const struct {
    int64_t offset;
    std::string size, stride;
  } kOutside[] = {{1, Ints({4, 6}), Ints({6, 1})},     {0, Ints({5, 6}), Ints({6, 1})},
                  {0, Ints({4, 6}), Ints({7, 1})},     {24, Ints({1}), Ints({1})},
                  {0, Ints({2, 2}), Ints({kHuge, 1})}, {kHuge, Ints({1}), Ints({1})},
                  {kHuge, Ints({2}), Ints({kHuge})},   {0, Ints({3, 3}), Ints({kHuge / 2 + 1, 1})}};
  for (const auto& c : kOutside) {
    Refused(WithTensor(24, 96, c.offset, c.size, c.stride), "reaches outside its storage");
  }
  Refused(WithTensor(24, 96, 0, Ints({kHuge, kHuge}), Ints({0, 0})), "too large");
  Refused(WithTensor(24, 96, 0, Ints({int64_t{1} << 31, int64_t{1} << 31}), Ints({0, 0})),
          "too large");
  Refused(WithTensor(24, 96, 0, Ints({1'000'000}), Ints({0})), "repeats its storage");
  // Extents of 1 may have any stride, and no element needs no storage.
  EXPECT_TRUE(Open(WithTensor(24, 96, 23, Ints({1, 1}), Ints({kHuge, kHuge}))).ok());
  EXPECT_TRUE(Open(WithTensor(24, 96, 0, Ints({0, kHuge}), Ints({kHuge, kHuge}))).ok());
}

TEST_F(TorchFileTest, AStorageHasTheSizeThatThePickleSays) {
  Refused(WithTensor(24, 95, 0, Ints({1}), Ints({1})), "has 95 bytes, the pickle says 96");
  Refused(WithTensor(24, 100, 0, Ints({1}), Ints({1})), "has 100 bytes");
  Refused(WithTensor(INT64_MAX, 96, 0, Ints({1}), Ints({1})), "too large");
  std::vector<ZipFileEntry> entries = Good();
  entries[2].name = "a/data/1";
  Refused(entries, "no storage \"0\"");
  entries[2].name = "b/data/0";
  Refused(entries, "no storage \"0\"");
}

TEST_F(TorchFileTest, AStorageIsSharedByAFewTensors) {
  const auto tensors = [](int count) {
    const std::string w =
        Tensor(Storage("FloatStorage", "0", 262'144), 0, Ints({262'144}), Ints({1}));
    std::vector<std::pair<std::string, std::string>> items;
    for (int i = 0; i < count; ++i) items.emplace_back("w" + std::to_string(i), w);
    return TorchEntries(Pickle(Dict(items)), 1'048'576);
  };
  EXPECT_TRUE(Open(tensors(16)).ok());
  Refused(tensors(17), "too many share a storage");
}

TEST_F(TorchFileTest, AttacksOnTheArchive) {
  const auto with = [this](size_t i, auto change) {
    std::vector<ZipFileEntry> entries = Good();
    change(&entries[i]);
    return entries;
  };
  Refused(with(2, [](ZipFileEntry* e) { e->local_name = "a/data/9"; }), "another name");
  Refused(with(2, [](ZipFileEntry* e) { e->method = 8; }), "compressed");
  Refused(with(2, [](ZipFileEntry* e) { e->flags |= 1; }), "encrypted");
  Refused(with(2, [](ZipFileEntry* e) { e->flags |= 1 << 13; }), "encrypted");
  Refused(with(2, [](ZipFileEntry* e) { e->more_bytes = 1'000'000; }), "outside the file");
  Refused(with(2, [](ZipFileEntry* e) { e->more_bytes = 8; }), "overlap");
  Refused(with(2, [](ZipFileEntry* e) { e->move = 1; }), "no local header");
  Refused(with(2, [](ZipFileEntry* e) { e->move = 100'000; }), "outside the file");
  Refused(with(1, [](ZipFileEntry* e) { e->content = "big"; }), "byte order is \"big\"");
  Refused(with(1, [](ZipFileEntry* e) { e->name = "a/code/model.py"; }), "TorchScript");
  Refused(with(1, [](ZipFileEntry* e) { e->name = "b/data.pkl"; }), "two pickles");
  Refused(with(0, [](ZipFileEntry* e) { e->name = "a/other.pkl"; }), "no data.pkl");
  Refused(with(0, [](ZipFileEntry* e) { e->crc32 = 12345; }), "checksum is wrong");
  Refused(with(1, [](ZipFileEntry* e) { e->name = "a/data/0"; }), "two entries");
  for (const char* name : {"../x", "/x", "a/../../x", "a//x", "a/./x", "a\\..\\x", "C:\\x", "a/"}) {
    Refused(with(3, [name](ZipFileEntry* e) { e->name = name; }), "not a plain relative path");
  }
  Refused(with(3, [](ZipFileEntry* e) { e->name = std::string("x\0y", 3); }), "");
  std::vector<ZipFileEntry> twice = Good();
  twice.push_back(twice[2]);
  twice.back().name = "a/data/1";
  twice.back().local_name = "a/data/1";
  EXPECT_TRUE(Open(twice).ok());
}

TEST_F(TorchFileTest, EveryTruncationAndWhatFollowsIsAnError) {
  const std::string whole = Zip(Good());
  for (size_t i = 0; i < whole.size(); ++i) {
    const fuzz::MemoryFile file(std::as_bytes(std::span(whole).first(i)));
    EXPECT_EQ(TorchFile::Open(file.path()).code(), ErrorCode::kInvalidFile) << i;
  }
  ExpectError(Open(whole + "x").status(), ErrorCode::kInvalidFile, "something follows");
}

TEST_F(TorchFileTest, EveryFlippedBitIsAnErrorOrHarmless) {
  const std::string whole = Zip(Good());
  for (size_t bit = 0; bit < 8 * whole.size(); bit += 3) {  // every bit's place within a byte
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const fuzz::MemoryFile memory(std::as_bytes(std::span(flipped)));
    const auto file = TorchFile::Open(memory.path());
    if (!file.ok()) continue;
    for (const auto& entry : file->tensors()) {
      std::vector<std::byte> bytes(entry.bytes);
      EXPECT_TRUE(file->ReadAt(entry.offset, bytes).ok()) << bit;
    }
  }
}

// ---- As a checkpoint
// ------------------------------------------------------------------------------

TEST_F(TorchFileTest, IsFoundInAFolderWithoutSafetensors) {
  dir_.Write("pytorch_model.bin", Zip(Good()));
  dir_.Write("training_args.bin", "not looked at");
  dir_.Write("config.json", R"({"model_type": "llama"})");
  const auto checkpoint = Checkpoint::Open(dir_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->format(), "pytorch");
  EXPECT_EQ(checkpoint->tensors().size(), 1u);
  EXPECT_EQ(checkpoint->assets(), std::vector<std::string>{"config.json"});
  dir_.Write("model.safetensors", SafetensorsWith({"a"}));
  EXPECT_EQ(Checkpoint::Open(dir_.path())->format(), "safetensors");
  EXPECT_EQ(Checkpoint::Open(dir_.File("pytorch_model.bin"))->format(), "pytorch");
}

TEST_F(TorchFileTest, ShardsAndTheirIndex) {
  const auto shard = [](const char* name) {
    return Zip(TorchEntries(Pickle(Dict({{name, Tensor(Storage("FloatStorage", "0", 4), 0,
                                                       Ints({2, 2}), Ints({1, 2}))}})),
                            16));
  };
  dir_.Write("pytorch_model-00001-of-00002.bin", shard("a"));
  dir_.Write("pytorch_model-00002-of-00002.bin", shard("b"));
  const char* index =
      R"({"metadata": {"total_size": 32}, "weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}})";
  dir_.Write("pytorch_model.bin.index.json", index);
  for (const std::string& path : {dir_.path(), dir_.File("pytorch_model.bin.index.json")}) {
    const auto checkpoint = Checkpoint::Open(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    EXPECT_EQ(checkpoint->files().size(), 2u);
    const auto* b = checkpoint->Find("b");
    std::vector<std::byte> bytes(b->bytes);
    ASSERT_TRUE(checkpoint->ReadAt(b->file, b->offset, bytes).ok());
    EXPECT_EQ(bytes[4], std::byte{8}) << "the storage's third element";
  }
  dir_.Write("pytorch_model-00002-of-00002.bin", shard("c"));
  ExpectError(Checkpoint::Open(dir_.path()).status(), ErrorCode::kInvalidFile, "does not have it");
}

}  // namespace
}  // namespace octavo::testing
