// Element types of stored tensors, under the names that safetensors gives them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace octavo {

// Numbers are part of the C ABI (octavo.h): never renumber, only append.
enum class DType : int32_t {
  kBool = 0,
  kU8 = 1,
  kI8 = 2,
  kI16 = 3,
  kU16 = 4,
  kF16 = 5,
  kBF16 = 6,
  kI32 = 7,
  kU32 = 8,
  kF32 = 9,
  kI64 = 10,
  kU64 = 11,
  kF64 = 12,
  kF8E4M3 = 13,
  kF8E5M2 = 14,
};

// "F16", "BF16", "I8", …: the name in safetensors headers and in .8vo manifests.
std::string_view DTypeName(DType dtype);
std::optional<DType> DTypeFromName(std::string_view name);

// Bytes of one element: 1, 2, 4 or 8.
uint32_t DTypeBytes(DType dtype);

// True for F16, BF16 and F32, the types whose linears can be quantized.
bool IsQuantizable(DType dtype);

}  // namespace octavo
