// The product for few tokens: every weight is read once, at the memory's speed.
//
// A tile has 8 * kGroups output features, all of in_features and all tokens; a block's warps share
// its steps along k, kUnroll at a time each, so that neighboring warps read neighboring memory.
// Blocks stay and take one tile after another: the next weights are under way while a tile is
// finished. A lane loads 16 bytes of a weight row and the same 16 bytes of an activation row: what
// m16n8k32 takes as k 4t .. 4t+3 and 4t+16 .. 4t+19 is then some other k, but the same one on both
// sides, and the order of an exact sum is free. Weights go from memory to registers, activations
// come from L1. The first weights are under way before the kernel in front, which makes the codes,
// has finished.
//
// The outlier and kept products are fused multiply-adds in ascending order of the columns: in scope
// token the same operations as in every other kernel.
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/products.h"

namespace octavo::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kStepBytes = 64;  // of a row: 16 for each lane of a quad
constexpr int kAhead = 8;       // outlier columns whose entries are loaded early
constexpr int kBlocksPerMultiprocessor = 2;

template <int kTokenTiles, int kGroups, bool kSigned>
struct FewTokens {
  static constexpr int kRows = 16 * kTokenTiles;
  static constexpr int kCols = 8 * kGroups;
  static constexpr int kElements = kRows * kCols;
  static constexpr int kUnroll = 8 / kGroups;  // steps in flight: 128 bytes of each lane

  // The weights of kUnroll steps: 8 rows for each group, this lane's 16 bytes of one row.
  struct Weights {
    Vec16 vec[kUnroll][kGroups];
  };
  // One entry of the outlier product: X, and the code less its zero point.
  struct Entry {
    float x;
    float w;
  };

  const ProductOperands& o;
  const int warp;
  const int32_t steps;    // of kStepBytes
  const int32_t batches;  // of kWarps * kUnroll steps
  int32_t num_outliers = 0;
  int32_t columns[kAhead] = {};

  OCTAVO_DEVICE int32_t StepOf(int32_t batch, int i) const {
    return (batch * kWarps + warp) * kUnroll + i;
  }

  OCTAVO_DEVICE void LoadWeights(int32_t first_col, int32_t batch, Weights& weights) const {
    OCTAVO_UNROLL
    for (int i = 0; i < kUnroll; ++i) {
      const int32_t step = StepOf(batch, i);
      OCTAVO_UNROLL
      for (int group = 0; group < kGroups; ++group) {
        const int32_t col = first_col + 8 * group + LaneIdx() / 4;
        weights.vec[i][group] = Vec16{{0, 0, 0, 0}};
        if (step < steps && col < o.out_features) {
          weights.vec[i][group] = LoadStream16(o.w_codes + int64_t{col} * o.code_stride +
                                               step * kStepBytes + 16 * (LaneIdx() % 4));
        }
      }
    }
  }

  OCTAVO_DEVICE Vec16 LoadCodes(int32_t row, int32_t step) const {
    if (row >= o.tokens || step >= steps) return Vec16{{0, 0, 0, 0}};
    return Load16(o.x_codes + int64_t{row} * o.code_stride + step * kStepBytes +
                  16 * (LaneIdx() % 4));
  }

  OCTAVO_DEVICE void Multiply(int32_t batch, const Weights& weights,
                              int32_t (&acc)[kTokenTiles][kGroups][4]) const {
    OCTAVO_UNROLL
    for (int tile = 0; tile < kTokenTiles; ++tile) {
      const int32_t row = 16 * tile + LaneIdx() / 4;
      Vec16 upper[kUnroll], lower[kUnroll];
      OCTAVO_UNROLL
      for (int i = 0; i < kUnroll; ++i) {
        upper[i] = LoadCodes(row, StepOf(batch, i));
        lower[i] = LoadCodes(row + 8, StepOf(batch, i));
      }
      OCTAVO_UNROLL
      for (int i = 0; i < kUnroll; ++i) {
        OCTAVO_UNROLL
        for (int half = 0; half < 2; ++half) {
          const uint32_t a[4] = {upper[i].x[2 * half], lower[i].x[2 * half],
                                 upper[i].x[2 * half + 1], lower[i].x[2 * half + 1]};
          OCTAVO_UNROLL
          for (int group = 0; group < kGroups; ++group) {
            const Vec16& w = weights.vec[i][group];
            const uint32_t b[2] = {w.x[2 * half], w.x[2 * half + 1]};
            MmaI8<kSigned>(acc[tile][group], a, b);
          }
        }
      }
    }
  }

