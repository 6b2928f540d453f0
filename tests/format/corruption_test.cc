// Files that were damaged after they were written: cut off anywhere, any bit flipped.
#include <fcntl.h>

#include <map>

#include "format/file.h"
#include "tests/format/octavo_files.h"
#include "tests/testing/random.h"

namespace octavo::testing {
namespace {

using format::Finding;
using format::Reader;

// What a byte of a file belongs to.
class Regions {
 public:
  explicit Regions(const std::string& path) {
    const auto reader = Reader::Open(path);
    EXPECT_TRUE(reader.ok()) << reader.status().message();
    ends_[128] = "header";
    uint64_t end = 128;
    for (const auto* entries : {&reader->manifest().tensors, &reader->manifest().assets}) {
      for (const format::TensorEntry& entry : *entries) {
        if (reader->header().required_features & format::kFeatureIndex) continue;
        Add(&end, entry.offset, "padding");
        Add(&end, entry.offset + entry.bytes, entry.name);
      }
    }
    Add(&end, reader->header().manifest_offset, "padding");
    Add(&end, reader->header().file_bytes, "manifest");
  }
  const std::string& At(uint64_t offset) const { return ends_.upper_bound(offset)->second; }

 private:
  void Add(uint64_t* end, uint64_t next, const std::string& subject) {
    if (next > *end) ends_[next] = subject;
    *end = next;
  }
  std::map<uint64_t, std::string> ends_;
};

// Flips one bit in the file for as long as it lives.
class Flip {
 public:
  Flip(const std::string& path, uint64_t bit) : fd_(open(path.c_str(), O_RDWR)), at_(bit / 8) {
    EXPECT_EQ(pread(fd_.get(), &byte_, 1, at_), 1);
    Put(static_cast<uint8_t>(byte_ ^ (1u << (bit % 8))));
  }
  ~Flip() { Put(byte_); }

