#include "octavo/row_parallel.h"

#include <cmath>
#include <memory>
#include <utility>

#include "runtime/forward.h"
#include "runtime/slice.h"
#include "runtime/translate.h"

namespace octavo {
namespace {

Status Invalid(std::string message) { return {ErrorCode::kInvalidArgument, std::move(message)}; }

Status CheckRowParallel(const PreparedLinear& linear) {
  if (IsRowParallel(linear.linear())) return {};
  return Invalid("this is no slice of in_features; Forward multiplies with it");
}

Status CheckRanges(std::span<const float> ranges, int64_t tokens) {
  const auto count = static_cast<size_t>(tokens);
  if (ranges.size() % 2 == 0 && ranges.size() / 2 == count) return {};
  return Invalid("ranges has " + std::to_string(ranges.size()) +
                 " numbers; expected 2 for each of " + std::to_string(tokens) + " tokens");
}

// `view` is [tokens, out_features] of the linear.
Status CheckOutputs(const PreparedLinear& linear, const ConstTensorView& view, const char* name,
                    int64_t tokens) {
  OCTAVO_RETURN_IF_ERROR(
      CheckView(view, name, linear.out_features(), "out_features", linear.device()));
  if (view.rows == tokens) return {};
  return Invalid(std::string(name) + " has " + std::to_string(view.rows) + " rows; expected " +
                 std::to_string(tokens));
}

Status CheckSums(const PreparedLinear& linear, const ConstTensorView& sums, int64_t tokens) {
  OCTAVO_RETURN_IF_ERROR(CheckOutputs(linear, sums, "sums", tokens));
  return sums.dtype == DType::kF32 ? Status() : Invalid("sums is not F32");
}

// ---- The steps, on arguments that were checked ----

Status RangesInto(const PreparedLinear& linear, const QuantizeCall& call,
                  std::span<std::byte> workspace, float* ranges) {
  const PreparedLinear::State& state = linear.state();
  return ToStatus(kernels::FindRanges(*state.kernels, call.x, call.options, *state.kept_index,
                                      call.parallel, workspace.data(), workspace.size(), ranges));
}

Status CodesInto(const PreparedLinear& linear, const QuantizeCall& call, const float* ranges,
                 std::span<std::byte> workspace, kernels::QuantizedActivations* quantized) {
  const PreparedLinear::State& state = linear.state();
  for (size_t i = 0; i < 2 * call.x.tokens; ++i) {
    if (ranges[i] >= 0 && std::isfinite(ranges[i])) continue;
    return Invalid("ranges[" + std::to_string(i) + "] is " + std::to_string(ranges[i]) +
                   ", which is no range");
  }
  return ToStatus(kernels::QuantizeWithRanges(*state.kernels, call.x, call.options,
                                              *state.kept_index, ranges, call.parallel,
                                              workspace.data(), workspace.size(), quantized));
}

Status LocalCodesInto(const PreparedLinear& linear, const QuantizeCall& call,
                      std::span<std::byte> workspace, kernels::QuantizedActivations* quantized) {
  const PreparedLinear::State& state = linear.state();
  return ToStatus(kernels::QuantizeActivations(*state.kernels, call.x, call.options,
                                               *state.kept_index, call.parallel, workspace.data(),
                                               workspace.size(), quantized));
}

Status SumsInto(const PreparedLinear& linear, const kernels::QuantizedActivations& quantized,
                const TensorView& sums, const kernels::ParallelFor& parallel,
                std::span<std::byte> workspace) {
  const PreparedLinear::State& state = linear.state();
  kernels::LinearView without_bias = state.view;
  without_bias.bias = nullptr;
  return ToStatus(kernels::Multiply(*state.kernels, quantized, without_bias, ToOutput(sums),
                                    parallel, workspace.data(), workspace.size()));
}

Status FinishInto(const PreparedLinear& linear, const ConstTensorView& sums, const TensorView& y,
                  const kernels::ParallelFor& parallel) {
  const auto stride = static_cast<size_t>(sums.rows > 1 ? sums.row_stride : sums.columns);
  return ToStatus(kernels::FinishPartials(static_cast<const float*>(sums.data), stride,
                                          static_cast<size_t>(sums.rows), linear.state().view,
                                          ToOutput(y), parallel));
}

// ---- Each step as a call of its own ----

Status FindRangesUnnamed(const PreparedLinear& linear, const ConstTensorView& x,
                         std::span<float> ranges, const QuantizeOptions& options,
                         const Execution& execution) {
  OCTAVO_RETURN_IF_ERROR(CheckRowParallel(linear));
  OCTAVO_ASSIGN_OR_RETURN(const QuantizeCall call, CheckQuantize(linear, x, options, execution));
  OCTAVO_RETURN_IF_ERROR(CheckRanges(ranges, x.rows));
  AlignedBuffer owned;
  OCTAVO_ASSIGN_OR_RETURN(
      const std::span<std::byte> workspace,
      TakeWorkspace(execution, QuantizeWorkspaceBytes(linear, x.rows), BackendOf(linear), &owned));
  return RangesInto(linear, call, workspace, ranges.data());
}

Result<QuantizedActivations> QuantizeUnnamed(const PreparedLinear& linear, const ConstTensorView& x,
                                             std::span<const float> ranges,
                                             const QuantizeOptions& options,
                                             const Execution& execution) {
  OCTAVO_RETURN_IF_ERROR(CheckRowParallel(linear));
  OCTAVO_ASSIGN_OR_RETURN(const QuantizeCall call, CheckQuantize(linear, x, options, execution));
  OCTAVO_RETURN_IF_ERROR(CheckRanges(ranges, x.rows));
  auto state = std::make_unique<QuantizedActivations::State>();
  SetLinear(linear, state.get());
  OCTAVO_ASSIGN_OR_RETURN(const std::span<std::byte> workspace,
                          TakeWorkspace(execution, QuantizeWorkspaceBytes(linear, x.rows),
                                        BackendOf(linear), &state->owned));
  OCTAVO_RETURN_IF_ERROR(CodesInto(linear, call, ranges.data(), workspace, &state->quantized));
  return QuantizedActivations(std::move(state));
}

Status MultiplyUnnamed(const QuantizedActivations& x, const PreparedLinear& linear,
                       const TensorView& sums, const Execution& execution) {
  OCTAVO_RETURN_IF_ERROR(CheckRowParallel(linear));
  OCTAVO_RETURN_IF_ERROR(CheckFits(x.state(), linear));
  OCTAVO_RETURN_IF_ERROR(CheckSums(linear, sums, x.tokens()));
  OCTAVO_ASSIGN_OR_RETURN(const kernels::ParallelFor parallel,
                          ResolveParallel(execution, linear.device(), BackendOf(linear)));
  AlignedBuffer owned;
  OCTAVO_ASSIGN_OR_RETURN(
      const std::span<std::byte> workspace,
      TakeWorkspace(execution, MultiplyWorkspaceBytes(linear, sums.rows, execution),
                    BackendOf(linear), &owned));
  return SumsInto(linear, x.state().quantized, sums, parallel, workspace);
}

Status FinishUnnamed(const PreparedLinear& linear, const ConstTensorView& sums, const TensorView& y,
                     const Execution& execution) {
  OCTAVO_RETURN_IF_ERROR(CheckRowParallel(linear));
  OCTAVO_RETURN_IF_ERROR(CheckSums(linear, sums, sums.rows));
  OCTAVO_RETURN_IF_ERROR(CheckOutputs(linear, y, "y", sums.rows));
  OCTAVO_ASSIGN_OR_RETURN(const kernels::ParallelFor parallel,
                          ResolveParallel(execution, linear.device(), BackendOf(linear)));
  return FinishInto(linear, sums, y, parallel);
}

// ---- All of them ----

// Pieces of one call's workspace, in this order.
struct Pieces {
  size_t ranges;
  size_t sums;
  size_t quantize;
  size_t multiply;