  // [kWarps][kRows][kCols]
  OCTAVO_DEVICE void StorePartials(int32_t* partials,
                                   const int32_t (&acc)[kTokenTiles][kGroups][4]) const {
    OCTAVO_UNROLL
    for (int tile = 0; tile < kTokenTiles; ++tile) {
      OCTAVO_UNROLL
      for (int group = 0; group < kGroups; ++group) {
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) {
          const int row = 16 * tile + LaneIdx() / 4 + 8 * (i / 2);
          const int col = 8 * group + 2 * (LaneIdx() % 4) + i % 2;
          partials[(warp * kRows + row) * kCols + col] = acc[tile][group][i];
        }
      }
    }
  }

  OCTAVO_DEVICE bool Exists(int32_t first_col, int element) const {
    return element / kCols < o.tokens && first_col + element % kCols < o.out_features;
  }

  // After WaitForPreviousKernel.
  OCTAVO_DEVICE void LoadOutlierColumns() {
    num_outliers = o.raw_acc != nullptr ? 0 : *o.num_outlier_columns;
    OCTAVO_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      if (i < num_outliers) columns[i] = o.outlier_columns[i];
    }
  }
  OCTAVO_DEVICE Entry LoadEntry(int32_t row, int32_t col, int32_t k) const {
    const int32_t code = o.w_codes[int64_t{col} * o.code_stride + k];
    const int32_t zero_point = o.w_zero_point != nullptr ? o.w_zero_point[col] : 0;
    return {LoadElement(o.x, o.x_type, row * o.x_stride + k), IntToFloat(code - zero_point)};
  }
  OCTAVO_DEVICE void LoadEntries(int32_t first_col, int element, Entry (&entries)[kAhead]) const {
    if (!Exists(first_col, element)) return;
    OCTAVO_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      if (i < num_outliers)
        entries[i] = LoadEntry(element / kCols, first_col + element % kCols, columns[i]);
    }
  }
  OCTAVO_DEVICE float AddEntry(float sum, const Entry& entry) const {
    if (o.by_entry && !IsOutlier(Seen(entry.x, o.via_fp16), o.threshold)) return sum;
    return FmaRn(entry.x, entry.w, sum);
  }

  // y or acc of one element. `entries`: those of the first outlier columns.
  OCTAVO_DEVICE void Finish(int32_t row, int32_t col, int32_t product,
                            const Entry (&entries)[kAhead]) const {
    const int32_t acc =
        CorrectedAcc(product, o.x_zero_point[row], o.x_code_sum[row], o.w_code_sum[col],
                     o.w_zero_point != nullptr ? o.w_zero_point[col] : 0, o.in_features);
    if (o.raw_acc != nullptr) {
      o.raw_acc[int64_t{row} * o.out_features + col] = acc;
      return;
    }
    float sum = MulRn(IntToFloat(acc), o.x_scale[row]);
    OCTAVO_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      if (i < num_outliers) sum = AddEntry(sum, entries[i]);
    }
    OCTAVO_UNROLL_BY(4)
    for (int32_t i = kAhead; i < num_outliers; ++i)
      sum = AddEntry(sum, LoadEntry(row, col, o.outlier_columns[i]));
    sum = MulRn(sum, o.multiplier[col]);
    OCTAVO_UNROLL_BY(4)
    for (int32_t j = 0; j < o.num_kept; ++j) {
      const float x = LoadElement(o.x, o.x_type, row * o.x_stride + o.kept_index[j]);
      const int64_t index = int64_t{j} * o.out_features + col;
      sum = FmaRn(x, LoadElement(o.kept_weight, o.kept_type, index), sum);
    }
    if (o.bias != nullptr) sum = AddRn(sum, LoadElement(o.bias, o.bias_type, col));
    StoreElement(sum, o.y, o.y_type, row * o.y_stride + col);
  }

  // All elements of a tile, every kThreads-th by this thread, whose first one's entries are given.
  OCTAVO_DEVICE void FinishTile(int32_t first_col, const int32_t* partials,
                                Entry (&entries)[kAhead]) const {
    for (int element = ThreadIdx(); element < kElements; element += kThreads) {
      if (!Exists(first_col, element)) continue;
      if (element >= kThreads) LoadEntries(first_col, element, entries);
      uint32_t product = 0;
      OCTAVO_UNROLL
      for (int w = 0; w < kWarps; ++w)
        product += static_cast<uint32_t>(partials[w * kElements + element]);
      Finish(element / kCols, first_col + element % kCols, static_cast<int32_t>(product), entries);
    }
  }
};