 private:
  void Put(uint8_t byte) { EXPECT_EQ(pwrite(fd_.get(), &byte, 1, at_), 1); }
  format::UniqueFd fd_;
  off_t at_;
  uint8_t byte_ = 0;
};

// Verify of `opened` names file and subject of a flipped bit of `flipped`.
void ExpectFound(const std::string& opened, const std::string& flipped, uint64_t bit,
                 const Regions& regions) {
  const Flip flip(flipped, bit);
  const auto findings = Reader::Verify(opened, {.num_threads = 1});
  ASSERT_TRUE(findings.ok()) << findings.status().message();
  ASSERT_FALSE(findings->empty()) << "bit " << bit << " of " << flipped << " was not found";
  const Finding& finding = findings->front();
  EXPECT_EQ(finding.subject, regions.At(bit / 8)) << bit << ": " << finding.status.message();
  EXPECT_EQ(finding.file, flipped.substr(flipped.find_last_of('/') + 1));
  EXPECT_EQ(findings->size(), 1u) << "bit " << bit << ": one fault, one finding";
}

class EveryBit : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryBit, FlippedIsFoundWithItsSubject) {
  const TemporaryFolder folder;
  WriteSample(GetParam(), folder / "x.8vo");
  for (const std::string& name : folder.Names()) {
    const Regions regions(folder / name);
    const uint64_t num_bits = std::filesystem::file_size(folder / name) * 8;
    for (uint64_t bit = 0; bit < num_bits && !HasFailure(); ++bit) {
      ExpectFound(folder / "x.8vo", folder / name, bit, regions);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Corruption, EveryBit,
                         ::testing::Values("plain", "zstd", "kept_columns", "comparison_method",
                                           "experts", "sharded"),
                         [](const auto& param) { return param.param; });

TEST(Corruption, TruncationAtEveryByteIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder / "x.8vo";
  WriteSample("plain", path);
  for (uint64_t size = std::filesystem::file_size(path); size-- > 0;) {
    std::filesystem::resize_file(path, size);
    const Status status = Reader::Open(path).status();
    ASSERT_EQ(status.code(), ErrorCode::kInvalidFile) << size;
    ExpectRefused(status, ErrorCode::kInvalidFile, {size < 128 ? "(R1)" : "truncated"});
  }
}

TEST(Corruption, EveryByteOfTheHeaderWithARightCommitIsStillRefusedOrHarmless) {
  const Bytes bytes = SampleBytes("plain");
  for (size_t at = 0; at < 112; ++at) {
    for (const int value : {0x01, 0x80, 0xff}) {
      Bytes changed = bytes;
      changed[at] ^= static_cast<std::byte>(value);
      Recommit(&changed);
      const Status status = OpenBytes(changed);
      const bool is_free = at == 10 || at == 11 || (at >= 24 && at < 32);  // minor, optional bits
      const bool is_count = at >= 60 && at < 64 && !(at == 60 && value == 1);  // one of many
      EXPECT_EQ(status.ok(), is_free || is_count) << at << ": " << status.message();
    }
  }
}

TEST(Corruption, SeveralFaultsAreAllListedInFileOrder) {
  const TemporaryFolder folder;
  WriteSample("plain", folder / "x.8vo");
  const auto reader = Reader::Open(folder / "x.8vo");
  ASSERT_TRUE(reader.ok());
  const auto& tensors = reader->manifest().tensors;
  const Flip first(folder / "x.8vo", (tensors[3].offset + 1) * 8);
  const Flip second(folder / "x.8vo", tensors[1].offset * 8);
  const Flip third(folder / "x.8vo", (tensors[2].offset - 1) * 8);
  const Flip fourth(folder / "x.8vo", (tensors[1].offset + tensors[1].bytes - 1) * 8);
  const auto findings = Reader::Verify(folder / "x.8vo");
  ASSERT_TRUE(findings.ok());
  ASSERT_EQ(findings->size(), 4u);
  EXPECT_EQ((*findings)[0].subject, tensors[1].name);
  EXPECT_EQ((*findings)[1].subject, tensors[1].name);
  EXPECT_EQ((*findings)[2].subject, "padding");
  EXPECT_EQ((*findings)[3].subject, tensors[3].name);
  ExpectRefused((*findings)[0].status, ErrorCode::kNotIntact,
                {"chunk 0", "bytes " + std::to_string(tensors[1].offset) + " to ", "(R23)"});
}

TEST(Corruption, ProgressCountsAllPayloadsAndCanCancel) {
  const TemporaryFolder folder;
  WriteSample("plain", folder / "x.8vo");
  format::VerifyProgress last;
  const auto findings =
      Reader::Verify(folder / "x.8vo", {.num_threads = 3}, [&](const auto& progress) {
        EXPECT_GE(progress.bytes_done, last.bytes_done);
        last = progress;
        return true;
      });
  ASSERT_TRUE(findings.ok());
  EXPECT_EQ(last.bytes_done, last.bytes_total);
  EXPECT_GT(last.bytes_total, 0u);
  const auto cancelled =
      Reader::Verify(folder / "x.8vo", {.num_threads = 3}, [](const auto&) { return false; });
  EXPECT_EQ(cancelled.code(), ErrorCode::kCancelled);
}

// 4 MiB with payloads of both alignments.
TEST(CorruptionSlow, TenThousandRandomBitsOfALargerFileAreFound) {
  SCOPED_TRACE(SeedText(TestSeed()));
  Random random(TestSeed());
  const TemporaryFolder folder;
  SampleFile file(folder / "x.8vo");
  for (int i = 0; i < 8; ++i) {
    file.AddLinear({.name = "h." + std::to_string(i) + ".mlp",
                    .out_features = 700,
                    .in_features = 701,
                    .has_bias = true});
  }
  ASSERT_TRUE(file.Finish().ok());
  const Regions regions(folder / "x.8vo");
  const uint64_t num_bits = std::filesystem::file_size(folder / "x.8vo") * 8;
  for (int i = 0; i < 10'000 && !HasFailure(); ++i) {
    ExpectFound(folder / "x.8vo", folder / "x.8vo", random.Below(num_bits), regions);
  }
}

}  // namespace
}  // namespace octavo::testing
