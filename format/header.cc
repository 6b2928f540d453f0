#include "format/header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "octavo/manifest.h"

namespace octavo::format {
namespace {

template <typename T>
T Load(std::span<const std::byte> bytes, size_t at) {
  T value = 0;
  for (size_t i = sizeof(T); i-- > 0;) {
    value = static_cast<T>(value << 7 << 1 | std::to_integer<T>(bytes[at + i]));
  }
  return value;
}

template <typename T>
void Store(T value, std::span<std::byte> bytes, size_t at) {
  for (size_t i = 0; i < sizeof(T); ++i) bytes[at + i] = static_cast<std::byte>(value >> (8 * i));
}

bool AllZero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

Status Invalid(const std::string& message) { return Status(ErrorCode::kInvalidFile, message); }

Status CheckMagic(std::span<const std::byte> bytes, uint64_t file_bytes) {
  const size_t common = std::min(bytes.size(), kMagic.size());
  if (common == 0 || std::memcmp(bytes.data(), kMagic.data(), common) != 0) {
    return Invalid("not a .8vo file: it does not start with the magic bytes (R1)");
  }
  if (file_bytes < kHeaderBytes) {
    return Invalid("the file has " + std::to_string(file_bytes) + " bytes, a header has 128 (R1)");
  }
  return {};
}

Status CheckVersion(std::span<const std::byte> bytes) {
  const auto major = Load<uint16_t>(bytes, offset::kVersionMajor);
  const auto minor = Load<uint16_t>(bytes, offset::kVersionMinor);
  if (major == kVersionMajor) return {};
  const std::string version = std::to_string(major) + "." + std::to_string(minor);
  if (major < kVersionMajor) return Invalid("there is no format version " + version + " (R2)");
  return Status(ErrorCode::kNewerFormat, "format version " + version +
                                             ", this release reads version 1; a newer release of "
                                             "Octavo reads it (R2)");
}

Status CheckCommit(std::span<const std::byte> bytes) {
  const auto stored = bytes.subspan(offset::kCommit, kDigestBytes);
  if (AllZero(stored)) {
    return Invalid("the file was never finished: its writer did not get to the end (R3)");
  }
  const Digest128 digest = Xxh3Wide(bytes.first(offset::kCommit));
  if (!std::ranges::equal(stored, digest)) {
    return Status(ErrorCode::kNotIntact,
                  "bytes 0 to 111 do not have the digest in bytes 112 to 127 (R3)");
  }
  return {};
}

Status CheckFeatures(uint64_t required) {
  const uint64_t unknown = required & ~kKnownRequiredFeatures;
  if (unknown == 0) return {};
  std::string bits;
  for (int bit = 0; bit < 64; ++bit) {
    if (unknown >> bit & 1) bits += (bits.empty() ? "" : ", ") + std::to_string(bit);
  }
  return Status(ErrorCode::kNewerFormat, "unknown required feature bit " + bits +
                                             "; a newer release of Octavo knows it (R4)");
}

Status CheckSizes(const FileHeader& header, uint64_t file_bytes) {
  if (header.file_bytes != file_bytes) {
    return Invalid(std::string("the file is ") +
                   (file_bytes < header.file_bytes ? "truncated" : "longer than it was written") +
                   ": it has " + std::to_string(file_bytes) + " bytes of " +
                   std::to_string(header.file_bytes) + " (R6)");
  }
  const uint64_t begin = header.manifest_offset;
  if (begin % kAlignment != 0 || begin < kHeaderBytes) {
    return Invalid("manifest_offset " + std::to_string(begin) +
                   " is not a multiple of 64 from 128 on (R7)");
  }
  if (header.manifest_bytes < 2 || header.manifest_bytes > kMaxManifestBytes) {
    return Invalid("manifest_bytes " + std::to_string(header.manifest_bytes) +
                   " is not from 2 to 1 GiB (R7)");
  }
  if (begin > file_bytes || file_bytes - begin != header.manifest_bytes) {
    return Invalid("the manifest, " + std::to_string(header.manifest_bytes) + " bytes from " +
                   std::to_string(begin) + ", does not end where the file does (R7)");
  }
  const bool is_index = (header.required_features & kFeatureIndex) != 0;
  if (header.shard_index >= header.shard_count || (is_index && header.shard_index != 0)) {
    return Invalid((is_index ? "an index says it is shard " : "shard ") +
                   std::to_string(header.shard_index) + " of " +
                   std::to_string(header.shard_count) + " (R9)");
  }
  return {};
}

FileHeader LoadValues(std::span<const std::byte> bytes) {
  FileHeader values;
  values.version_major = Load<uint16_t>(bytes, offset::kVersionMajor);
  values.version_minor = Load<uint16_t>(bytes, offset::kVersionMinor);
  values.required_features = Load<uint64_t>(bytes, offset::kRequiredFeatures);
  values.optional_features = Load<uint64_t>(bytes, offset::kOptionalFeatures);
  values.file_bytes = Load<uint64_t>(bytes, offset::kFileBytes);
  values.manifest_offset = Load<uint64_t>(bytes, offset::kManifestOffset);
  values.manifest_bytes = Load<uint64_t>(bytes, offset::kManifestBytes);
  values.shard_index = Load<uint32_t>(bytes, offset::kShardIndex);
  values.shard_count = Load<uint32_t>(bytes, offset::kShardCount);
  return values;
}

}  // namespace

Result<Header> DecodeHeader(std::span<const std::byte> bytes, uint64_t file_bytes) {
  OCTAVO_RETURN_IF_ERROR(CheckMagic(bytes, file_bytes));
  OCTAVO_RETURN_IF_ERROR(CheckVersion(bytes));
  OCTAVO_RETURN_IF_ERROR(CheckCommit(bytes));
  Header header;
  header.values = LoadValues(bytes);
  OCTAVO_RETURN_IF_ERROR(CheckFeatures(header.values.required_features));
  const auto header_bytes = Load<uint32_t>(bytes, offset::kHeaderBytes);
  if (header_bytes != kHeaderBytes) {
    return Invalid("header_bytes is " + std::to_string(header_bytes) + ", not 128 (R5)");
  }
  if (!AllZero(bytes.subspan(offset::kReserved, offset::kCommit - offset::kReserved))) {
    return Invalid("the reserved bytes 80 to 111 are not zero (R5)");
  }
  OCTAVO_RETURN_IF_ERROR(CheckSizes(header.values, file_bytes));
  std::memcpy(header.manifest_xxh3.data(), bytes.data() + offset::kManifestXxh3, kDigestBytes);
  header.values.manifest_xxh3 = Hex(header.manifest_xxh3);
  return header;
}

std::array<std::byte, kHeaderBytes> EncodeHeader(const Header& header) {
  std::array<std::byte, kHeaderBytes> bytes{};
  const FileHeader& values = header.values;
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  Store(values.version_major, bytes, offset::kVersionMajor);
  Store(values.version_minor, bytes, offset::kVersionMinor);
  Store(kHeaderBytes, bytes, offset::kHeaderBytes);
  Store(values.required_features, bytes, offset::kRequiredFeatures);
  Store(values.optional_features, bytes, offset::kOptionalFeatures);
  Store(values.file_bytes, bytes, offset::kFileBytes);
  Store(values.manifest_offset, bytes, offset::kManifestOffset);
  Store(values.manifest_bytes, bytes, offset::kManifestBytes);
  Store(values.shard_index, bytes, offset::kShardIndex);
  Store(values.shard_count, bytes, offset::kShardCount);
  std::memcpy(bytes.data() + offset::kManifestXxh3, header.manifest_xxh3.data(), kDigestBytes);
  const Digest128 commit = Xxh3Wide(std::span(bytes).first(offset::kCommit));
  std::memcpy(bytes.data() + offset::kCommit, commit.data(), kDigestBytes);
  return bytes;
}

}  // namespace octavo::format
