// The product for few tokens: every weight is read once, at the memory's speed.
//
// A tile has 16 output features, all of in_features and all tokens; a block's warps share its steps
// along k, kUnroll at a time each, so that neighboring warps read neighboring memory. Blocks stay
// and take one tile after another: the next weights are under way while a tile is finished. A lane
// loads 16 bytes of a weight row and the same 16 bytes of an activation row: what m16n8k32 takes as
// k 4t .. 4t+3 and 4t+16 .. 4t+19 is then some other k, but the same one on both sides, and the
// order of an exact sum is free. Weights go from memory to registers, activations come from L1 or
// shared memory. The first weights are under way before the kernel in front has finished.
//
// The outlier and kept products are fused multiply-adds in ascending order of the columns: in scope
// token the same operations as in every other kernel. The codes of the first outlier columns are
// picked from the weights as these pass by.
//
// FewTokensKernel takes quantized activations; QuantizeFewTokensKernel quantizes very few rows by
// itself, in every block, while its first weights come: one kernel for a whole forward pass.
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/quantize_rows.h"

namespace octavo::cuda {
namespace {

constexpr int kWarps = 16;
constexpr int kThreads = 32 * kWarps;
constexpr int kRows = kMaxFewTokens;
constexpr int kGroups = 2;
constexpr int kCols = 8 * kGroups;
constexpr int kElements = kRows * kCols;  // of a tile, one for each of the first threads
constexpr int kStepBytes = 64;            // of a row: 16 for each lane of a quad
constexpr int kUnroll = 4;                // steps in flight: 128 bytes of each lane
constexpr int kPicked = 16;               // outlier columns that are picked from the weights
static_assert(kRows == 16 && kElements <= kThreads && kPicked <= 32);

// What a block shares. Two halves take turns from tile to tile.
struct Shared {
  int32_t partials[2][kWarps][kElements];
  float picked[2][kPicked][kCols];  // codes
  float x[kPicked][kRows];
};

// The weights of kUnroll steps: 8 rows for each group, this lane's 16 bytes of one row.
struct Weights {
  Vec16 vec[kUnroll][kGroups];
};

// What finishing one element needs of its output feature and of its row.
struct ColumnOperands {
  float multiplier = 0;
  int32_t code_sum = 0;
  int32_t zero_point = 0;
  float bias = -0.0f;  // leaves every value as it is
};

template <bool kSigned>
struct FewTokens {
  const ProductOperands& o;
  Shared& shared;
  const int warp;
  const int32_t steps;    // of kStepBytes
  const int32_t batches;  // of kWarps * kUnroll steps, at least one

  OCTAVO_DEVICE int32_t FirstStep(int32_t batch) const { return (batch * kWarps + warp) * kUnroll; }

  OCTAVO_DEVICE void LoadWeights(int32_t first_col, int32_t batch, Weights& weights) const {
    OCTAVO_UNROLL
    for (int i = 0; i < kUnroll; ++i) {
      const int32_t step = FirstStep(batch) + i;
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
                              int32_t (&acc)[kGroups][4]) const {
    Vec16 upper[kUnroll], lower[kUnroll];
    OCTAVO_UNROLL
    for (int i = 0; i < kUnroll; ++i) {
      upper[i] = LoadCodes(LaneIdx() / 4, FirstStep(batch) + i);
      lower[i] = LoadCodes(LaneIdx() / 4 + 8, FirstStep(batch) + i);
    }
    OCTAVO_UNROLL
    for (int i = 0; i < kUnroll; ++i) {
      OCTAVO_UNROLL
      for (int half = 0; half < 2; ++half) {
        const uint32_t a[4] = {upper[i].x[2 * half], lower[i].x[2 * half], upper[i].x[2 * half + 1],
                               lower[i].x[2 * half + 1]};
        OCTAVO_UNROLL
        for (int group = 0; group < kGroups; ++group) {
          const Vec16& w = weights.vec[i][group];
          const uint32_t b[2] = {w.x[2 * half], w.x[2 * half + 1]};
          MmaI8<kSigned>(acc[group], a, b);
        }
      }
    }
  }

  // The codes of the outlier columns that lie in these steps. Lane i < kPicked knows the i-th
  // column, or -1.
  OCTAVO_DEVICE void Pick(int32_t batch, const Weights& weights, int32_t column, int half) const {
    const int32_t begin = FirstStep(batch) * kStepBytes, end = begin + kUnroll * kStepBytes;
    uint32_t found = Ballot(column >= begin && column < end);
    while (found != 0) {
      const int slot = PopCount((found & (0u - found)) - 1);
      found &= found - 1;
      const int32_t k = Shuffle(column, slot) - begin;
      OCTAVO_UNROLL
      for (int i = 0; i < kUnroll; ++i) {
        if (k / kStepBytes != i || LaneIdx() % 4 != k % kStepBytes / 16) continue;
        OCTAVO_UNROLL
        for (int group = 0; group < kGroups; ++group) {
          const Vec16& w = weights.vec[i][group];
          const uint32_t word =
              k % 16 < 8 ? (k % 8 < 4 ? w.x[0] : w.x[1]) : (k % 8 < 4 ? w.x[2] : w.x[3]);
          const auto code = static_cast<int8_t>(word >> (8 * (k % 4)));
          shared.picked[half][slot][8 * group + LaneIdx() / 4] = IntToFloat(code);
        }
      }
    }
  }

  OCTAVO_DEVICE void StorePartials(int half, const int32_t (&acc)[kGroups][4]) const {
    OCTAVO_UNROLL
    for (int group = 0; group < kGroups; ++group) {
      OCTAVO_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int row = LaneIdx() / 4 + 8 * (i / 2);
        const int col = 8 * group + 2 * (LaneIdx() % 4) + i % 2;
        if (row < o.tokens) shared.partials[half][warp][row * kCols + col] = acc[group][i];
      }
    }
  }

