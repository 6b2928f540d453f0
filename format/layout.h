// Every constant of the .8vo format that is not a name: docs/format.md, by section and rule.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace octavo::format {

// ---- Section 3: the header ----
inline constexpr std::array<uint8_t, 8> kMagic = {0x89, '8', 'V', 'O', 0x0d, 0x0a, 0x1a, 0x0a};  // R1
inline constexpr uint16_t kVersionMajor = 1;  // R2
inline constexpr uint16_t kVersionMinor = 0;
inline constexpr uint32_t kHeaderBytes = 128;  // R5
inline constexpr size_t kDigestBytes = 16;

namespace offset {
inline constexpr size_t kVersionMajor = 8;
inline constexpr size_t kVersionMinor = 10;
inline constexpr size_t kHeaderBytes = 12;
inline constexpr size_t kRequiredFeatures = 16;
inline constexpr size_t kOptionalFeatures = 24;
inline constexpr size_t kFileBytes = 32;
inline constexpr size_t kManifestOffset = 40;
inline constexpr size_t kManifestBytes = 48;
inline constexpr size_t kShardIndex = 56;
inline constexpr size_t kShardCount = 60;
inline constexpr size_t kManifestXxh3 = 64;
inline constexpr size_t kReserved = 80;
inline constexpr size_t kCommit = 112;
}  // namespace offset

// ---- Section 6: payloads ----
inline constexpr uint64_t kAlignment = 64;           // R7, R21
inline constexpr uint64_t kPageAlignment = 4096;     // R21: from kPageAlignedBytes raw bytes on
inline constexpr uint64_t kPageAlignedBytes = 65536;
inline constexpr uint64_t kMaxChunkBytes = uint64_t{64} << 20;  // R20
inline constexpr uint64_t kMaxAssetBytes = uint64_t{1} << 30;   // R25
inline constexpr uint64_t kMaxWindowBytes = uint64_t{64} << 20; // R24

// ---- Section 8: modules ----
inline constexpr uint64_t kPackedRows = 16;     // layout vnni16x4-1: out_features padded to
inline constexpr uint64_t kPackedColumns = 64;  // and in_features to
inline constexpr uint64_t kPackedGroup = 4;     // codes that stand together

// ---- Section 10: limits ----
inline constexpr uint64_t kMaxManifestBytes = uint64_t{1} << 30;  // R7
inline constexpr int kMaxDepth = 16;                              // R11
inline constexpr size_t kMaxEntries = 4'194'304;
inline constexpr size_t kMaxNameBytes = 1024;  // R15
inline constexpr size_t kMaxStringBytes = 65'536;
inline constexpr uint64_t kMaxFeatures = uint64_t{1} << 23;
inline constexpr uint64_t kMaxCount = (uint64_t{1} << 63) - 1;  // R14

// Requires: value + multiple does not overflow; multiple is a power of two.
constexpr uint64_t RoundUp(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) & ~(multiple - 1);
}
constexpr uint64_t CeilDiv(uint64_t value, uint64_t divisor) {
  return value / divisor + (value % divisor != 0);
}
// R21: where a payload may start.
constexpr uint64_t PayloadAlignment(uint64_t raw_bytes) {
  return raw_bytes >= kPageAlignedBytes ? kPageAlignment : kAlignment;
}

}  // namespace octavo::format
