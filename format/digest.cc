#include "format/digest.h"

#if defined(OCTAVO_HAVE_XXH_DISPATCH)
#include <xxh_x86dispatch.h>  // xxhash.h with the XXH3 functions that look at the CPU
#else
#include <xxhash.h>
#endif

#include <algorithm>
#include <cstring>

namespace octavo::format {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

std::string HexOf(std::span<const std::byte> bytes) {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<size_t>(byte >> 4)];
    text += kDigits[std::to_integer<size_t>(byte & std::byte{15})];
  }
  return text;
}

}  // namespace

uint64_t Xxh3(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

Digest128 Xxh3Wide(std::span<const std::byte> bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  Digest128 digest;
  std::memcpy(digest.data(), canonical.digest, digest.size());
  return digest;
}

std::string Hex(uint64_t digest) {
  std::string text(16, '0');
  for (size_t i = 16; i-- > 0; digest >>= 4) text[i] = kDigits[digest & 15];
  return text;
}

std::string Hex(const Digest128& digest) { return HexOf(digest); }

std::optional<uint64_t> DigestFromHex(std::string_view text) {
  if (text.size() != 16) return std::nullopt;
  uint64_t digest = 0;
  for (const char c : text) {
    const bool is_letter = c >= 'a' && c <= 'f';
    if (!is_letter && (c < '0' || c > '9')) return std::nullopt;
    digest = digest << 4 | static_cast<uint64_t>(is_letter ? c - 'a' + 10 : c - '0');
  }
  return digest;
}

bool IsHex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of(kDigits) == std::string_view::npos;
}

}  // namespace octavo::format