template <int kTokenTiles, int kGroups, bool kSigned>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kThreads, kTokenTiles < 4 ? kBlocksPerMultiprocessor : 1)
    FewTokensKernel(ProductOperands o) {
  using Work = FewTokens<kTokenTiles, kGroups, kSigned>;
  AllowNextKernel();
  const int32_t steps = o.code_stride / kStepBytes;
  const int32_t batch_steps = kWarps * Work::kUnroll;
  Work work{o, WarpIdx(), steps, steps == 0 ? 1 : (steps + batch_steps - 1) / batch_steps};
  int32_t* partials = reinterpret_cast<int32_t*>(SharedMemory());
  int32_t* other_partials = partials + kWarps * Work::kElements;

  // Weights do not depend on the kernel in front; everything else does.
  int32_t first_col = BlockX() * Work::kCols, batch = 0;
  typename Work::Weights weights;
  work.LoadWeights(first_col, batch, weights);
  WaitForPreviousKernel();
  work.LoadOutlierColumns();

  int32_t acc[kTokenTiles][kGroups][4] = {};
  typename Work::Entry entries[kAhead] = {};
  while (first_col < o.out_features) {
    if (batch == 0) work.LoadEntries(first_col, ThreadIdx(), entries);
    const bool last = batch + 1 == work.batches;
    const int32_t next_col = last ? first_col + GridX() * Work::kCols : first_col;
    const int32_t next_batch = last ? 0 : batch + 1;
    typename Work::Weights next;
    work.LoadWeights(next_col, next_batch, next);
    work.Multiply(batch, weights, acc);
    if (last) {
      work.StorePartials(partials, acc);
      BlockSync();
      work.FinishTile(first_col, partials, entries);
      // Who is ahead writes to the other half; the barrier there keeps it from coming back too
      // early.
      int32_t* const used = partials;
      partials = other_partials;
      other_partials = used;
      OCTAVO_UNROLL
      for (int tile = 0; tile < kTokenTiles; ++tile) {
        OCTAVO_UNROLL
        for (int group = 0; group < kGroups; ++group) {
          OCTAVO_UNROLL
          for (int i = 0; i < 4; ++i) acc[tile][group][i] = 0;
        }
      }
    }
    weights = next;
    first_col = next_col;
    batch = next_batch;
  }
}

template <int kTokenTiles, int kGroups>
CudaStatus Run(const ProductOperands& o, int32_t multiprocessors, void* stream) {
  constexpr int kCols = 8 * kGroups;
  const int32_t tiles = (o.out_features + kCols - 1) / kCols;
  const int32_t at_once = multiprocessors * (kTokenTiles < 4 ? kBlocksPerMultiprocessor : 1);
  LaunchConfig config;
  config.grid_x = static_cast<uint32_t>(tiles < at_once ? tiles : at_once);
  config.threads = kThreads;
  config.shared_bytes = 2 * sizeof(int32_t) * kWarps * 16 * kTokenTiles * kCols;  // partial sums
  config.overlap = true;
  return o.symmetric ? Launch(config, stream, FewTokensKernel<kTokenTiles, kGroups, true>, o)
                     : Launch(config, stream, FewTokensKernel<kTokenTiles, kGroups, false>, o);
}

// Narrow tiles leave fewer blocks without work at the end; wide ones read the activations less
// often.
template <int kTokenTiles>
CudaStatus Run(const ProductOperands& o, int32_t multiprocessors, void* stream) {
  const auto rounds = [&](int32_t cols) {
    const int32_t tiles = (o.out_features + cols - 1) / cols;
    const int32_t at_once = multiprocessors * kBlocksPerMultiprocessor;
    return (tiles + at_once - 1) / at_once * cols;
  };
  if (kTokenTiles == 1 && rounds(8) < rounds(16))
    return Run<kTokenTiles, 1>(o, multiprocessors, stream);
  return Run<kTokenTiles, 2>(o, multiprocessors, stream);
}

}  // namespace

CudaStatus LaunchFewTokens(const ProductOperands& o, int32_t multiprocessors, void* stream) {
  if (o.tokens <= 16) return Run<1>(o, multiprocessors, stream);
  if (o.tokens <= 32) return Run<2>(o, multiprocessors, stream);
  return Run<4>(o, multiprocessors, stream);
}

}  // namespace octavo::cuda
