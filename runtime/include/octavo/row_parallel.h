// y of a linear whose in_features are split over several ranks (Linear::slice, kInFeatures): each
// rank has its columns of W and of x. CPU only so far: Prepare refuses such a slice elsewhere.
//
//     FindRanges            every rank: the ranges of its columns
//     all-reduce, maximum   the caller
//     QuantizeWithRanges    every rank: codes, bit for bit those of the unsplit x
//     MultiplyPartial       every rank: float32 products, without bias and not rounded
//     all-reduce, sum       the caller
//     FinishPartial         every rank that wants y: bias and the one rounding
//
// ForwardRowParallel does all of it with the caller's AllReduce. What is computed, and how far y
// may be from the unsplit linear's, is in docs/numerics.md, section 10. Every call:
// kInvalidArgument for a linear that is no slice of in_features.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "octavo/linear.h"
#include "octavo/result.h"
#include "octavo/tensor_view.h"

namespace octavo {

// ranges: [2][tokens], float32: how far each row of x [tokens, in_features of the slice] reaches
// below 0, then how far above. All-reduced by maximum, they are those of the unsplit rows: outlier
// columns, kept columns and their rules concern each rank's own columns alone. Errors: those of
// Quantize, and kInvalidArgument where `ranges` has another size. Workspace:
// QuantizeWorkspaceBytes.
Status FindRanges(const PreparedLinear& linear, ConstTensorView x, std::span<float> ranges,
                  const QuantizeOptions& options = {}, const Execution& execution = {});

// Quantizes x with ranges that all ranks agreed on. Columns in the result count from the slice's
// first one. Errors: those of FindRanges, and kInvalidArgument for a range that is negative or not
// finite. `ranges` must not be narrower than x's own: codes beyond them are clamped. For
// `local_range` take Quantize instead. Workspace: QuantizeWorkspaceBytes.
Result<QuantizedActivations> QuantizeWithRanges(const PreparedLinear& linear, ConstTensorView x,
                                                std::span<const float> ranges,
                                                const QuantizeOptions& options = {},
                                                const Execution& execution = {});

// sums = x W^T over the slice's columns: F32 [tokens, out_features]. Errors: those of Multiply, and
// kInvalidArgument where sums is not F32. Workspace: MultiplyWorkspaceBytes.
Status MultiplyPartial(const QuantizedActivations& x, const PreparedLinear& linear, TensorView sums,
                       const Execution& execution = {});

// y = sums + bias, rounded once to y's type; `sums` added up over all ranks. y may be `sums`
// itself. Errors: kInvalidArgument. Needs no workspace.
Status FinishPartial(const PreparedLinear& linear, ConstTensorView sums, TensorView y,
                     const Execution& execution = {});

enum class ReduceOp : int32_t { kMax = 0, kSum = 1 };

// A collective of the caller's: replaces data[i] by the largest, or the sum, of data[i] on all
// ranks, with the same bits on every rank; sums are float32, in any order. On the CPU it returns
// when that is done. (On a device it will be given device memory and the call's stream to enqueue
// on.) Never called with count 0. An error that it returns ends the call and is passed on: it must
// return one, and not wait for ever, where a rank has left.
struct AllReduce {
  Status (*run)(void* context, float* data, size_t count, ReduceOp op, void* stream) = nullptr;
  void* context = nullptr;
};

// How the ranks come to the range of a row.
enum class RowRange : int32_t {
  kAgreed = 0,  // the largest of all ranks: the codes of the unsplit x
  // "local_range": each rank quantizes by its own columns' range. One all-reduce less and finer
  // steps, but another definition: y depends on the split.
  kLocal = 1,
};

struct RowParallelOptions {
  QuantizeOptions quantize = {};
  RowRange range = RowRange::kAgreed;
};

// Bytes of workspace for ForwardRowParallel with up to `tokens` rows; SIZE_MAX as for the others.
size_t RowParallelWorkspaceBytes(const PreparedLinear& linear, int64_t tokens,
                                 const Execution& execution = {});

// All steps. x: [tokens, in_features of the slice]; y: [tokens, out_features], the same on every
// rank, and must not overlap x. Every rank must call it with as many tokens and the same options.
// Arguments are checked before the first collective; an error after that leaves the other ranks in
// it. all_reduce.run may be null where the slice is all of in_features. Errors: those of the steps
// and of all_reduce.
Status ForwardRowParallel(const PreparedLinear& linear, ConstTensorView x, TensorView y,
                          const AllReduce& all_reduce, const RowParallelOptions& options = {},
                          const Execution& execution = {});

}  // namespace octavo
