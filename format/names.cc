#include "format/names.h"

#include <array>
#include <cstdint>

#include "format/layout.h"
#include "format/quote.h"

namespace octavo::format {
namespace {

constexpr size_t kMaxBaseNameBytes = 255;  // NAME_MAX of the file systems in use

struct CodePoint {
  uint32_t value = 0;
  size_t bytes = 0;  // 0: the text does not begin with a well-formed sequence
};

// Requires: text is not empty.
CodePoint DecodeFirst(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(text[i])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead < 0xC0 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF8 ? 4 : 0;
  if (bytes == 0 || text.size() < bytes) return {};
  uint32_t value = lead & (0x7Fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3F);
  }
  constexpr std::array<uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[bytes] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
    return {};
  return {value, bytes};
}

bool IsControl(uint32_t code_point) {
  return code_point < 0x20 || (code_point >= 0x7F && code_point < 0xA0);
}

// What is wrong with a name of any kind; empty if nothing is.
std::string_view CommonFault(std::string_view name, size_t max_bytes) {
  if (name.empty()) return "is empty";
  if (name.size() > max_bytes) return "is too long";
  while (!name.empty()) {
    const CodePoint first = DecodeFirst(name);
    if (first.bytes == 0) return "is not UTF-8";
    if (IsControl(first.value)) return "has a control character";
    name.remove_prefix(first.bytes);
  }
  return {};
}

}  // namespace

bool IsUtf8(std::string_view text) { return WellFormedBytes(text) == text.size(); }

size_t WellFormedBytes(std::string_view text) {
  size_t good = 0;
  while (good < text.size()) {
    const CodePoint first = DecodeFirst(text.substr(good));
    if (first.bytes == 0) break;
    good += first.bytes;
  }
  return good;
}

Status CheckTensorName(std::string_view name) {
  const std::string_view fault = CommonFault(name, kMaxNameBytes);
  if (fault.empty()) return {};
  return Status(ErrorCode::kInvalidFile,
                "tensor " + Quote(name) + ": its name " + std::string(fault) +
                    "; names are 1 to 1024 bytes of UTF-8 without control characters");
}

Status CheckBaseName(std::string_view name) {
  std::string_view fault = CommonFault(name, kMaxBaseNameBytes);
  if (name == "." || name == "..") fault = "is a folder";
  if (fault.empty() && name.find_first_of("/\\:") != std::string_view::npos) fault = "has a path";
  if (fault.empty()) return {};
  return Status(ErrorCode::kInvalidFile, "file name " + Quote(name) + " " + std::string(fault) +
                                             "; only files of the same folder can be named");
}

}  // namespace octavo::format
