// Quantize, Multiply and Forward: what was given is checked, then the device's backend called.
// Nothing here allocates when the call brings a workspace, except the object that Quantize returns.
#include "runtime/forward.h"

#include <utility>

#include "runtime/slice.h"
#include "runtime/translate.h"

namespace octavo {

size_t Sum(size_t a, size_t b) {
  size_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? kImpossible : sum;
}

size_t RoundUp(size_t bytes, size_t alignment) {
  const size_t padded = Sum(bytes, alignment - 1);
  return padded == kImpossible ? kImpossible : padded / alignment * alignment;
}

const Backend& BackendOf(const PreparedLinear& linear) { return *linear.state().backend; }

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
  OCTAVO_ASSIGN_OR_RETURN(call.parallel,
                          ResolveParallel(execution, linear.device(), BackendOf(linear)));
  call.x = ToKernels(x);
  return call;
}

Status CheckFits(const QuantizedActivations::State& x, const PreparedLinear& linear) {
  const PreparedLinear::State& state = linear.state();
  const format::Quantization& stated = state.linear.quantization();
  const auto invalid = [](std::string message) {
    return Status(ErrorCode::kInvalidArgument, std::move(message));
  };
  if (x.device != state.device)
    return invalid("x was quantized on device " + ToString(x.device) + ", this linear is on " +
                   ToString(state.device));
  if (x.kernels != state.kernels)
    return invalid(std::string("x was quantized by backend ") + x.kernels->name +
                   ", this linear was prepared for " + state.backend_name);
  if (x.quantized.x.in_features != state.view.in_features)
    return invalid("x was quantized with " + std::to_string(x.quantized.x.in_features) +
                   " columns; in_features is " + std::to_string(state.view.in_features));
  if (x.method != stated.method || x.file_via_fp16 != stated.activations_via_fp16)
    return invalid("x was quantized for a file with another method");
  if (*x.kept_index != *state.kept_index)
    return invalid("x was quantized for a linear with other kept columns");
  return {};
}

void SetLinear(const PreparedLinear& linear, QuantizedActivations::State* quantized) {
  const PreparedLinear::State& state = linear.state();
  const format::Quantization& stated = state.linear.quantization();
  quantized->backend = state.backend;
  quantized->kernels = state.kernels;
  quantized->device = state.device;
  quantized->method = stated.method;
  quantized->file_via_fp16 = stated.activations_via_fp16;
  quantized->kept_index = state.kept_index;
}

namespace {

Status QuantizeInto(const PreparedLinear& linear, const QuantizeCall& call,
                    const Execution& execution, std::span<std::byte> workspace,
                    QuantizedActivations::State* quantized) {
  const PreparedLinear::State& state = linear.state();
  SetLinear(linear, quantized);
  return state.backend->Quantize(state, call.x, call.options,
                                 {call.parallel, workspace, execution.stream}, quantized);
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

Result<QuantizedActivations> QuantizeUnnamed(const PreparedLinear& linear, const ConstTensorView& x,
                                             const QuantizeOptions& options,
                                             const Execution& execution) {
  OCTAVO_ASSIGN_OR_RETURN(const QuantizeCall call, CheckQuantize(linear, x, options, execution));
  auto state = std::make_unique<QuantizedActivations::State>();
  OCTAVO_ASSIGN_OR_RETURN(const std::span<std::byte> workspace,
                          TakeWorkspace(execution, QuantizeWorkspaceBytes(linear, x.rows),
                                        BackendOf(linear), &state->owned));
  OCTAVO_RETURN_IF_ERROR(QuantizeInto(linear, call, execution, workspace, state.get()));
  return QuantizedActivations(std::move(state));
}

Status MultiplyUnnamed(const QuantizedActivations& x, const PreparedLinear& linear,
                       const TensorView& y, const Execution& execution) {
  OCTAVO_RETURN_IF_ERROR(CheckFits(x.state(), linear));
  OCTAVO_RETURN_IF_ERROR(CheckOutput(linear, y, x.tokens()));
  OCTAVO_ASSIGN_OR_RETURN(const kernels::ParallelFor parallel,
                          ResolveParallel(execution, linear.device(), BackendOf(linear)));
  AlignedBuffer owned;
  OCTAVO_ASSIGN_OR_RETURN(
      const std::span<std::byte> workspace,
      TakeWorkspace(execution, MultiplyWorkspaceBytes(linear, y.rows, execution), BackendOf(linear),
                    &owned));
  return BackendOf(linear).Multiply(x.state(), linear.state(), ToOutput(y),
                                    {parallel, workspace, execution.stream});
}

Status ForwardUnnamed(const PreparedLinear& linear, const ConstTensorView& x, const TensorView& y,
                      const QuantizeOptions& options, const Execution& execution) {
  OCTAVO_ASSIGN_OR_RETURN(const QuantizeCall call, CheckQuantize(linear, x, options, execution));
  OCTAVO_RETURN_IF_ERROR(CheckOutput(linear, y, x.rows));
  AlignedBuffer owned;
  OCTAVO_ASSIGN_OR_RETURN(const std::span<std::byte> workspace,
                          TakeWorkspace(execution, ForwardWorkspaceBytes(linear, x.rows, execution),
                                        BackendOf(linear), &owned));
  if (const std::optional<Status> done =
          BackendOf(linear).Forward(linear.state(), call.x, call.options, ToOutput(y),
                                    {call.parallel, workspace, execution.stream}))
    return *done;
  const size_t first =
      RoundUp(QuantizeWorkspaceBytes(linear, x.rows), BackendOf(linear).workspace_alignment());
  QuantizedActivations::State quantized;
  OCTAVO_RETURN_IF_ERROR(QuantizeInto(linear, call, execution, workspace.first(first), &quantized));
  return BackendOf(linear).Multiply(quantized, linear.state(), ToOutput(y),
                                    {call.parallel, workspace.subspan(first), execution.stream});
}

}  // namespace

size_t QuantizeWorkspaceBytes(const PreparedLinear& linear, int64_t tokens) {
  if (tokens < 0) return kImpossible;
  return BackendOf(linear).QuantizeWorkspaceBytes(linear.state(), static_cast<size_t>(tokens));
}

size_t MultiplyWorkspaceBytes(const PreparedLinear& linear, int64_t tokens,
                              const Execution& execution) {
  if (tokens < 0) return kImpossible;
  const kernels::ParallelFor parallel =
      execution.parallel.run == nullptr ? BackendOf(linear).DefaultParallel() : execution.parallel;
  return BackendOf(linear).MultiplyWorkspaceBytes(linear.state(), static_cast<size_t>(tokens),
                                                  parallel);
}

size_t ForwardWorkspaceBytes(const PreparedLinear& linear, int64_t tokens,
                             const Execution& execution) {
  const size_t quantize_bytes =
      RoundUp(QuantizeWorkspaceBytes(linear, tokens), BackendOf(linear).workspace_alignment());
  return Sum(quantize_bytes, MultiplyWorkspaceBytes(linear, tokens, execution));
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