  OCTAVO_DEVICE ColumnOperands LoadColumn(int32_t col) const {
    ColumnOperands column;
    if (col >= o.out_features) return column;
    column.multiplier = o.multiplier[col];
    column.code_sum = o.w_code_sum[col];
    if (o.w_zero_point != nullptr) column.zero_point = o.w_zero_point[col];
    if (o.bias != nullptr) column.bias = LoadElement(o.bias, o.bias_type, col);
    return column;
  }

  OCTAVO_DEVICE float AddEntry(float sum, float x, float w) const {
    if (o.by_entry && !IsOutlier(Seen(x, o.via_fp16), o.threshold)) return sum;
    return FmaRn(x, w, sum);
  }

  // y or acc of one element.
  OCTAVO_DEVICE void Finish(int32_t row, int32_t col, int half, int32_t num_outliers,
                            const ColumnOperands& column, float scale, int32_t x_zero_point,
                            int32_t x_code_sum) const {
    const int in_tile = col % kCols;
    uint32_t product = 0;
    OCTAVO_UNROLL
    for (int w = 0; w < kWarps; ++w)
      product += static_cast<uint32_t>(shared.partials[half][w][row * kCols + in_tile]);
    const int32_t acc = CorrectedAcc(static_cast<int32_t>(product), x_zero_point, x_code_sum,
                                     column.code_sum, column.zero_point, o.in_features);
    if (o.raw_acc != nullptr) {
      o.raw_acc[int64_t{row} * o.out_features + col] = acc;
      return;
    }
    float sum = MulRn(IntToFloat(acc), scale);
    const float w_zero_point = IntToFloat(column.zero_point);
    for (int32_t i = 0; i < num_outliers && i < kPicked; ++i)
      sum = AddEntry(sum, shared.x[i][row], SubRn(shared.picked[half][i][in_tile], w_zero_point));
    OCTAVO_UNROLL_BY(4)
    for (int32_t i = kPicked; i < num_outliers; ++i) {
      const int32_t k = o.outlier_columns[i];
      const int32_t code = o.w_codes[int64_t{col} * o.code_stride + k];
      sum = AddEntry(sum, LoadElement(o.x, o.x_type, row * o.x_stride + k),
                     IntToFloat(code - column.zero_point));
    }
    sum = MulRn(sum, column.multiplier);
    OCTAVO_UNROLL_BY(4)
    for (int32_t j = 0; j < o.num_kept; ++j) {
      const float x = LoadElement(o.x, o.x_type, row * o.x_stride + o.kept_index[j]);
      const int64_t index = int64_t{j} * o.out_features + col;
      sum = FmaRn(x, LoadElement(o.kept_weight, o.kept_type, index), sum);
    }
    StoreElement(AddRn(sum, column.bias), o.y, o.y_type, row * o.y_stride + col);
  }

