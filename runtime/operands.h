// A linear whose operands are in the caller's memory (LinearOperands): a module of its own, and
// where each of its tensors is.
#pragma once

#include <string_view>

#include "octavo/linear.h"
#include "octavo/manifest.h"
#include "octavo/result.h"
#include "runtime/payload.h"

namespace octavo {

// Its module is what a file would say, with the names below for tensors.
struct Linear::InMemory {
  LinearOperands operands;
  format::Module module;

  // The whole of one tensor; nothing is copied. Requires: a name that `module` has.
  Payload Load(std::string_view tensor) const;
  DType DTypeOf(std::string_view tensor) const;  // kept_weight or bias
};

namespace operand {
inline constexpr std::string_view kCodes = "codes";
inline constexpr std::string_view kScales = "scales";
inline constexpr std::string_view kCodeSum = "code_sum";
inline constexpr std::string_view kZeroPoint = "zero_point";
inline constexpr std::string_view kKeptIndex = "kept_index";
inline constexpr std::string_view kKeptWeight = "kept_weight";
inline constexpr std::string_view kBias = "bias";
}  // namespace operand

}  // namespace octavo
