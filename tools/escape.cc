// Escaped(): names and messages on a terminal, with nothing in them that the terminal would obey.
#include <cstdint>

#include "tools/text.h"

namespace octavo::tools {
namespace {

// The code point that starts at text[at] and its length in bytes; length 0: not UTF-8.
struct CodePoint {
  uint32_t value = 0;
  size_t bytes = 0;
};

CodePoint Decode(std::string_view text, size_t at) {
  const auto lead = static_cast<uint8_t>(text[at]);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || at + bytes > text.size()) return {};
  uint32_t value = lead & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    const auto next = static_cast<uint8_t>(text[at + i]);
    if ((next & 0xc0) != 0x80) return {};
    value = (value << 6) | (next & 0x3fu);
  }
  static constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (value < kSmallest[bytes] || value > 0x10ffff || surrogate) return {};
  return {value, bytes};
}

bool IsHarmful(uint32_t value) {
  return value < 0x20 || (value >= 0x7f && value < 0xa0) ||  // C0, DEL, C1
         (value >= 0x200b && value <= 0x200f) ||             // zero width, direction marks
         (value >= 0x2028 && value <= 0x202e) ||             // separators, overrides
         (value >= 0x2066 && value <= 0x2069) || value == 0xfeff;
}

std::string EscapeOf(uint32_t value) {
  switch (value) {
    case '\n':
      return "\\n";
    case '\t':
      return "\\t";
    case '\r':
      return "\\r";
    default:
      return Format(value < 0x100 ? "\\x%02x" : "\\u%04x", value);
  }
}

}  // namespace

std::string Escaped(std::string_view text) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = Decode(text, at);
    if (point.bytes == 0) {
      result += EscapeOf(static_cast<uint8_t>(text[at++]));
      continue;
    }
    if (IsHarmful(point.value)) {
      result += EscapeOf(point.value);
    } else {
      result += text.substr(at, point.bytes);
    }
    at += point.bytes;
  }
  return result;
}

}  // namespace octavo::tools
