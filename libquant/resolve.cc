// Options, presets and defaults to one set of values.
#include <cmath>

#include "libquant/quantize_rows.h"
#include "octavo/convert.h"
#include "octavo/half.h"

namespace octavo::quant {
namespace {

using format::Activations;
using format::Compat;
using format::Method;
using format::Quantization;
using format::RowRule;
using format::Scope;

Status Invalid(const std::string& message) { return Status(ErrorCode::kInvalidArgument, message); }

// The values that a preset stands for; its threshold may be changed, the rest is its definition.
Quantization Preset(const ConvertOptions& options) {
  Quantization values;
  values.compat = options.compat;
  if (options.compat != Compat::kNone) values.activations = Activations::kSymmetric;
  if (options.compat == Compat::kBitsandbytes) {
    values.row_rule = RowRule::kBelowThreshold;
    values.weights_via_fp16 = true;
    values.activations_via_fp16 = true;
  }
  const Method method = options.method.value_or(Method::kVectorWise);
  if (method == Method::kTensorWise || method == Method::kRowWise) {
    values.activations = Activations::kSymmetric;
  }
  return values;
}

template <typename T>
Status RefuseOther(Compat compat, std::string_view option, const std::optional<T>& given,
                   T preset) {
  if (!given || *given == preset) return {};
  return Invalid("compat " + std::string(Name(compat)) + " means " + std::string(option) + " " +
                 std::string(Name(preset)) + ", not " + std::string(Name(*given)));
}

Status CheckPreset(const ConvertOptions& options, const Quantization& preset) {
  const Compat compat = options.compat;
  if (compat == Compat::kNone) return {};
  OCTAVO_RETURN_IF_ERROR(RefuseOther(compat, "method", options.method, Method::kVectorWise));
  OCTAVO_RETURN_IF_ERROR(RefuseOther(compat, "scope", options.scope, preset.scope));
  OCTAVO_RETURN_IF_ERROR(RefuseOther(compat, "row rule", options.row_rule, preset.row_rule));
  OCTAVO_RETURN_IF_ERROR(
      RefuseOther(compat, "activations", options.activations, preset.activations));
  if (compat == Compat::kBitsandbytes && !options.keep_columns.empty()) {
    return Invalid("compat bitsandbytes has no kept columns: it multiplies outliers by the codes");
  }
  return {};
}

Status CheckMethod(const Quantization& values) {
  const std::string method(Name(values.method));
  const bool spans_rows =
      values.method == Method::kTensorWise || values.method == Method::kZeropointTensor;
  if (spans_rows && values.scope == Scope::kToken) {
    return Invalid("method " + method + " takes one range over all rows: scope token excludes it");
  }
  if (IsZeropoint(values.method) && values.activations == Activations::kSymmetric) {
    return Invalid("method " + method + " has asymmetric activations");
  }
  return {};
}

// The threshold as the file states it; bitsandbytes compares in fp16.
Result<float> ResolveThreshold(const ConvertOptions& options) {
  float threshold = options.threshold.value_or(6.0f);
  if (!(threshold >= 0) || !std::isfinite(threshold)) {
    return Invalid("the threshold is " + std::to_string(threshold) +
                   "; it must be finite and not negative");
  }
  if (options.compat == Compat::kBitsandbytes) {
    threshold = kernels::HalfToFloat(kernels::FloatToHalf(threshold));
    if (!std::isfinite(threshold)) return Invalid("the threshold does not fit fp16");
  }
  return threshold;
}

Status CheckKeptColumns(const ConvertOptions& options, Method method) {
  if (options.keep_budget) {
    if (options.keep_columns.empty()) return Invalid("a budget for kept columns needs a profile");
    if (!(*options.keep_budget > 0 && *options.keep_budget <= 1)) {
      return Invalid("the budget for kept columns is a share in (0, 1]");
    }
  }
  if (!options.keep_columns.empty() && method != Method::kVectorWise) {
    return Invalid("kept columns come with method vector-wise only, not with " +
                   std::string(Name(method)));
  }
  return {};
}

}  // namespace

Result<Quantization> ResolveQuantization(const ConvertOptions& options) {
  Quantization values = Preset(options);
  OCTAVO_RETURN_IF_ERROR(CheckPreset(options, values));
  values.method = options.method.value_or(values.method);
  values.scope = options.scope.value_or(values.scope);
  values.row_rule = options.row_rule.value_or(values.row_rule);
  values.activations = options.activations.value_or(values.activations);
  values.weights_via_fp16 = values.weights_via_fp16 || options.via_fp16;
  OCTAVO_ASSIGN_OR_RETURN(values.threshold, ResolveThreshold(options));
  OCTAVO_RETURN_IF_ERROR(CheckMethod(values));
  OCTAVO_RETURN_IF_ERROR(CheckKeptColumns(options, values.method));
  if (options.num_threads < 0) return Invalid("the number of threads is negative");
  return values;
}

}  // namespace octavo::quant
