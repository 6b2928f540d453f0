// Numbers in a file never decide how much memory is taken before they were checked: every number of
// a manifest is made huge, and the largest allocation is watched. This test program has its own
// operator new.
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <set>

#include "format/layout.h"
#include "tests/format/octavo_files.h"

namespace {
std::atomic<size_t> largest_allocation = 0;

void* Allocate(size_t bytes) {
  size_t seen = largest_allocation;
  while (bytes > seen && !largest_allocation.compare_exchange_weak(seen, bytes)) {
  }
  void* memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

void* operator new(size_t bytes) { return Allocate(bytes); }
void* operator new[](size_t bytes) { return Allocate(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace octavo::testing {
namespace {

constexpr size_t kAllowed = 1 << 20;

// Where each number of the text begins, and how long it is; numbers within strings are left out.
std::vector<std::pair<size_t, size_t>> Numbers(const std::string& text) {
  std::vector<std::pair<size_t, size_t>> numbers;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      in_string = !in_string;
    } else if (!in_string && (std::isdigit(text[i]) || text[i] == '-')) {
      const size_t end = text.find_first_of(",]}", i);
      numbers.emplace_back(i, end - i);
      i = end;
    }
  }
  return numbers;
}

std::string KeyBefore(const std::string& text, size_t at) {
  const size_t end = text.rfind("\":", at);
  const size_t begin = text.rfind('"', end - 1) + 1;
  return text.substr(begin, end - begin);
}

// Numbers that are free, or may be: the source file's size, sizes of a head that has no tensors,
// errors, threshold, chunk_rows above the rows, the dimensions beside a zero.
bool OnlyInforms(const std::string& key) {
  static const std::set<std::string> kKeys = {"bytes",           "snr_db",     "max_abs_error",
                                              "saturated_share", "absmax_min", "absmax_max",
                                              "threshold",       "chunk_rows", "shape"};
  return kKeys.contains(key);
}

class LargeClaims : public ::testing::TestWithParam<std::string> {};

TEST_P(LargeClaims, InAnyNumberOfTheManifestTakeNoMemory) {
  const Bytes bytes = SampleBytes(GetParam());
  const std::string text = ManifestText(bytes);
  for (const auto& [at, length] : Numbers(text)) {
    for (const char* number : {"2305843009213693952", "4611686018427387904", "9223372036854775807",
                               "9223372036854775808", "18446744073709551615", "4294967296"}) {
      std::string changed = text;
      changed.replace(at, length, number);
      const Bytes file = WithManifestText(bytes, changed);
      largest_allocation = 0;
      const Status status = OpenBytes(file);
      ASSERT_LT(largest_allocation, kAllowed) << changed.substr(at - std::min<size_t>(at, 40), 80);
      EXPECT_TRUE(!status.ok() || OnlyInforms(KeyBefore(text, at))) << KeyBefore(text, at);
      const bool is_sound = status.ok() || status.code() == ErrorCode::kInvalidFile;
      ASSERT_TRUE(is_sound) << status.message();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Samples, LargeClaims,
                         ::testing::Values("plain", "zstd", "experts", "packed", "kept_columns",
                                           "empty_tensor"),
                         [](const auto& param) { return param.param; });

TEST(LargeClaims, AHeaderThatClaimsAHugeManifestTakesNoMemory) {
  const Bytes bytes = SampleBytes("plain");
  for (const uint64_t claim : {uint64_t{1} << 30, uint64_t{1} << 40, ~uint64_t{0}}) {
    largest_allocation = 0;
    const Bytes file = WithHeaderField(bytes, format::offset::kManifestBytes, 8, claim);
    ExpectRefused(OpenBytes(file), ErrorCode::kInvalidFile, {"(R7)"});
    EXPECT_LT(largest_allocation, kAllowed);
  }
}

TEST(LargeClaims, AFrameOfFewBytesThatClaimsMuchTakesNoMemory) {
  // 64 MiB from 20 bytes: less than zstd could ever give.
  const Bytes file = WithAssetFrame(SampleBytes("zstd"), Bytes(20, std::byte{0x28}), 64u << 20);
  const TemporaryFolder folder;
  Save(folder / "x.8vo", file);
  const auto reader = format::Reader::Open(folder / "x.8vo");
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  largest_allocation = 0;
  ExpectRefused(reader->ReadAll(reader->manifest().assets[0]).status(), ErrorCode::kInvalidFile,
                {"config.json", "(R24)"});
  EXPECT_LT(largest_allocation, kAllowed);
}

}  // namespace
}  // namespace octavo::testing
