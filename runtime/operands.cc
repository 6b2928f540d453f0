#include "runtime/operands.h"

#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "octavo/kernels.h"

namespace octavo {
namespace {

Status Invalid(const LinearOperands& operands, const std::string& what) {
  return {ErrorCode::kInvalidArgument, "linear \"" + operands.name + "\": " + what};
}

Status CheckArray(const LinearOperands& operands, const void* data, int64_t elements,
                  size_t alignment, std::string_view name) {
  if (data == nullptr && elements != 0) return Invalid(operands, std::string(name) + " is null");
  if (reinterpret_cast<uintptr_t>(data) % alignment != 0)
    return Invalid(operands, std::string(name) + " is not aligned to its elements of " +
                                 std::to_string(alignment) + " bytes");
  return {};
}

Status CheckFloats(const LinearOperands& operands, const void* data, int64_t elements, DType dtype,
                   std::string_view name) {
  if (dtype != DType::kF16 && dtype != DType::kBF16 && dtype != DType::kF32)
    return Invalid(operands, std::string(name) + " has dtype number " +
                                 std::to_string(static_cast<int32_t>(dtype)) +
                                 "; expected F16, BF16 or F32");
  return CheckArray(operands, data, elements, DTypeBytes(dtype), name);
}

Status CheckSizes(const LinearOperands& operands) {
  const auto limit = static_cast<int64_t>(kernels::kMaxInFeatures);  // R30's, of both
  if (operands.in_features < 0 || operands.out_features < 0)
    return Invalid(operands, "a size is below 0");
  if (operands.in_features > limit || operands.out_features > limit)
    return {ErrorCode::kLimit, "linear \"" + operands.name + "\" has more than " +
                                   std::to_string(limit) + " features"};
  if (operands.num_kept < 0 || operands.num_kept > operands.in_features)
    return Invalid(operands, std::to_string(operands.num_kept) + " kept columns of " +
                                 std::to_string(operands.in_features));
  return {};
}

Status CheckOperands(const LinearOperands& operands) {
  OCTAVO_RETURN_IF_ERROR(CheckSizes(operands));
  const int64_t out = operands.out_features;
  OCTAVO_RETURN_IF_ERROR(
      CheckArray(operands, operands.codes, out * operands.in_features, 1, operand::kCodes));
  OCTAVO_RETURN_IF_ERROR(CheckArray(operands, operands.scales, out, 4, operand::kScales));
  OCTAVO_RETURN_IF_ERROR(CheckArray(operands, operands.code_sum, 0, 4, operand::kCodeSum));
  OCTAVO_RETURN_IF_ERROR(CheckArray(operands, operands.zero_point, 0, 4, operand::kZeroPoint));
  OCTAVO_RETURN_IF_ERROR(
      CheckArray(operands, operands.kept_index, operands.num_kept, 4, operand::kKeptIndex));
  if (operands.num_kept != 0)
    OCTAVO_RETURN_IF_ERROR(CheckFloats(operands, operands.kept_weight, operands.num_kept * out,
                                       operands.kept_dtype, operand::kKeptWeight));
  if (operands.bias != nullptr)
    OCTAVO_RETURN_IF_ERROR(
        CheckFloats(operands, operands.bias, out, operands.bias_dtype, operand::kBias));
  if (!(operands.quantization.threshold >= 0))
    return Invalid(operands, "threshold is " + std::to_string(operands.quantization.threshold) +
                                 "; expected 0 or more");
  return {};
}

format::Module MakeModule(const LinearOperands& operands) {
  format::SchemeDescriptor scheme;
  scheme.codes = operand::kCodes;
  scheme.full_range = operands.full_range;
  scheme.scales = operand::kScales;
  scheme.convention = operands.convention;
  if (operands.code_sum != nullptr) scheme.code_sum = operand::kCodeSum;
  if (operands.zero_point != nullptr) scheme.zero_point = operand::kZeroPoint;
  format::Module module;
  module.name = operands.name;
  module.kind = format::ModuleKind::kLinear;
  module.quantized = true;
  module.in_features = static_cast<uint64_t>(operands.in_features);
  module.out_features = static_cast<uint64_t>(operands.out_features);
  module.scheme = std::move(scheme);
  if (operands.bias != nullptr) module.bias = operand::kBias;
  if (operands.num_kept != 0) {
    module.kept_index = operand::kKeptIndex;
    module.kept_weight = operand::kKeptWeight;
  }
  return module;
}

Payload View(const void* data, uint64_t elements, DType dtype) {
  return {{static_cast<const std::byte*>(data), elements * DTypeBytes(dtype)}, {}, 0};
}

}  // namespace

Payload Linear::InMemory::Load(std::string_view tensor) const {
  const uint64_t out = module.out_features, kept = static_cast<uint64_t>(operands.num_kept);
  if (tensor == operand::kCodes) return View(operands.codes, out * module.in_features, DType::kI8);
  if (tensor == operand::kScales) return View(operands.scales, out, DType::kF32);
  if (tensor == operand::kCodeSum) return View(operands.code_sum, out, DType::kI32);
  if (tensor == operand::kZeroPoint) return View(operands.zero_point, out, DType::kI32);
  if (tensor == operand::kKeptIndex) return View(operands.kept_index, kept, DType::kI32);
  if (tensor == operand::kKeptWeight)
    return View(operands.kept_weight, kept * out, operands.kept_dtype);
  return View(operands.bias, out, operands.bias_dtype);
}

DType Linear::InMemory::DTypeOf(std::string_view tensor) const {
  return tensor == operand::kKeptWeight ? operands.kept_dtype : operands.bias_dtype;
}

Result<Linear> Linear::FromMemory(const LinearOperands& operands) {
  OCTAVO_RETURN_IF_ERROR(CheckOperands(operands));
  auto in_memory = std::make_shared<InMemory>();
  in_memory->operands = operands;
  in_memory->module = MakeModule(operands);
  return Linear(std::move(in_memory));
}

}  // namespace octavo