  // All tiles of this block. `weights`: the first ones, under way.
  OCTAVO_DEVICE void Run(Weights& weights) const {
    const int32_t num_outliers = o.raw_acc != nullptr ? 0 : *o.num_outlier_columns;
    const int32_t picked = num_outliers < kPicked ? num_outliers : kPicked;
    const int32_t column = LaneIdx() < picked ? o.outlier_columns[LaneIdx()] : -1;
    for (int i = ThreadIdx(); i < picked * kRows; i += kThreads) {
      const int32_t row = i % kRows;
      shared.x[i / kRows][row] =
          row < o.tokens
              ? LoadElement(o.x, o.x_type, row * o.x_stride + o.outlier_columns[i / kRows])
              : 0.0f;
    }
    // This thread's element of every tile.
    const int32_t row = ThreadIdx() / kCols;
    const bool finishes = ThreadIdx() < kElements && row < o.tokens;
    const float scale = finishes ? o.x_scale[row] : 0.0f;
    const int32_t x_zero_point = finishes ? o.x_zero_point[row] : 0;
    const int32_t x_code_sum = finishes ? o.x_code_sum[row] : 0;

    int32_t first_col = BlockX() * kCols, batch = 0;
    int half = 0;
    ColumnOperands columns;
    if (finishes) columns = LoadColumn(first_col + ThreadIdx() % kCols);
    int32_t acc[kGroups][4] = {};
    while (first_col < o.out_features) {
      const bool last = batch + 1 == batches;
      const int32_t next_col = last ? first_col + GridX() * kCols : first_col;
      const int32_t next_batch = last ? 0 : batch + 1;
      Weights next;
      LoadWeights(next_col, next_batch, next);
      ColumnOperands next_columns = columns;
      if (last && finishes) next_columns = LoadColumn(next_col + ThreadIdx() % kCols);
      Multiply(batch, weights, acc);
      if (picked != 0) Pick(batch, weights, column, half);
      if (last) {
        StorePartials(half, acc);
        BlockSync();
        const int32_t col = first_col + ThreadIdx() % kCols;
        if (finishes && col < o.out_features)
          Finish(row, col, half, num_outliers, columns, scale, x_zero_point, x_code_sum);
        // Who is ahead writes to the other half; the barrier there keeps it from coming back too
        // early.
        half ^= 1;
        OCTAVO_UNROLL
        for (int group = 0; group < kGroups; ++group) {
          OCTAVO_UNROLL
          for (int i = 0; i < 4; ++i) acc[group][i] = 0;
        }
      }
      weights = next;
      columns = next_columns;
      first_col = next_col;
      batch = next_batch;
    }
  }
};

template <bool kSigned>
OCTAVO_DEVICE FewTokens<kSigned> MakeWork(const ProductOperands& o) {
  const int32_t steps = o.code_stride / kStepBytes;
  const int32_t batch_steps = kWarps * kUnroll;
  return {o, *reinterpret_cast<Shared*>(SharedMemory()), WarpIdx(), steps,
          steps == 0 ? 1 : (steps + batch_steps - 1) / batch_steps};
}

template <bool kSigned>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kThreads, 1) FewTokensKernel(ProductOperands o) {
  AllowNextKernel();
  const FewTokens<kSigned> work = MakeWork<kSigned>(o);
  // Weights do not depend on the kernel in front; everything else does.
  Weights weights;
  work.LoadWeights(BlockX() * kCols, 0, weights);
  WaitForPreviousKernel();
  work.Run(weights);
}

// ---- With the quantization inside ---------------------------------------------------------------

constexpr int32_t kMaxQuantizedRows = 4;
constexpr int64_t kMaxQuantizedBytes = 96 << 10;

// Where a block keeps its own quantized activations, behind Shared.
struct OwnActivations {
  float scale[kMaxQuantizedRows];
  int32_t zero_point[kMaxQuantizedRows];
  int32_t code_sum[kMaxQuantizedRows];
  int32_t num_outlier_columns;
  int32_t unused[3];  // what follows is 16-byte aligned
  float scratch[kTeamScratchBytes / 4];
};
static_assert(sizeof(Shared) % 16 == 0 && sizeof(OwnActivations) % 16 == 0);

// Behind OwnActivations: the mask [part_bytes], the codes, the list of outlier columns.
int64_t QuantizedBytes(const Encoding& e) {
  return int64_t{e.part_bytes} + int64_t{e.rows.tokens} * e.code_stride +
         4 * int64_t{e.rows.in_features};
}

template <class Type, bool kSigned>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kThreads, 1)
    QuantizeFewTokensKernel(ProductOperands o, Encoding e) {
  AllowNextKernel();
  const FewTokens<kSigned> work = MakeWork<kSigned>(o);
  Weights weights;
  work.LoadWeights(BlockX() * kCols, 0, weights);

  OwnActivations& own = *reinterpret_cast<OwnActivations*>(SharedMemory() + sizeof(Shared));
  uint8_t* const mask = reinterpret_cast<uint8_t*>(&own + 1);
  e.codes = mask + e.part_bytes;
  e.scale = own.scale;
  e.zero_point = own.zero_point;
  e.code_sum = own.code_sum;
  e.outlier_columns = reinterpret_cast<int32_t*>(e.codes + e.rows.tokens * e.code_stride);
  e.num_outlier_columns = &own.num_outlier_columns;
  WaitForPreviousKernel();
  FindInRows<Type, false>(e, mask, kThreads);
  BlockSync();
  const int32_t first_warp = work.warp / e.row_warps * e.row_warps;
  const Team team{e.row_warps, first_warp, work.warp, ThreadIdx() - 32 * first_warp, own.scratch};
  const int32_t row = first_warp / e.row_warps;
  HeldRow<Type, 0> held;
  EncodeRow<Type, 0, false>(e, team, mask, row, row < e.rows.tokens, held);
  if (work.warp == kWarps - 1) ListOutlierColumns(e, mask);
  BlockSync();

  o.x_codes = e.codes;
  o.x_scale = e.scale;
  o.x_zero_point = e.zero_point;
  o.x_code_sum = e.code_sum;
  o.outlier_columns = e.outlier_columns;
  o.num_outlier_columns = e.num_outlier_columns;
  work.Run(weights);
}

