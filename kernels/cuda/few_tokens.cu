// The product for few tokens: every weight is read once, at the memory's speed.
//
// A block has 8 * kGroups output features, all of in_features and all tokens; its warps share the
// steps along k, eight at a time each so that neighbouring warps read neighbouring memory. A lane
// loads 16 bytes of a weight row and the same 16 bytes of an activation row: what m16n8k32 takes as
// k 4t .. 4t+3 and 4t+16 .. 4t+19 is then some other k, but the same one on both sides, and the
// order of an exact sum is free. Weights go from memory to registers, activations come from L1. The
// first weights are under way before the kernel in front, which makes the codes, has finished.
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
constexpr int kUnroll = 4;      // steps in flight
constexpr int kAhead = 8;       // columns of the outlier product that are loaded early

// The weights of kUnroll steps: 8 rows for each group, this lane's 16 bytes of one row.
template <int kGroups>
struct WeightBatch {
  Vec16 vec[kUnroll][kGroups];
};

template <int kTiles, int kGroups, bool kSigned>
struct FewTokens {
  static constexpr int kRows = 16 * kTiles;
  static constexpr int kCols = 8 * kGroups;

  const ProductOperands& o;
  const int32_t first_col;
  const int warp;
  const int32_t steps;  // of kStepBytes

  OCTAVO_DEVICE int32_t StepOf(int32_t batch, int i) const {
    return (batch * kWarps + warp) * kUnroll + i;
  }

  OCTAVO_DEVICE void LoadWeights(int32_t batch, WeightBatch<kGroups>& weights) const {
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
    if (row >= o.tokens) return Vec16{{0, 0, 0, 0}};
    return Load16(o.x_codes + int64_t{row} * o.code_stride + step * kStepBytes +
                  16 * (LaneIdx() % 4));
  }

