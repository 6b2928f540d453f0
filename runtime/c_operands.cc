// octavo.h: a linear in the caller's memory.
#include "runtime/c_linear.h"

using octavo::Result;
using octavo::Status;
using octavo::c_api::Guard;
using octavo::c_api::Invalid;
using octavo::c_api::NotNull;
using octavo::c_api::ReadChoice;
using octavo::c_api::ReadOptions;

static_assert(int(octavo::format::ScaleConvention::kAbsmax) == OCTAVO_ABSMAX);
static_assert(int(octavo::format::ScaleConvention::kStep) == OCTAVO_STEP);
static_assert(int(octavo::format::Method::kVectorWise) == OCTAVO_VECTOR_WISE);
static_assert(int(octavo::format::Method::kTensorWise) == OCTAVO_TENSOR_WISE);
static_assert(int(octavo::format::Method::kRowWise) == OCTAVO_ROW_WISE);
static_assert(int(octavo::format::Method::kZeropointTensor) == OCTAVO_ZEROPOINT_TENSOR);
static_assert(int(octavo::format::Method::kZeropointVector) == OCTAVO_ZEROPOINT_VECTOR);

namespace {

// An enumerator of [0, count).
template <typename Enum>
Status ReadNumber(int32_t value, int32_t count, const char* name, Enum* number) {
  if (value < 0 || value >= count)
    return Invalid(std::string(name) + " is " + std::to_string(value) +
                   ", which is no value of it");
  *number = static_cast<Enum>(value);
  return {};
}

template <typename Enum>
Status ReadChoiceOr(int32_t value, const char* name, Enum* choice) {
  std::optional<Enum> read;
  OCTAVO_RETURN_IF_ERROR(ReadChoice(value, name, &read));
  if (read) *choice = *read;
  return {};
}

Result<octavo::format::Quantization> ToQuantization(const octavo_linear_operands& operands) {
  octavo::format::Quantization result;  // its defaults are Octavo's
  OCTAVO_RETURN_IF_ERROR(ReadNumber(operands.method, 5, "method", &result.method));
  OCTAVO_RETURN_IF_ERROR(ReadChoiceOr(operands.scope, "scope", &result.scope));
  OCTAVO_RETURN_IF_ERROR(ReadChoiceOr(operands.row_rule, "row_rule", &result.row_rule));
  OCTAVO_RETURN_IF_ERROR(ReadChoiceOr(operands.activations, "activations", &result.activations));
  result.threshold = operands.threshold;
  result.activations_via_fp16 = operands.activations_via_fp16 != 0;
  return result;
}

Result<octavo::LinearOperands> ToOperands(const octavo_linear_operands& operands) {
  octavo::LinearOperands result;
  OCTAVO_RETURN_IF_ERROR(ReadNumber(operands.convention, 2, "convention", &result.convention));
  OCTAVO_ASSIGN_OR_RETURN(result.quantization, ToQuantization(operands));
  if (operands.name != nullptr) result.name = operands.name;
  result.in_features = operands.in_features;
  result.out_features = operands.out_features;
  result.codes = operands.codes;
  result.scales = operands.scales;
  result.full_range = operands.full_range != 0;
  result.code_sum = operands.code_sum;
  result.zero_point = operands.zero_point;
  result.num_kept = operands.num_kept;
  result.kept_index = operands.kept_index;
  result.kept_weight = operands.kept_weight;
  result.kept_dtype = static_cast<octavo::DType>(operands.kept_dtype);
  result.bias = operands.bias;
  result.bias_dtype = static_cast<octavo::DType>(operands.bias_dtype);
  return result;
}

}  // namespace

octavo_status octavo_linear_from_memory(const octavo_linear_operands* operands,
                                        const octavo_prepare_options* options,
                                        octavo_linear** linear) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(operands, "operands"));
    OCTAVO_RETURN_IF_ERROR(NotNull(linear, "linear"));
    *linear = nullptr;
    OCTAVO_ASSIGN_OR_RETURN(const octavo_linear_operands known, ReadOptions(operands));
    OCTAVO_ASSIGN_OR_RETURN(const octavo::LinearOperands given, ToOperands(known));
    OCTAVO_ASSIGN_OR_RETURN(octavo::Linear in_memory, octavo::Linear::FromMemory(given));
    OCTAVO_ASSIGN_OR_RETURN(*linear, octavo::c_api::PrepareFor(std::move(in_memory), options));
    return {};
  });
}