uint32_t GridOf(const ProductOperands& o, int32_t multiprocessors) {
  const int32_t tiles = (o.out_features + kCols - 1) / kCols;
  return static_cast<uint32_t>(tiles < multiprocessors ? tiles : multiprocessors);
}

template <class Type>
CudaStatus LaunchWithQuantization(const LaunchConfig& config, const ProductOperands& o,
                                  const Encoding& e, void* stream) {
  return o.symmetric ? Launch(config, stream, QuantizeFewTokensKernel<Type, true>, o, e)
                     : Launch(config, stream, QuantizeFewTokensKernel<Type, false>, o, e);
}

}  // namespace

CudaStatus LaunchFewTokens(const ProductOperands& o, int32_t multiprocessors, void* stream) {
  LaunchConfig config;
  config.grid_x = GridOf(o, multiprocessors);
  config.threads = kThreads;
  config.shared_bytes = sizeof(Shared);
  config.overlap = true;
  return o.symmetric ? Launch(config, stream, FewTokensKernel<true>, o)
                     : Launch(config, stream, FewTokensKernel<false>, o);
}

bool FewTokensCanQuantize(const QuantizeCall& call) {
  return call.x.tokens <= kMaxQuantizedRows && !call.options.via_fp16 &&
         call.options.range_over == kernels::RangeOver::kRow &&
         QuantizedBytes(EncodingOf(call)) <= kMaxQuantizedBytes;
}

CudaStatus LaunchQuantizeFewTokens(const QuantizeCall& call, const ProductOperands& o,
                                   void* stream) {
  Encoding e = EncodingOf(call);
  e.row_warps = kWarps;
  while (e.row_warps * e.rows.tokens > kWarps) e.row_warps /= 2;
  LaunchConfig config;
  config.grid_x = GridOf(o, call.multiprocessors);
  config.threads = kThreads;
  config.shared_bytes =
      sizeof(Shared) + sizeof(OwnActivations) + static_cast<size_t>(QuantizedBytes(e));
  config.overlap = true;
  switch (call.x.type) {
    case ElementType::kFloat16:
      return LaunchWithQuantization<Half>(config, o, e, stream);
    case ElementType::kBFloat16:
      return LaunchWithQuantization<BFloat>(config, o, e, stream);
    case ElementType::kFloat32:
      break;
  }
  return LaunchWithQuantization<Single>(config, o, e, stream);
}

}  // namespace octavo::cuda
