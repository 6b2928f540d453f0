// Damaged and hostile files: every truncation, every flipped byte, claims that no file can keep.
#include <gtest/gtest.h>

#include <algorithm>

#include "format/safetensors_header.h"
#include "octavo/safetensors.h"
#include "tests/format/sources_testing.h"
#include "tests/testing/allocations.h"
#include "tests/testing/temp_dir.h"

namespace octavo::format {
namespace {

using ::octavo::testing::ForgetRequests;
using ::octavo::testing::LargestRequest;
using ::octavo::testing::SafetensorsBytes;
using ::octavo::testing::TempDir;

std::string SmallFile() {
  return SafetensorsBytes(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
      R"("b":{"dtype":"U8","shape":[0],"data_offsets":[16,16]},)"
      R"("c":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}} )",
      22);
}

// Whatever the header says must be true of the file: each byte of data in one tensor, shapes that
// fit.
void ExpectConsistent(const std::vector<SafetensorsEntry>& tensors, size_t data_start,
                      size_t file_bytes) {
  uint64_t offset = data_start;
  for (const SafetensorsEntry& tensor : tensors) {
    EXPECT_EQ(tensor.offset, offset);
    EXPECT_EQ(tensor.bytes, *tensor.shape.NumElements() * DTypeBytes(tensor.dtype));
    EXPECT_FALSE(tensor.name.empty());
    offset += tensor.bytes;
  }
  EXPECT_EQ(offset, file_bytes);
}

void ExpectClean(const Status& status) {
  EXPECT_EQ(status.code(), ErrorCode::kInvalidFile);
  EXPECT_TRUE(std::ranges::none_of(status.message(), [](char c) {
    return static_cast<uint8_t>(c) < 0x20 || c == 0x7f;
  })) << status.message();
}

TEST(SafetensorsAttack, RejectsEveryTruncation) {
  const TempDir dir;
  const std::string bytes = SmallFile();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const Status status =
        SafetensorsFile::Open(dir.Write("f", std::string_view(bytes).substr(0, size))).status();
    EXPECT_EQ(status.code(), ErrorCode::kInvalidFile) << size << ": " << status.message();
  }
  EXPECT_TRUE(SafetensorsFile::Open(dir.Write("f", bytes)).ok());
  EXPECT_FALSE(SafetensorsFile::Open(dir.Write("f", bytes + '\0')).ok());
}

TEST(SafetensorsAttack, RejectsEveryWrongLength) {
  const TempDir dir;
  const std::string bytes = SmallFile();
  for (size_t bit = 0; bit < 64; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    ExpectClean(SafetensorsFile::Open(dir.Write("f", damaged)).status());
  }
}

TEST(SafetensorsAttack, SurvivesEveryByteInEveryPlaceOfTheHeader) {
  const std::string bytes = SmallFile();
  const std::string header = bytes.substr(8, bytes.size() - 8 - 22);
  size_t accepted = 0;
  for (size_t i = 0; i < header.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string damaged = header;
      damaged[i] = static_cast<char>(value);
      const Result<SafetensorsHeader> parsed = ParseSafetensorsHeader(damaged, bytes.size());
      if (parsed.ok()) {
        ++accepted;
        ExpectConsistent(parsed->tensors, 8 + header.size(), bytes.size());
      } else {
        ExpectClean(parsed.status());
      }
    }
  }
  // Names and metadata may turn into others, types into those of the same size; all else is
  // refused.
  EXPECT_GT(accepted, 3 * 90u);
  EXPECT_LT(accepted, 25 * 256u);
}

TEST(SafetensorsAttack, AllocatesNothingForClaims) {
  const TempDir dir;
  std::string huge_header = SafetensorsBytes("{}", 0);
  huge_header[2] = '\xf5';  // a header of 16 MB: allowed, but not there
  const std::string claims[] = {
      huge_header,
      SafetensorsBytes(R"({"a":{"dtype":"U8","shape":[4611686018427387904],)"
                       R"("data_offsets":[0,4611686018427387904]}})",
                       8),
      SafetensorsBytes(R"({"a":{"dtype":"U8","shape":[1000000000000],"data_offsets":[0,8]}})", 8),
      SafetensorsBytes("{\"a\":{\"shape\":[" + std::string(20'000, '['), 0),
  };
  for (const std::string& claim : claims) {
    const std::string path = dir.Write("f", claim);
    ForgetRequests();
    EXPECT_EQ(SafetensorsFile::Open(path).code(), ErrorCode::kInvalidFile);
    EXPECT_LE(LargestRequest(), 100'000u);
  }
}

// Lists of 100,000 numbers are refused at the first too many, before they are kept.
TEST(SafetensorsAttack, StopsAtTheFirstNumberTooMany) {
  const TempDir dir;
  for (const std::string field : {"shape", "data_offsets"}) {
    std::string header = "{\"a\":{\"" + field + "\":[";
    for (int i = 0; i < 100'000; ++i) header += "1,";
    const std::string path = dir.Write("f", SafetensorsBytes(header, 0));
    ForgetRequests();
    EXPECT_EQ(SafetensorsFile::Open(path).code(), ErrorCode::kInvalidFile);
    EXPECT_LE(LargestRequest(), header.size() + 100);  // the header's own text
  }
}

}  // namespace
}  // namespace octavo::format
