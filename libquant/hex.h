// Bytes as hex digits, in their order.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace octavo::quant {

inline std::string Hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    text += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> 4];
    text += "0123456789abcdef"[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

}  // namespace octavo::quant
