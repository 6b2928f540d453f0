// Rules R1 to R9: the header.
#include "format/header.h"

#include "format/layout.h"
#include "tests/format/octavo_files.h"

namespace octavo::testing {
namespace {

namespace offset = format::offset;
constexpr ErrorCode kInvalid = ErrorCode::kInvalidFile;

class HeaderRules : public ::testing::Test {
 protected:
  Status OpenWith(size_t at, size_t width, uint64_t value) const {
    return OpenBytes(WithHeaderField(bytes_, at, width, value));
  }
  const Bytes bytes_ = SampleBytes("plain");
};

TEST_F(HeaderRules, EncodeAndDecodeAreInverse) {
  const auto header = format::DecodeHeader(bytes_, bytes_.size());
  ASSERT_TRUE(header.ok()) << header.status().message();
  const auto encoded = format::EncodeHeader(*header);
  EXPECT_TRUE(std::ranges::equal(encoded, std::span(bytes_).first(128)));
}

TEST_F(HeaderRules, R1RejectsWhatIsNoOctavoFile) {
  for (const std::string text : {"", "8VO", "PK\x03\x04 and more of it",
                                 "\x89"
                                 "8VO\n\x1a\n"}) {
    ExpectRefused(OpenBytes(std::as_bytes(std::span(text))), kInvalid, {"header", "(R1)"});
  }
}

TEST_F(HeaderRules, R2NamesTheVersionThatIsNewer) {
  Bytes bytes = bytes_;
  StoreInteger(&bytes, offset::kVersionMajor, 2, 2);
  StoreInteger(&bytes, offset::kVersionMinor, 2, 7);
  ExpectRefused(OpenBytes(bytes), ErrorCode::kNewerFormat, {"version 2.7", "(R2)"});
  ExpectRefused(OpenWith(offset::kVersionMajor, 2, 0), kInvalid, {"version 0.0", "(R2)"});
}

TEST_F(HeaderRules, R2ReadsAHigherMinorVersion) {
  EXPECT_TRUE(OpenWith(offset::kVersionMinor, 2, 65535).ok());
}

TEST_F(HeaderRules, R3SaysThatAFileWasNeverFinished) {
  Bytes bytes = bytes_;
  std::fill_n(bytes.begin() + offset::kCommit, 16, std::byte{0});
  ExpectRefused(OpenBytes(bytes), kInvalid, {"never finished", "(R3)"});
}

TEST_F(HeaderRules, R3RejectsAChangedHeader) {
  Bytes bytes = bytes_;
  bytes[offset::kManifestXxh3] ^= std::byte{1};
  ExpectRefused(OpenBytes(bytes), ErrorCode::kNotIntact, {"(R3)"});
}

TEST_F(HeaderRules, R4NamesTheUnknownBits) {
  const uint64_t bits = uint64_t{1} << 63 | 1u << 6;
  ExpectRefused(OpenWith(offset::kRequiredFeatures, 8, bits), ErrorCode::kNewerFormat,
                {"bit 6, 63", "(R4)"});
}

TEST_F(HeaderRules, UnknownOptionalBitsAreIgnored) {
  EXPECT_TRUE(OpenWith(offset::kOptionalFeatures, 8, ~uint64_t{0}).ok());
}

TEST_F(HeaderRules, R5RejectsAnotherHeaderSizeAndReservedBytes) {
  ExpectRefused(OpenWith(offset::kHeaderBytes, 4, 127), kInvalid, {"(R5)"});
  for (size_t at = offset::kReserved; at < offset::kCommit; ++at) {
    ExpectRefused(OpenWith(at, 1, 1), kInvalid, {"(R5)"});
  }
}

TEST_F(HeaderRules, R6TellsTruncatedFromAppended) {
  ExpectRefused(OpenBytes(std::span(bytes_).first(200)), kInvalid, {"truncated", "200", "(R6)"});
  Bytes longer = bytes_;
  longer.push_back(std::byte{0});
  ExpectRefused(OpenBytes(longer), kInvalid, {"longer", "(R6)"});
}

TEST_F(HeaderRules, R6AndR7RejectHugeNumbers) {
  for (const size_t at : {offset::kFileBytes, offset::kManifestOffset, offset::kManifestBytes}) {
    for (const int shift : {32, 61, 62, 63}) {
      const std::string rule = at == offset::kFileBytes ? "(R6)" : "(R7)";
      ExpectRefused(OpenWith(at, 8, uint64_t{1} << shift), kInvalid, {rule});
      ExpectRefused(OpenWith(at, 8, (uint64_t{1} << shift) - 64), kInvalid, {rule});
    }
    ExpectRefused(OpenWith(at, 8, ~uint64_t{0}), kInvalid, {});
    ExpectRefused(OpenWith(at, 8, 0), kInvalid, {});
  }
}

TEST_F(HeaderRules, R7RejectsASumThatOverflows) {
  const uint64_t begin = LoadInteger(bytes_, offset::kManifestOffset, 8);
  Bytes bytes = WithHeaderField(bytes_, offset::kManifestOffset, 8, begin - 64);
  ExpectRefused(OpenBytes(bytes), kInvalid, {"does not end where the file does", "(R7)"});
  // Offset and size that add up to the file's size modulo 2^64.
  bytes = WithHeaderField(bytes_, offset::kManifestBytes, 8, bytes_.size() + 64);
  bytes = WithHeaderField(bytes, offset::kManifestOffset, 8, ~uint64_t{0} - 63);
  ExpectRefused(OpenBytes(bytes), kInvalid, {"does not end where the file does", "(R7)"});
  bytes = WithHeaderField(bytes_, offset::kManifestOffset, 8, begin + 1);
  ExpectRefused(OpenBytes(bytes), kInvalid, {"multiple of 64", "(R7)"});
  bytes = WithHeaderField(bytes_, offset::kManifestOffset, 8, 64);
  ExpectRefused(OpenBytes(bytes), kInvalid, {"(R7)"});
}

TEST_F(HeaderRules, R8RejectsAnotherManifest) {
  Bytes bytes = bytes_;
  bytes.back() = std::byte{' '};
  ExpectRefused(OpenBytes(bytes), ErrorCode::kNotIntact, {"manifest", "(R8)"});
}

TEST_F(HeaderRules, R9RejectsAShardBeyondTheCount) {
  ExpectRefused(OpenWith(offset::kShardIndex, 4, 1), kInvalid, {"(R9)"});
  ExpectRefused(OpenWith(offset::kShardCount, 4, 0), kInvalid, {"(R9)"});
}

TEST_F(HeaderRules, R10ComparesEachFeatureBitWithTheManifest) {
  for (uint64_t bit = 0; bit < 6; ++bit) {
    const std::string rule = bit == 1 ? "(R13)" : "(R10)";  // without "shards" no index parses
    ExpectRefused(OpenWith(offset::kRequiredFeatures, 8, 1u << bit), kInvalid,
                  {bit == 1 ? "\"shard\"" : rule});
  }
}

}  // namespace
}  // namespace octavo::testing
