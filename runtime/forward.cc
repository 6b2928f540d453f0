// Quantize, Multiply and Forward on the CPU. Nothing here allocates when the call brings a
// workspace, except the object that Quantize returns.
#include "runtime/forward.h"

#include <algorithm>
#include <utility>

#include "runtime/default_pool.h"
#include "runtime/slice.h"
#include "runtime/translate.h"

namespace octavo {

size_t Sum(size_t a, size_t b) {
  size_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? kImpossible : sum;
}

size_t RoundUp(size_t bytes) {
  const size_t padded = Sum(bytes, kAlignment - 1);
  return padded == kImpossible ? kImpossible : padded / kAlignment * kAlignment;
}

Status InLinear(Status status, const PreparedLinear& linear) {
  if (status.ok()) return status;
  return status.WithContext("linear \"" + linear.linear().name() + "\"");
}

kernels::ActivationView ToKernels(const ConstTensorView& x) {
  return {x.data, *ToKernels(x.dtype), static_cast<size_t>(x.rows), static_cast<size_t>(x.columns),
          static_cast<size_t>(x.rows > 1 ? x.row_stride : x.columns)};
}

kernels::OutputView ToOutput(const TensorView& y) {
  return {y.data, *ToKernels(y.dtype), static_cast<size_t>(y.rows > 1 ? y.row_stride : y.columns)};
}

Result<QuantizeCall> CheckQuantize(const PreparedLinear& linear, const ConstTensorView& x,
                                   const QuantizeOptions& options, const Execution& execution) {
  OCTAVO_RETURN_IF_ERROR(CheckView(x, "x", linear.in_features(), "in_features", linear.device()));
  QuantizeCall call;
  OCTAVO_ASSIGN_OR_RETURN(call.options, ResolveOptions(linear.linear().quantization(), options));
  OCTAVO_ASSIGN_OR_RETURN(call.parallel, ResolveParallel(execution, linear.device()));
  call.x = ToKernels(x);
  return call;
}

Status CheckFits(const QuantizedActivations::State& x, const PreparedLinear& linear) {
  const PreparedLinear::State& state = linear.state();
  const format::Quantization& stated = state.linear.quantization();
  const auto invalid = [](std::string message) {
    return Status(ErrorCode::kInvalidArgument, std::move(message));
  };
  if (x.kernels != state.kernels || x.device != state.device)
    return invalid(std::string("x was quantized by backend ") + x.kernels->name +
                   ", this linear was prepared for " + state.kernels->name);
  if (x.quantized.x.in_features != state.view.in_features)
    return invalid("x was quantized with " + std::to_string(x.quantized.x.in_features) +
                   " columns; in_features is " + std::to_string(state.view.in_features));
  if (x.method != stated.method || x.file_via_fp16 != stated.activations_via_fp16)
    return invalid("x was quantized for a file with another method");
  if (*x.kept_index != *state.kept_index)
    return invalid("x was quantized for a linear with other kept columns");
  return {};
}

std::unique_ptr<QuantizedActivations::State> MakeState(const PreparedLinear& linear) {
  auto state = std::make_unique<QuantizedActivations::State>();
  const format::Quantization& stated = linear.linear().quantization();
  state->kernels = linear.state().kernels;
  state->device = linear.device();
  state->method = stated.method;
  state->file_via_fp16 = stated.activations_via_fp16;
  state->kept_index = linear.state().kept_index;
  return state;
}

namespace {

Status QuantizeInto(const PreparedLinear& linear, const QuantizeCall& call,
                    std::span<std::byte> workspace, kernels::QuantizedActivations* quantized) {
  const PreparedLinear::State& state = linear.state();
  return ToStatus(kernels::QuantizeActivations(*state.kernels, call.x, call.options,
                                               *state.kept_index, call.parallel, workspace.data(),
                                               workspace.size(), quantized));
}

Status CheckOutput(const PreparedLinear& linear, const TensorView& y, int64_t tokens) {
  if (IsRowParallel(linear.linear()))
    return {ErrorCode::kInvalidArgument,
            "a slice of in_features gives partial products; use the calls of row_parallel.h"};
  OCTAVO_RETURN_IF_ERROR(CheckView(y, "y", linear.out_features(), "out_features", linear.device()));
  if (y.rows == tokens) return {};
  return {ErrorCode::kInvalidArgument,
          "y has " + std::to_string(y.rows) + " rows, x has " + std::to_string(tokens)};
}

Status MultiplyInto(const PreparedLinear& linear, const kernels::QuantizedActivations& quantized,
                    const TensorView& y, const kernels::ParallelFor& parallel,
                    std::span<std::byte> workspace) {
  const PreparedLinear::State& state = linear.state();
  return ToStatus(kernels::Multiply(*state.kernels, quantized, state.view, ToOutput(y), parallel,
                                    workspace.data(), workspace.size()));
}

Result<QuantizedActivations> QuantizeUnnamed(const PreparedLinear& linear, const ConstTensorView& x,
                                             const QuantizeOptions& options,
                                             const Execution& execution) {
  OCTAVO_ASSIGN_OR_RETURN(const QuantizeCall call, CheckQuantize(linear, x, options, execution));
  auto state = MakeState(linear);
  OCTAVO_ASSIGN_OR_RETURN(
      const std::span<std::byte> workspace,
      TakeWorkspace(execution, QuantizeWorkspaceBytes(linear, x.rows), &state->owned));
  OCTAVO_RETURN_IF_ERROR(QuantizeInto(linear, call, workspace, &state->quantized));
  return QuantizedActivations(std::move(state));
}

Status MultiplyUnnamed(const QuantizedActivations& x, const PreparedLinear& linear,
                       const TensorView& y, const Execution& execution) {
  OCTAVO_RETURN_IF_ERROR(CheckFits(x.state(), linear));
  OCTAVO_RETURN_IF_ERROR(CheckOutput(linear, y, x.tokens()));
  OCTAVO_ASSIGN_OR_RETURN(const kernels::ParallelFor parallel,
                          ResolveParallel(execution, linear.device()));
  AlignedBuffer owned;
  OCTAVO_ASSIGN_OR_RETURN(
      const std::span<std::byte> workspace,
      TakeWorkspace(execution, MultiplyWorkspaceBytes(linear, y.rows, execution), &owned));
  return MultiplyInto(linear, x.state().quantized, y, parallel, workspace);
}

Status ForwardUnnamed(const PreparedLinear& linear, const ConstTensorView& x, const TensorView& y,
                      const QuantizeOptions& options, const Execution& execution) {
  OCTAVO_ASSIGN_OR_RETURN(const QuantizeCall call, CheckQuantize(linear, x, options, execution));
  OCTAVO_RETURN_IF_ERROR(CheckOutput(linear, y, x.rows));
  AlignedBuffer owned;
  OCTAVO_ASSIGN_OR_RETURN(
      const std::span<std::byte> workspace,
      TakeWorkspace(execution, ForwardWorkspaceBytes(linear, x.rows, execution), &owned));
  const size_t first = RoundUp(QuantizeWorkspaceBytes(linear, x.rows));
  kernels::QuantizedActivations quantized;
  OCTAVO_RETURN_IF_ERROR(QuantizeInto(linear, call, workspace.first(first), &quantized));
  return MultiplyInto(linear, quantized, y, call.parallel, workspace.subspan(first));
}

}  // namespace

size_t QuantizeWorkspaceBytes(const PreparedLinear& linear, int64_t tokens) {
  if (tokens < 0) return kImpossible;
  const auto bytes = [&](kernels::Scope scope) {
    kernels::ActivationOptions options;
    options.scope = scope;
    return kernels::QuantizeWorkspaceBytes(static_cast<size_t>(tokens),
                                           linear.state().view.in_features, options);
  };
  return std::max(bytes(kernels::Scope::kBatch), bytes(kernels::Scope::kToken));
}

size_t MultiplyWorkspaceBytes(const PreparedLinear& linear, int64_t tokens,
                              const Execution& execution) {
  if (tokens < 0) return kImpossible;
  const kernels::ParallelFor parallel =
      execution.parallel.run == nullptr ? DefaultParallelFor() : execution.parallel;
  return kernels::MultiplyWorkspaceBytes(*linear.state().kernels, static_cast<size_t>(tokens),
                                         linear.state().view, parallel);
}

size_t ForwardWorkspaceBytes(const PreparedLinear& linear, int64_t tokens,
                             const Execution& execution) {
  return Sum(RoundUp(QuantizeWorkspaceBytes(linear, tokens)),
             MultiplyWorkspaceBytes(linear, tokens, execution));
}

Result<QuantizedActivations> Quantize(const PreparedLinear& linear, ConstTensorView x,
                                      const QuantizeOptions& options, const Execution& execution) {
  Result<QuantizedActivations> quantized = QuantizeUnnamed(linear, x, options, execution);
  if (!quantized.ok()) return InLinear(quantized.status(), linear);
  return quantized;
}

Status Multiply(const QuantizedActivations& x, const PreparedLinear& linear, TensorView y,
                const Execution& execution) {
  return InLinear(MultiplyUnnamed(x, linear, y, execution), linear);
}

Status Forward(const PreparedLinear& linear, ConstTensorView x, TensorView y,
               const QuantizeOptions& options, const Execution& execution) {
  return InLinear(ForwardUnnamed(linear, x, y, options, execution), linear);
}

}  // namespace octavo