  OCTAVO_DEVICE void Multiply(int32_t batch, const WeightBatch<kGroups>& weights,
                              int32_t (&acc)[kTiles][kGroups][4]) const {
    OCTAVO_UNROLL
    for (int i = 0; i < kUnroll; ++i) {
      const int32_t step = StepOf(batch, i);
      if (step >= steps) return;
      OCTAVO_UNROLL
      for (int tile = 0; tile < kTiles; ++tile) {
        const int32_t row = 16 * tile + LaneIdx() / 4;
        const Vec16 upper = LoadCodes(row, step), lower = LoadCodes(row + 8, step);
        OCTAVO_UNROLL
        for (int half = 0; half < 2; ++half) {
          const uint32_t a[4] = {upper.x[2 * half], lower.x[2 * half], upper.x[2 * half + 1],
                                 lower.x[2 * half + 1]};
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

  OCTAVO_DEVICE void StorePartials(int32_t* partials,
                                   const int32_t (&acc)[kTiles][kGroups][4]) const {
    OCTAVO_UNROLL
    for (int tile = 0; tile < kTiles; ++tile) {
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

  // One entry of the outlier product: X, and the code less its zero point.
  struct Entry {
    float x;
    float w;
  };
  OCTAVO_DEVICE Entry LoadEntry(int32_t row, int32_t col, int32_t index) const {
    const int32_t k = o.outlier_columns[index];
    const int32_t code = o.w_codes[int64_t{col} * o.code_stride + k];
    const int32_t zero_point = o.w_zero_point != nullptr ? o.w_zero_point[col] : 0;
    return {LoadElement(o.x, o.x_type, row * o.x_stride + k), IntToFloat(code - zero_point)};
  }
  OCTAVO_DEVICE float AddEntry(float sum, const Entry& entry) const {
    if (o.by_entry && !IsOutlier(Seen(entry.x, o.via_fp16), o.threshold)) return sum;
    return FmaRn(entry.x, entry.w, sum);
  }

  // y or acc of one element. `entries`: the first outlier columns, loaded before.
  OCTAVO_DEVICE void Finish(int32_t row, int32_t col, int32_t product,
                            const Entry (&entries)[kAhead], int32_t num_outliers) const {
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
    for (int32_t i = kAhead; i < num_outliers; ++i) sum = AddEntry(sum, LoadEntry(row, col, i));
    sum = MulRn(sum, o.multiplier[col]);
    OCTAVO_UNROLL_BY(4)
    for (int32_t j = 0; j < o.num_kept; ++j) {
      const float x = LoadElement(o.x, o.x_type, row * o.x_stride + o.kept_index[j]);
      sum =
          FmaRn(x, LoadElement(o.kept_weight, o.kept_type, int64_t{j} * o.out_features + col), sum);
    }
    if (o.bias != nullptr) sum = AddRn(sum, LoadElement(o.bias, o.bias_type, col));
    StoreElement(sum, o.y, o.y_type, row * o.y_stride + col);
  }
};

template <int kTiles, int kGroups, bool kSigned>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kThreads, kTiles < 4 ? 2 : 1)
    FewTokensKernel(ProductOperands o) {
  using Work = FewTokens<kTiles, kGroups, kSigned>;
  AllowNextKernel();
  const Work work{o, BlockX() * Work::kCols, WarpIdx(), o.code_stride / kStepBytes};
  int32_t* const partials = reinterpret_cast<int32_t*>(SharedMemory());

  // Weights do not depend on the kernel in front; everything else does.
  WeightBatch<kGroups> weights;
  work.LoadWeights(0, weights);
  WaitForPreviousKernel();

  int32_t acc[kTiles][kGroups][4] = {};
  const int32_t batches = (work.steps + kWarps * kUnroll - 1) / (kWarps * kUnroll);
  for (int32_t batch = 0; batch < batches; ++batch) {
    WeightBatch<kGroups> next;
    if (batch + 1 < batches) work.LoadWeights(batch + 1, next);
    work.Multiply(batch, weights, acc);
    weights = next;
  }

  // The elements that this thread finishes: every kThreads-th. The first one's outliers are loaded
  // while others still multiply.
  constexpr int kElements = Work::kRows * Work::kCols;
  const int32_t num_outliers = o.raw_acc != nullptr ? 0 : *o.num_outlier_columns;
  const auto exists = [&](int i) {
    return i / Work::kCols < o.tokens && work.first_col + i % Work::kCols < o.out_features;
  };
  const auto load_ahead = [&](int i, typename Work::Entry(&entries)[kAhead]) {
    OCTAVO_UNROLL
    for (int j = 0; j < kAhead; ++j) {
      if (j < num_outliers && exists(i))
        entries[j] = work.LoadEntry(i / Work::kCols, work.first_col + i % Work::kCols, j);
    }
  };
  typename Work::Entry entries[kAhead] = {};
  load_ahead(ThreadIdx(), entries);
  work.StorePartials(partials, acc);
  BlockSync();
  for (int i = ThreadIdx(); i < kElements; i += kThreads) {
    if (!exists(i)) continue;
    if (i >= kThreads) load_ahead(i, entries);
    uint32_t product = 0;
    OCTAVO_UNROLL
    for (int w = 0; w < kWarps; ++w) product += static_cast<uint32_t>(partials[w * kElements + i]);
    work.Finish(i / Work::kCols, work.first_col + i % Work::kCols, static_cast<int32_t>(product),
                entries, num_outliers);
  }
}

template <int kTiles, int kGroups>
CudaStatus Run(const ProductOperands& o, void* stream) {
  constexpr int kCols = 8 * kGroups;
  LaunchConfig config;
  config.grid_x = static_cast<uint32_t>((o.out_features + kCols - 1) / kCols);
  config.threads = kThreads;
  config.shared_bytes = sizeof(int32_t) * kWarps * 16 * kTiles * kCols;  // partial sums
  config.overlap = true;
  return o.symmetric ? Launch(config, stream, FewTokensKernel<kTiles, kGroups, true>, o)
                     : Launch(config, stream, FewTokensKernel<kTiles, kGroups, false>, o);
}

}  // namespace

CudaStatus LaunchFewTokens(const ProductOperands& o, void* stream) {
  if (o.tokens <= 16) return Run<1, 2>(o, stream);
  if (o.tokens <= 32) return Run<2, 2>(o, stream);
  return Run<4, 2>(o, stream);
}

}  // namespace octavo::cuda
