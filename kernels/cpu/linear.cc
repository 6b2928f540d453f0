// Multiply and Accumulate: checks, cuts the output into blocks, and has the table's functions run
// over them.
#include <algorithm>
#include <atomic>

#include "kernels/cpu/parallel.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

size_t ThreadsOf(const ParallelFor& parallel) {
  return parallel.run == nullptr ? 1 : static_cast<size_t>(std::max(1, parallel.num_threads));
}

class Grid {
 public:
  Grid(const CpuKernels& kernels, size_t tokens, const LinearView& linear,
       const ParallelFor& parallel)
      : tokens_(tokens), out_features_(linear.out_features) {
    if (kernels.block_shape != nullptr) {
      shape_ = kernels.block_shape(tokens, linear.in_features, out_features_, ThreadsOf(parallel));
    }
    row_blocks_ = Parts(tokens, shape_.rows);
    col_blocks_ = Parts(out_features_, shape_.cols);
  }

  size_t count() const { return row_blocks_ * col_blocks_; }

  // The largest block.
  size_t rows() const { return std::min(tokens_, shape_.rows); }
  size_t cols() const { return std::min(out_features_, shape_.cols); }

  Block at(size_t i) const {
    const size_t row = (shape_.along_rows ? i / col_blocks_ : i % row_blocks_) * shape_.rows;
    const size_t col = (shape_.along_rows ? i % col_blocks_ : i / row_blocks_) * shape_.cols;
    return {row, std::min(tokens_, row + shape_.rows), col,
            std::min(out_features_, col + shape_.cols)};
  }

 private:
  static size_t Parts(size_t all, size_t each) { return all / each + (all % each != 0); }

  size_t tokens_, out_features_, row_blocks_ = 0, col_blocks_ = 0;
  BlockShape shape_;
};

size_t SlotsOf(const Grid& grid, const ParallelFor& parallel) {
  return std::min(ThreadsOf(parallel), grid.count());
}

size_t SlotBytes(const CpuKernels& kernels, const Grid& grid, const LinearView& linear) {
  return RoundUp64(
      kernels.block_scratch_bytes(grid.rows(), grid.cols(), linear.in_features, linear.num_kept));
}

bool SameKeptColumns(const QuantizedActivations& q, const LinearView& linear) {
  return q.num_kept == linear.num_kept &&
         (q.kept_index == linear.kept_index ||
          std::equal(q.kept_index, q.kept_index + q.num_kept, linear.kept_index));
}

bool IsValid(const CpuKernels& kernels, const QuantizedActivations& q, const LinearView& linear) {
  const bool has_codes =
      linear.codes != nullptr || linear.in_features == 0 || linear.out_features == 0;
  const bool has_features =
      (linear.multiplier != nullptr && linear.code_sum != nullptr) || linear.out_features == 0;
  const bool has_kept =
      linear.num_kept == 0 || (linear.kept_index != nullptr && linear.kept_weight != nullptr);
  return q.x.in_features == linear.in_features && linear.layout == kernels.layout && has_codes &&
         has_features && has_kept && SameKeptColumns(q, linear) &&
         (linear.num_kept == 0 || IsKnown(linear.kept_type)) &&
         (linear.bias == nullptr || IsKnown(linear.bias_type));
}

bool IsValid(const OutputView& y, size_t tokens, size_t out_features) {
  const bool has_data = y.data != nullptr || tokens == 0 || out_features == 0;
  return IsKnown(y.type) && has_data && (tokens <= 1 || y.row_stride >= out_features);
}

// Calls body(block, scratch) for every block. As many tasks as may run at once share a counter of
// blocks, so that each task, whichever thread runs it, has scratch memory of its own.
template <class Body>
void ForBlocks(const Grid& grid, const ParallelFor& parallel, void* workspace, size_t slot_bytes,
               Body&& body) {
  std::atomic<size_t> next{0};
  RunParallel(parallel, SlotsOf(grid, parallel), [&](size_t slot) {
    void* scratch = static_cast<unsigned char*>(workspace) + slot * slot_bytes;
    for (size_t i = next++; i < grid.count(); i = next++) body(grid.at(i), scratch);
  });
}

}  // namespace

size_t MultiplyWorkspaceBytes(const CpuKernels& kernels, size_t tokens, const LinearView& linear,
                              const ParallelFor& parallel) {
  const Grid grid(kernels, tokens, linear, parallel);
  return SaturatingMul(SlotsOf(grid, parallel), SlotBytes(kernels, grid, linear));
}

KernelStatus Multiply(const CpuKernels& kernels, const QuantizedActivations& quantized,
                      const LinearView& linear, const OutputView& y, const ParallelFor& parallel,
                      void* workspace, size_t workspace_bytes) {
  const size_t tokens = quantized.x.tokens;
  if (!IsValid(kernels, quantized, linear) || !IsValid(y, tokens, linear.out_features)) {
    return KernelStatus::kInvalidArgument;
  }
  const size_t needed = MultiplyWorkspaceBytes(kernels, tokens, linear, parallel);
  if (workspace_bytes < needed) return KernelStatus::kWorkspaceTooSmall;
  if (needed == 0) return KernelStatus::kOk;
  if (workspace == nullptr || !IsAligned64(workspace)) return KernelStatus::kInvalidArgument;
  const Grid grid(kernels, tokens, linear, parallel);
  ForBlocks(grid, parallel, workspace, SlotBytes(kernels, grid, linear),
            [&](const Block& block, void* scratch) {
              kernels.multiply_block(quantized, linear, y, block, scratch);
            });
  return KernelStatus::kOk;
}

KernelStatus Accumulate(const CpuKernels& kernels, const QuantizedActivations& quantized,
                        const LinearView& linear, int64_t* acc, void* workspace,
                        size_t workspace_bytes) {
  const size_t tokens = quantized.x.tokens;
  if (!IsValid(kernels, quantized, linear)) return KernelStatus::kInvalidArgument;
  const size_t needed = MultiplyWorkspaceBytes(kernels, tokens, linear, SerialFor());
  if (workspace_bytes < needed) return KernelStatus::kWorkspaceTooSmall;
  if (needed == 0) return KernelStatus::kOk;
  if (acc == nullptr || workspace == nullptr || !IsAligned64(workspace))
    return KernelStatus::kInvalidArgument;
  const Grid grid(kernels, tokens, linear, SerialFor());
  ForBlocks(grid, SerialFor(), workspace, SlotBytes(kernels, grid, linear),
            [&](const Block& block, void* scratch) {
              kernels.accumulate_block(quantized, linear, block, acc, linear.out_features, scratch);
            });
  return KernelStatus::kOk;
}

}  // namespace octavo::kernels
