// XXH3 of bytes, and its canonical text: most significant digit first, as xxhsum prints it
// (docs/format.md, section 1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace octavo::format {

using Digest128 = std::array<std::byte, 16>;  // canonical: most significant byte first

uint64_t Xxh3(std::span<const std::byte> bytes);
Digest128 Xxh3Wide(std::span<const std::byte> bytes);

std::string Hex(uint64_t digest);          // 16 digits
std::string Hex(const Digest128& digest);  // 32 digits
// Exactly 16 lower-case hex digits, or nothing (R19).
std::optional<uint64_t> DigestFromHex(std::string_view text);
// Whether `text` is exactly so many lower-case hex digits.
bool IsHex(std::string_view text, size_t digits);

}  // namespace octavo::format
