// AVX-512 VNNI: F, BW, DQ, VL and VNNI.
//
// vpdpbusd multiplies unsigned by signed bytes, four products to an int32 lane: activations are the
// unsigned side (symmetric codes are shifted by 128, which the epilogue takes back with the sums of
// the weights' codes), sixteen output features stand side by side in a register. A tile is 6 rows
// by 64 output features: 24 accumulators, 4 weight registers, 1 broadcast, of 32.
#include "kernels/cpu/tables.h"
#include "kernels/cpu/zmm_common.h"

namespace octavo::kernels {
namespace {

struct Memory {
  Scratch scratch;
  Columns outliers;
  size_t bytes;
};

Memory Carve(void* memory, size_t rows) {
  Carver carver{static_cast<unsigned char*>(memory)};
  const Scratch scratch = TakeScratch(carver, rows);
  const Columns outliers = TakeColumns(carver, rows);
  return {scratch, outliers, carver.used};
}

size_t BlockScratchBytes(size_t block_rows, size_t, size_t, size_t) {
  return Carve(nullptr, block_rows).bytes;
}

void RunBlock(const QuantizedActivations& q, const LinearView& linear, const OutputView* y,
              const Block& block, int64_t* acc, size_t acc_stride, void* memory) {
  const FpEnvironment environment;
  const Memory pieces = Carve(memory, RowsOf(block));
  Call call{q, linear, y, acc, acc_stride, block, pieces.outliers};
  CollectOutliers(q, block.row_begin, block.row_end, 0, &call.outliers);
  MultiplyPiece(call, block, pieces.scratch);
}

void MultiplyBlock(const QuantizedActivations& q, const LinearView& linear, const OutputView& y,
                   const Block& block, void* memory) {
  RunBlock(q, linear, &y, block, nullptr, 0, memory);
}

void AccumulateBlock(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                     int64_t* acc, size_t acc_stride, void* memory) {
  RunBlock(q, linear, nullptr, block, acc, acc_stride, memory);
}

}  // namespace

constinit const CpuKernels kAvx512VnniKernels =
    ZmmKernels("avx512vnni", nullptr, BlockScratchBytes, MultiplyBlock, AccumulateBlock);

}  // namespace octavo::kernels
