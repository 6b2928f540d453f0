// octavo.h: linears whose in_features are split over several ranks.
#include "octavo/row_parallel.h"
#include "runtime/c_linear.h"

using octavo::ErrorCode;
using octavo::Result;
using octavo::Status;
using octavo::c_api::Guard;
using octavo::c_api::Invalid;
using octavo::c_api::NothingReserved;
using octavo::c_api::NotNull;
using octavo::c_api::ReadOptions;

static_assert(int(octavo::ReduceOp::kMax) == OCTAVO_REDUCE_MAX);
static_assert(int(octavo::ReduceOp::kSum) == OCTAVO_REDUCE_SUM);

namespace {

// Calls the caller's function; `context` is the octavo_row_parallel.
Status CallBack(void* context, float* data, size_t count, octavo::ReduceOp op, void* stream) {
  const auto& ranks = *static_cast<const octavo_row_parallel*>(context);
  const octavo_status status =
      ranks.all_reduce(ranks.context, data, count, static_cast<octavo_reduce_op>(op), stream);
  if (status == OCTAVO_OK) return {};
  const bool is_known = status > OCTAVO_OK && status <= OCTAVO_NEWER_FORMAT;
  return {is_known ? static_cast<ErrorCode>(status) : ErrorCode::kIo,
          "the caller's function returned " + std::to_string(status) + " (" +
              octavo_status_name(status) + ")"};
}

Result<octavo::RowParallelOptions> ToOptions(const octavo_row_parallel& ranks,
                                             const octavo_forward_options& options) {
  if (ranks.local_range != 0 && ranks.local_range != 1)
    return Invalid("local_range is " + std::to_string(ranks.local_range) + "; expected 0 or 1");
  if (ranks.reserved != 0) return Invalid("ranks.reserved is not 0");
  octavo::RowParallelOptions result;
  OCTAVO_ASSIGN_OR_RETURN(result.quantize, octavo::c_api::ToQuantizeOptions(options));
  if (ranks.local_range != 0) result.range = octavo::RowRange::kLocal;
  return result;
}

}  // namespace

octavo_status octavo_forward_row_parallel(const octavo_linear* linear, const octavo_tensor* x,
                                          const octavo_tensor* y, const octavo_row_parallel* ranks,
                                          const octavo_forward_options* options) {
  return Guard([&]() -> Status {
    OCTAVO_RETURN_IF_ERROR(NotNull(linear, "linear"));
    OCTAVO_RETURN_IF_ERROR(NotNull(x, "x"));
    OCTAVO_RETURN_IF_ERROR(NotNull(y, "y"));
    OCTAVO_RETURN_IF_ERROR(NothingReserved(*x, "x"));
    OCTAVO_RETURN_IF_ERROR(NothingReserved(*y, "y"));
    OCTAVO_ASSIGN_OR_RETURN(octavo_row_parallel known_ranks, ReadOptions(ranks));
    OCTAVO_ASSIGN_OR_RETURN(const octavo_forward_options known, ReadOptions(options));
    OCTAVO_ASSIGN_OR_RETURN(const octavo::RowParallelOptions how, ToOptions(known_ranks, known));
    octavo::AllReduce all_reduce;
    if (known_ranks.all_reduce != nullptr) all_reduce = {CallBack, &known_ranks};
    return octavo::ForwardRowParallel(linear->prepared, octavo::c_api::ToView(*x),
                                      octavo::c_api::ToView(*y), all_reduce, how,
                                      octavo::c_api::ToExecution(known));
  });
}

octavo_status octavo_row_parallel_workspace(const octavo_linear* linear, int64_t tokens,
                                            const octavo_forward_options* options, size_t* bytes) {
  return octavo::c_api::WorkspaceBytes(
      linear, tokens, options, bytes,
      [&](const octavo::PreparedLinear& prepared, const octavo::Execution& execution) {
        return octavo::RowParallelWorkspaceBytes(prepared, tokens, execution);
      });
}
