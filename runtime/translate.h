// The vocabulary of files in the words of the kernels, in one place: neither folder knows the
// other.
#pragma once

#include <optional>

#include "octavo/dtype.h"
#include "octavo/kernels.h"
#include "octavo/manifest.h"
#include "octavo/result.h"

namespace octavo {

// Nothing for a type that the kernels do not compute with.
inline std::optional<kernels::ElementType> ToKernels(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return kernels::ElementType::kFloat16;
    case DType::kBF16:
      return kernels::ElementType::kBFloat16;
    case DType::kF32:
      return kernels::ElementType::kFloat32;
    default:
      return std::nullopt;
  }
}

inline kernels::WeightLayout ToKernels(format::CodeLayout layout) {
  return layout == format::CodeLayout::kPlain ? kernels::WeightLayout::kPlain
                                              : kernels::WeightLayout::kVnni16x4;
}

inline kernels::Scope ToKernels(format::Scope scope) {
  static_assert(int(format::Scope::kBatch) == int(kernels::Scope::kBatch));
  static_assert(int(format::Scope::kToken) == int(kernels::Scope::kToken));
  return static_cast<kernels::Scope>(scope);
}

inline kernels::RowRule ToKernels(format::RowRule rule) {
  static_assert(int(format::RowRule::kInlierColumns) == int(kernels::RowRule::kInlierColumns));
  static_assert(int(format::RowRule::kBelowThreshold) == int(kernels::RowRule::kBelowThreshold));
  return static_cast<kernels::RowRule>(rule);
}

inline kernels::Activations ToKernels(format::Activations activations) {
  static_assert(int(format::Activations::kAsymmetric) == int(kernels::Activations::kAsymmetric));
  static_assert(int(format::Activations::kSymmetric) == int(kernels::Activations::kSymmetric));
  return static_cast<kernels::Activations>(activations);
}

// Over what the method takes an activation's range (docs/numerics.md).
inline kernels::RangeOver RangeOverOf(format::Method method) {
  return method == format::Method::kTensorWise || method == format::Method::kZeropointTensor
             ? kernels::RangeOver::kTensor
             : kernels::RangeOver::kRow;
}

// The runtime checks everything that it can name before it calls; what is left has no better words.
inline Status ToStatus(kernels::KernelStatus status) {
  switch (status) {
    case kernels::KernelStatus::kOk:
      return {};
    case kernels::KernelStatus::kInvalidArgument:
      return {ErrorCode::kInvalidArgument, "the kernels refuse these operands or options"};
    case kernels::KernelStatus::kWorkspaceTooSmall:
      return {ErrorCode::kInvalidArgument, "the workspace is too small for the kernels"};
    case kernels::KernelStatus::kUnsupported:
      break;
  }
  return {ErrorCode::kUnsupported, "the kernels cannot do this on this machine"};
}

}  // namespace octavo
