#include "octavo/dtype.h"

#include <array>

namespace octavo {
namespace {

struct DTypeFacts {
  std::string_view name;
  uint32_t bytes;
};

// Indexed by DType.
constexpr std::array<DTypeFacts, 15> kFacts = {{{"BOOL", 1},
                                                {"U8", 1},
                                                {"I8", 1},
                                                {"I16", 2},
                                                {"U16", 2},
                                                {"F16", 2},
                                                {"BF16", 2},
                                                {"I32", 4},
                                                {"U32", 4},
                                                {"F32", 4},
                                                {"I64", 8},
                                                {"U64", 8},
                                                {"F64", 8},
                                                {"F8_E4M3", 1},
                                                {"F8_E5M2", 1}}};

}  // namespace

std::string_view DTypeName(DType dtype) { return kFacts[static_cast<size_t>(dtype)].name; }

std::optional<DType> DTypeFromName(std::string_view name) {
  for (size_t i = 0; i < kFacts.size(); ++i) {
    if (kFacts[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

uint32_t DTypeBytes(DType dtype) { return kFacts[static_cast<size_t>(dtype)].bytes; }

bool IsQuantizable(DType dtype) {
  return dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF32;
}

}  // namespace octavo