  Pieces(const PreparedLinear& linear, int64_t tokens, const Execution& execution)
      : ranges(FloatBytes(tokens, 2)),
        sums(FloatBytes(tokens, linear.out_features())),
        quantize(RoundUp(QuantizeWorkspaceBytes(linear, tokens), kAlignment)),
        multiply(MultiplyWorkspaceBytes(linear, tokens, execution)) {}

  size_t total() const { return Sum(Sum(ranges, sums), Sum(quantize, multiply)); }

 private:
  static size_t FloatBytes(int64_t rows, int64_t columns) {
    size_t bytes = 0;
    const bool overflows =
        rows < 0 || __builtin_mul_overflow(static_cast<size_t>(rows), sizeof(float), &bytes) ||
        __builtin_mul_overflow(bytes, static_cast<size_t>(columns), &bytes);
    return overflows ? kImpossible : RoundUp(bytes, kAlignment);
  }
};

Status CheckAllReduce(const PreparedLinear& linear, const AllReduce& all_reduce) {
  const auto all = static_cast<int64_t>(linear.linear().module().in_features);
  if (all_reduce.run != nullptr || linear.in_features() == all) return {};
  return Invalid("all_reduce.run is null, but this slice has " +
                 std::to_string(linear.in_features()) + " of " + std::to_string(all) +
                 " in_features");
}

Status Reduce(const AllReduce& all_reduce, float* data, size_t count, ReduceOp op,
              const Execution& execution) {
  if (all_reduce.run == nullptr || count == 0) return {};
  Status status = all_reduce.run(all_reduce.context, data, count, op, execution.stream);
  if (status.ok()) return status;
  return status.WithContext(op == ReduceOp::kMax ? "all-reduce of the ranges"
                                                 : "all-reduce of the sums");
}

Status ForwardUnnamed(const PreparedLinear& linear, const ConstTensorView& x, const TensorView& y,
                      const AllReduce& all_reduce, const RowParallelOptions& options,
                      const Execution& execution) {
  OCTAVO_RETURN_IF_ERROR(CheckRowParallel(linear));
  OCTAVO_RETURN_IF_ERROR(CheckAllReduce(linear, all_reduce));
  OCTAVO_ASSIGN_OR_RETURN(const QuantizeCall call,
                          CheckQuantize(linear, x, options.quantize, execution));
  OCTAVO_RETURN_IF_ERROR(CheckOutputs(linear, y, "y", x.rows));
  const Pieces pieces(linear, x.rows, execution);
  AlignedBuffer owned;
  OCTAVO_ASSIGN_OR_RETURN(std::span<std::byte> rest,
                          TakeWorkspace(execution, pieces.total(), BackendOf(linear), &owned));
  const auto take = [&](size_t bytes) {
    const std::span<std::byte> piece = rest.first(bytes);
    rest = rest.subspan(bytes);
    return piece;
  };
  auto* ranges = reinterpret_cast<float*>(take(pieces.ranges).data());
  auto* sums = reinterpret_cast<float*>(take(pieces.sums).data());
  const std::span<std::byte> quantize = take(pieces.quantize), multiply = take(pieces.multiply);

  kernels::QuantizedActivations quantized;
  if (options.range == RowRange::kLocal) {
    OCTAVO_RETURN_IF_ERROR(LocalCodesInto(linear, call, quantize, &quantized));
  } else {
    OCTAVO_RETURN_IF_ERROR(RangesInto(linear, call, quantize, ranges));
    OCTAVO_RETURN_IF_ERROR(
        Reduce(all_reduce, ranges, 2 * call.x.tokens, ReduceOp::kMax, execution));
    OCTAVO_RETURN_IF_ERROR(CodesInto(linear, call, ranges, quantize, &quantized));
  }
  const TensorView partial(sums, DType::kF32, x.rows, linear.out_features(), linear.out_features(),
                           linear.device());
  OCTAVO_RETURN_IF_ERROR(SumsInto(linear, quantized, partial, call.parallel, multiply));
  OCTAVO_RETURN_IF_ERROR(Reduce(all_reduce, sums,
                                call.x.tokens * static_cast<size_t>(linear.out_features()),
                                ReduceOp::kSum, execution));
  return FinishInto(linear, partial, y, call.parallel);
}

}  // namespace

Status FindRanges(const PreparedLinear& linear, ConstTensorView x, std::span<float> ranges,
                  const QuantizeOptions& options, const Execution& execution) {
  return InLinear(FindRangesUnnamed(linear, x, ranges, options, execution), linear);
}

Result<QuantizedActivations> QuantizeWithRanges(const PreparedLinear& linear, ConstTensorView x,
                                                std::span<const float> ranges,
                                                const QuantizeOptions& options,
                                                const Execution& execution) {
  Result<QuantizedActivations> quantized = QuantizeUnnamed(linear, x, ranges, options, execution);
  if (!quantized.ok()) return InLinear(quantized.status(), linear);
  return quantized;
}

Status MultiplyPartial(const QuantizedActivations& x, const PreparedLinear& linear, TensorView sums,
                       const Execution& execution) {
  return InLinear(MultiplyUnnamed(x, linear, sums, execution), linear);
}

Status FinishPartial(const PreparedLinear& linear, ConstTensorView sums, TensorView y,
                     const Execution& execution) {
  return InLinear(FinishUnnamed(linear, sums, y, execution), linear);
}

size_t RowParallelWorkspaceBytes(const PreparedLinear& linear, int64_t tokens,
                                 const Execution& execution) {
  return Pieces(linear, tokens, execution).total();
}

Status ForwardRowParallel(const PreparedLinear& linear, ConstTensorView x, TensorView y,
                          const AllReduce& all_reduce, const RowParallelOptions& options,
                          const Execution& execution) {
  return InLinear(ForwardUnnamed(linear, x, y, all_reduce, options, execution), linear);
}

}  // namespace octavo
