// The product for few tokens: every weight is read once, at the memory's speed.
//
// A tile has 16 output features, all of in_features and all tokens; a block's eight warps share its
// steps along k. Blocks stay and take one tile after another. A lane takes 16 bytes of a weight row
// and the same 16 bytes of an activation row: what m16n8k32 calls k 4t .. 4t+3 and 4t+16 .. 4t+19
// is then some other k, but the same one on both sides, and the order of an exact sum is free.
//
// Activations come from L1 or shared memory. From compute capability 9.0 on, weights come through a
// ring that TMA keeps filled, far ahead and before the kernel in front has finished; more warps
// finish one tile while the next is multiplied. On other devices weights go straight from memory to
// registers, one batch ahead, and the multiplying warps finish.
//
// The outlier and kept products are fused multiply-adds in ascending order of the columns: in scope
// token the same operations as in every other kernel. The codes of the first outlier columns are
// picked from the weights as these pass by.
//
// QuantizeFewTokensKernel quantizes one row by itself, in every block, while its first weights
// come: one kernel for a whole forward pass.
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/quantize_rows.h"
#include "kernels/cuda/ring.h"

namespace octavo::cuda {
namespace {

constexpr int kWarps = 8;  // that multiply
constexpr int kThreads = 32 * kWarps;
constexpr int kRows = kMaxFewTokens;
constexpr int kCols = kFewTokensTileCols;
constexpr int kGroups = kCols / 8;
constexpr int kElements = kRows * kCols;  // of a tile
constexpr int kStepBytes = 64;            // of a row: 16 for each lane of a quad
constexpr int kPickedGroups = 2;
constexpr int kPicked = 32 * kPickedGroups;  // outlier columns that are picked from the weights
static_assert(kRows == 16 && kElements == kThreads);

// What the warps share. Two halves take turns from tile to tile.
struct Shared {
  int32_t partials[2][kWarps][kElements];
  int8_t picked[2][kPicked][kCols];  // codes
  float x[kPicked][kRows];
};

// Named barriers. A team that quantizes has the first ones.
constexpr int kMultiplyingBarrier = 15;
constexpr int kFinishingBarrier = 14;
constexpr int kWorkingBarrier = 13;  // who multiplies and who finishes
constexpr int kFullBarrier = 11;     // and the next: who multiplies says that a half is full
constexpr int kEmptyBarrier = 9;     // and the next: who finishes says that it may be filled again

// Of a block with a ring: warps that finish, and the one that fills it.
constexpr int kFinishThreads = 128;
constexpr int kWorkingThreads = kThreads + kFinishThreads;
constexpr int kRingThreads = kWorkingThreads + 32;

OCTAVO_DEVICE void SyncMultiplying() { NamedSync(kMultiplyingBarrier, kThreads); }

// kUnroll steps of weights: 8 rows for each group, this lane's 16 bytes of one row.
template <int kUnroll>
struct Weights {
  Vec16 vec[kUnroll][kGroups];
};
template <int kUnroll>
struct Codes {
  Vec16 upper[kUnroll], lower[kUnroll];  // rows lane / 4 and lane / 4 + 8
};

// Weights from memory, one batch ahead.
struct MemorySource {
  static constexpr int kUnroll = 4;
  // Of a batch, this warp takes kUnroll steps from here on.
  OCTAVO_DEVICE static int32_t FirstStep(int32_t batch, int warp) {
    return (batch * kWarps + warp) * kUnroll;
  }

  const ProductOperands& o;
  const int warp;
  Weights<kUnroll> ahead;

  OCTAVO_DEVICE void Load(int32_t first_col, int32_t batch) {
    OCTAVO_UNROLL
    for (int i = 0; i < kUnroll; ++i) {
      const int32_t step = FirstStep(batch, warp) + i;
      OCTAVO_UNROLL
      for (int group = 0; group < kGroups; ++group) {
        const int32_t col = first_col + 8 * group + LaneIdx() / 4;
        ahead.vec[i][group] = Vec16{{0, 0, 0, 0}};
        if (step * kStepBytes < o.code_stride && col < o.out_features) {
          ahead.vec[i][group] = LoadStream16(o.w_codes + int64_t{col} * o.code_stride +
                                             step * kStepBytes + 16 * (LaneIdx() % 4));
        }
      }
    }
  }
};

// Weights through shared memory. A stage is for one warp, the warps in turn: 512 bytes of each of
// the tile's rows, as four boxes of 128 bytes that TMA swizzles.
struct RingSource {
  static constexpr int kStageSteps = 8;
  static constexpr int kBoxBytes = kCols * 128;
  static constexpr int kBoxes = kStageSteps * kStepBytes / 128;
  static constexpr int kStageBytes = kBoxes * kBoxBytes;

  unsigned char* const buffers;  // 1024-byte aligned
  uint64_t* const full;          // [stages]
  uint64_t* const empty;         // [stages]
  const int stages;              // a multiple of kWarps, so that a buffer is always the same warp's
  const int warp;
  const int32_t stages_per_tile;
  RingPosition ring;  // of this warp's next stage
  int32_t next = 0;   // that stage, counted from the current tile's first

  OCTAVO_DEVICE void Wait() const { MbarrierWait(full + ring.index, ring.parity); }
  // Steps `first` and on of the stage.
  template <int kSteps>
  OCTAVO_DEVICE Weights<kSteps> Load(int first) const {
    const unsigned char* const stage = buffers + ring.index * kStageBytes;
    Weights<kSteps> weights;
    OCTAVO_UNROLL
    for (int i = 0; i < kSteps; ++i) {
      const unsigned char* const box = stage + (first + i) / 2 * kBoxBytes;
      OCTAVO_UNROLL
      for (int group = 0; group < kGroups; ++group) {
        const int row = 8 * group + LaneIdx() / 4, chunk = (first + i) % 2 * 4 + LaneIdx() % 4;
        weights.vec[i][group] =
            *reinterpret_cast<const Vec16*>(box + 128 * row + 16 * (chunk ^ (row % 8)));
      }
    }
    return weights;
  }
  OCTAVO_DEVICE void Release() const {
    WarpSync();
    if (LaneIdx() == 0) MbarrierArrive(empty + ring.index);
  }

  OCTAVO_DEVICE void Init() const {
    for (int i = 0; i < stages; ++i) {
      MbarrierInit(full + i, 1);
      MbarrierInit(empty + i, 1);
    }
    MbarrierInitFence();
  }
  // One thread, for all tiles of the block.
  OCTAVO_DEVICE void Fill(const TensorMap* map, const ProductOperands& o) const {
    RingPosition position;
    for (int32_t col = BlockX() * kCols; col < o.out_features; col += GridX() * kCols) {
      for (int32_t stage = 0; stage < stages_per_tile; ++stage) {
        MbarrierWait(empty + position.index, position.parity ^ 1u);
        MbarrierArriveExpectTx(full + position.index, kStageBytes);
        OCTAVO_UNROLL
        for (int i = 0; i < kBoxes; ++i) {
          TmaLoad2D(buffers + position.index * kStageBytes + i * kBoxBytes, map,
                    (stage * kBoxes + i) * 128, col, full + position.index);
        }
        position.Advance(stages);
      }
    }
  }
};

// What finishing one element needs of its output feature.
struct ColumnOperands {
  float multiplier = 0;
  int32_t code_sum = 0;
  int32_t zero_point = 0;
  float bias = -0.0f;  // leaves every value as it is
};

// The outlier columns that are picked: of each group of 32, lane i knows the i-th, or -1.
struct PickedColumns {
  int32_t count = 0;
  int32_t column[kPickedGroups];
};

template <class Source, bool kSigned>
struct FewTokens {
  const ProductOperands& o;
  Shared& shared;
  const int warp;

  OCTAVO_DEVICE int32_t NumOutliers() const {
    return o.raw_acc != nullptr ? 0 : *o.num_outlier_columns;
  }
  OCTAVO_DEVICE static int32_t NumPicked(int32_t num_outliers) {
    return num_outliers < kPicked ? num_outliers : kPicked;
  }

  // ---- Who multiplies ---------------------------------------------------------------------------

  OCTAVO_DEVICE PickedColumns LoadPicked() const {
    PickedColumns picked;
    picked.count = NumPicked(NumOutliers());
    OCTAVO_UNROLL
    for (int group = 0; group < kPickedGroups; ++group) {
      const int index = 32 * group + LaneIdx();
      picked.column[group] = index < picked.count ? o.outlier_columns[index] : -1;
    }
    return picked;
  }

  OCTAVO_DEVICE Vec16 LoadRowCodes(int32_t row, int32_t step) const {
    if (row >= o.tokens || step * kStepBytes >= o.code_stride) return Vec16{{0, 0, 0, 0}};
    return Load16(o.x_codes + int64_t{row} * o.code_stride + step * kStepBytes +
                  16 * (LaneIdx() % 4));
  }
  template <int kSteps>
  OCTAVO_DEVICE Codes<kSteps> LoadCodes(int32_t first_step) const {
    Codes<kSteps> codes;
    OCTAVO_UNROLL
    for (int i = 0; i < kSteps; ++i) {
      codes.upper[i] = LoadRowCodes(LaneIdx() / 4, first_step + i);
      codes.lower[i] = LoadRowCodes(LaneIdx() / 4 + 8, first_step + i);
    }
    return codes;
  }

  template <int kSteps>
  OCTAVO_DEVICE void Multiply(const Codes<kSteps>& codes, const Weights<kSteps>& weights,
                              int32_t (&acc)[kGroups][4]) const {
    OCTAVO_UNROLL
    for (int i = 0; i < kSteps; ++i) {
      const Vec16 &upper = codes.upper[i], &lower = codes.lower[i];
      OCTAVO_UNROLL
      for (int half = 0; half < 2; ++half) {
        const uint32_t a[4] = {upper.x[2 * half], lower.x[2 * half], upper.x[2 * half + 1],
                               lower.x[2 * half + 1]};
        OCTAVO_UNROLL
        for (int group = 0; group < kGroups; ++group) {
          const Vec16& w = weights.vec[i][group];
          const uint32_t b[2] = {w.x[2 * half], w.x[2 * half + 1]};
          MmaI8<kSigned>(acc[group], a, b);
        }
      }
    }
  }

  // The codes of the outlier columns that lie in these steps.
  template <int kSteps>
  OCTAVO_DEVICE void Pick(int32_t first_step, const Weights<kSteps>& weights,
                          const PickedColumns& picked, int half) const {
    const int32_t begin = first_step * kStepBytes;
    OCTAVO_UNROLL
    for (int group = 0; group < kPickedGroups; ++group) {
      if (32 * group >= picked.count) break;
      const int32_t column = picked.column[group];
      uint32_t found = Ballot(column >= begin && column < begin + kSteps * kStepBytes);
      while (found != 0) {
        const int lane = PopCount((found & (0u - found)) - 1);
        found &= found - 1;
        PickColumn(weights, Shuffle(column, lane) - begin, shared.picked[half][32 * group + lane]);
      }
    }
  }
  template <int kSteps>
  OCTAVO_DEVICE void PickColumn(const Weights<kSteps>& weights, int32_t k, int8_t* target) const {
    // Masks, not an index: an index would put the weights into memory.
    uint32_t words[kGroups] = {};
    OCTAVO_UNROLL
    for (int i = 0; i < kSteps; ++i) {
      OCTAVO_UNROLL
      for (int j = 0; j < 4; ++j) {
        const uint32_t mask = k / kStepBytes == i && k % 16 / 4 == j ? ~0u : 0u;
        OCTAVO_UNROLL
        for (int group = 0; group < kGroups; ++group)
          words[group] |= weights.vec[i][group].x[j] & mask;
      }
    }
    if (LaneIdx() % 4 != k % kStepBytes / 16) return;
    OCTAVO_UNROLL
    for (int group = 0; group < kGroups; ++group)
      target[8 * group + LaneIdx() / 4] = static_cast<int8_t>(words[group] >> (8 * (k % 4)));
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

  // Calls body(codes, weights, first step of them) for this warp's steps of a tile.
  template <class Body>
  OCTAVO_DEVICE void ForSteps(MemorySource& memory, int32_t first_col, Body&& body) const {
    constexpr int kUnroll = MemorySource::kUnroll;
    constexpr int kSteps = kUnroll / 2;  // as many as registers hold
    constexpr int32_t kBatchBytes = kWarps * kUnroll * kStepBytes;
    const int32_t batches = o.code_stride == 0 ? 1 : (o.code_stride - 1) / kBatchBytes + 1;
    for (int32_t batch = 0; batch < batches; ++batch) {
      const int32_t step = MemorySource::FirstStep(batch, warp);
      const Weights<kUnroll> weights = memory.ahead;
      const bool last = batch + 1 == batches;
      memory.Load(last ? first_col + GridX() * kCols : first_col, last ? 0 : batch + 1);
      OCTAVO_UNROLL
      for (int first = 0; first < kUnroll; first += kSteps) {
        Weights<kSteps> part;
        OCTAVO_UNROLL
        for (int i = 0; i < kSteps; ++i) {
          OCTAVO_UNROLL
          for (int group = 0; group < kGroups; ++group)
            part.vec[i][group] = weights.vec[first + i][group];
        }
        body(LoadCodes<kSteps>(step + first), part, step + first);
      }
    }
  }
  template <class Body>
  OCTAVO_DEVICE void ForSteps(RingSource& source, int32_t, Body&& body) const {
    constexpr int kSteps = RingSource::kStageSteps / 2;  // as many as registers hold
    int32_t stage = source.next;
    for (; stage < source.stages_per_tile; stage += kWarps) {
      const int32_t step = stage * RingSource::kStageSteps;
      Codes<kSteps> codes = LoadCodes<kSteps>(step);
      source.Wait();
      body(codes, source.Load<kSteps>(0), step);
      codes = LoadCodes<kSteps>(step + kSteps);
      const Weights<kSteps> weights = source.Load<kSteps>(kSteps);
      source.Release();
      body(codes, weights, step + kSteps);
      source.ring.Skip(kWarps, source.stages);
    }
    source.next = stage - source.stages_per_tile;
  }

  // One tile: every warp's sums, and the codes of the picked columns, to a half of what is shared.
  OCTAVO_DEVICE void MultiplyTile(Source& source, int32_t first_col, const PickedColumns& picked,
                                  int half) const {
    int32_t acc[kGroups][4] = {};
    ForSteps(source, first_col, [&](const auto& codes, const auto& weights, int32_t step) {
      Multiply(codes, weights, acc);
      if (picked.count != 0) Pick(step, weights, picked, half);
    });
    StorePartials(half, acc);
  }

  // ---- Who finishes -----------------------------------------------------------------------------

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
                            const ColumnOperands& column, const RowOperands& of_row) const {
    const int in_tile = col % kCols;
    uint32_t product = 0;
    OCTAVO_UNROLL
    for (int w = 0; w < kWarps; ++w)
      product += static_cast<uint32_t>(shared.partials[half][w][row * kCols + in_tile]);
    const int32_t acc =
        CorrectedAcc(static_cast<int32_t>(product), of_row.zero_point, of_row.code_sum,
                     column.code_sum, column.zero_point, o.in_features);
    if (o.raw_acc != nullptr) {
      o.raw_acc[int64_t{row} * o.out_features + col] = acc;
      return;
    }
    float sum = MulRn(IntToFloat(acc), of_row.scale);
    for (int32_t i = 0; i < num_outliers && i < kPicked; ++i)
      sum = AddEntry(sum, shared.x[i][row],
                     IntToFloat(shared.picked[half][i][in_tile] - column.zero_point));
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

  // A thread of kNum that finish: always the same elements of a tile, of one output feature.
  template <int kNum>
  struct Finisher {
    static constexpr int kEach = kElements / kNum;
    static_assert(kNum % kCols == 0);

    const FewTokens& work;
    const int thread;
    int32_t num_outliers = 0;
    RowOperands rows[kEach] = {};
    ColumnOperands column = {};  // of the next tile

    OCTAVO_DEVICE int32_t Row(int i) const { return thread / kCols + i * (kNum / kCols); }
    OCTAVO_DEVICE int32_t Col(int32_t first_col) const { return first_col + thread % kCols; }
    OCTAVO_DEVICE bool HasWork() const { return Row(0) < work.o.tokens; }

    // The caller synchronizes who finishes.
    OCTAVO_DEVICE void Start() {
      const ProductOperands& o = work.o;
      num_outliers = work.NumOutliers();
      for (int i = thread; i < NumPicked(num_outliers) * kRows; i += kNum) {
        const int row = i % kRows, slot = i / kRows;
        const int64_t index = row * o.x_stride + o.outlier_columns[slot];
        work.shared.x[slot][row] = row < o.tokens ? LoadElement(o.x, o.x_type, index) : 0.0f;
      }
      OCTAVO_UNROLL
      for (int i = 0; i < kEach; ++i) rows[i] = LoadRow(o, Row(i));
      if (HasWork()) column = work.LoadColumn(Col(BlockX() * kCols));
    }
    OCTAVO_DEVICE void Finish(int32_t first_col, int half) {
      if (!HasWork()) return;
      const int32_t col = Col(first_col);
      const ColumnOperands current = column;
      column = work.LoadColumn(col + GridX() * kCols);
      if (col >= work.o.out_features) return;
      OCTAVO_UNROLL
      for (int i = 0; i < kEach; ++i) {
        if (Row(i) < work.o.tokens) work.Finish(Row(i), col, half, num_outliers, current, rows[i]);
      }
    }
  };

  // ---- All tiles of this block, whose first weights are under way -------------------------------

  // Calls body(first output feature, half).
  template <class Body>
  OCTAVO_DEVICE void ForTiles(Body&& body) const {
    int half = 0;
    for (int32_t col = BlockX() * kCols; col < o.out_features; col += GridX() * kCols) {
      body(col, half);
      half ^= 1;
    }
  }

  OCTAVO_DEVICE void MultiplyAndFinish(Source& source) const {
    const PickedColumns picked = LoadPicked();
    Finisher<kThreads> finisher{*this, ThreadIdx()};
    finisher.Start();
    ForTiles([&](int32_t first_col, int half) {
      MultiplyTile(source, first_col, picked, half);
      SyncMultiplying();
      // Who is ahead writes to the other half; the barrier there keeps it from coming back too
      // early.
      finisher.Finish(first_col, half);
    });
  }

  // With finishing warps beside the multiplying ones. A half is filled again after it was read.
  OCTAVO_DEVICE void MultiplyTiles(Source& source) const {
    const PickedColumns picked = LoadPicked();
    ForTiles([&](int32_t first_col, int half) {
      if (first_col >= 2 * GridX() * kCols) NamedSync(kEmptyBarrier + half, kWorkingThreads);
      MultiplyTile(source, first_col, picked, half);
      NamedArrive(kFullBarrier + half, kWorkingThreads);
    });
  }
  OCTAVO_DEVICE void FinishTiles(int thread) const {
    Finisher<kFinishThreads> finisher{*this, thread};
    finisher.Start();
    NamedSync(kFinishingBarrier, kFinishThreads);
    ForTiles([&](int32_t first_col, int half) {
      NamedSync(kFullBarrier + half, kWorkingThreads);
      finisher.Finish(first_col, half);
      if (first_col + 2 * GridX() * kCols < o.out_features)
        NamedArrive(kEmptyBarrier + half, kWorkingThreads);
    });
  }
};

// ---- From memory --------------------------------------------------------------------------------

template <bool kSigned>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kThreads, 2) FewTokensKernel(ProductOperands o) {
  AllowNextKernel();
  const FewTokens<MemorySource, kSigned> work{o, *reinterpret_cast<Shared*>(SharedMemory()),
                                              WarpIdx()};
  // Weights do not depend on the kernel in front; everything else does.
  MemorySource source{o, work.warp, {}};
  source.Load(BlockX() * kCols, 0);
  WaitForPreviousKernel();
  work.MultiplyAndFinish(source);
}

// ---- Through the ring ---------------------------------------------------------------------------

// Shared memory of a block: the ring's buffers, its barriers, Shared, and what follows there.
OCTAVO_HOST_DEVICE int32_t SharedOffset(int stages) {
  return stages * RingSource::kStageBytes + (16 * stages + 15) / 16 * 16;
}
OCTAVO_DEVICE RingSource MakeRing(const ProductOperands& o, int stages, int warp) {
  uint64_t* const barriers =
      reinterpret_cast<uint64_t*>(SharedMemory() + stages * RingSource::kStageBytes);
  constexpr int32_t kStageColumns = RingSource::kStageSteps * kStepBytes;
  RingSource ring{SharedMemory(),
                  barriers,
                  barriers + stages,
                  stages,
                  warp,
                  (o.code_stride - 1) / kStageColumns + 1,
                  {},
                  warp};
  ring.ring.Skip(warp, stages);
  return ring;
}

// The last warp fills the ring. True for the others.
OCTAVO_DEVICE bool StartRing(RingSource& ring, const TensorMap* map, const ProductOperands& o) {
  if (ThreadIdx() == kWorkingThreads) {
    PrefetchTensorMap(map);
    ring.Init();
  }
  BlockSync();
  if (ThreadIdx() < kWorkingThreads) return true;
  if (ThreadIdx() == kWorkingThreads) ring.Fill(map, o);
  return false;
}

template <bool kSigned>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kRingThreads, 1)
    FewTokensRingKernel(OCTAVO_GRID_CONSTANT const TensorMap w_map, ProductOperands o, int stages) {
  AllowNextKernel();
  const int warp = WarpIdx();
  RingSource ring = MakeRing(o, stages, warp);
  // Weights do not depend on the kernel in front; everything else does.
  if (!StartRing(ring, &w_map, o)) return;
  WaitForPreviousKernel();
  const FewTokens<RingSource, kSigned> work{
      o, *reinterpret_cast<Shared*>(SharedMemory() + SharedOffset(stages)), warp};
  if (warp < kWarps) {
    work.MultiplyTiles(ring);
  } else {
    work.FinishTiles(ThreadIdx() - kThreads);
  }
}

// ---- With the quantization inside ---------------------------------------------------------------

// One row of so many columns as a block's registers hold: every block does it again, and that is
// still faster than a kernel of its own.
constexpr int kFewHeld = 4, kManyHeld = 8;  // octets of a thread
constexpr int32_t kMaxQuantizedColumns = 8 * kThreads * kFewHeld;
constexpr int32_t kMaxQuantizedColumns16Bit = 8 * kThreads * kManyHeld;

// Where a block keeps its own quantized row, behind Shared.
struct alignas(16) OwnActivations {
  float scale;
  int32_t zero_point;
  int32_t code_sum;
  int32_t num_outlier_columns;
  float scratch[kTeamScratchBytes / 4];
};
static_assert(sizeof(Shared) % 16 == 0);

// OwnActivations, and behind it the mask [part_bytes], the codes, the list of outlier columns.
int64_t QuantizedBytes(const Encoding& e) {
  return static_cast<int64_t>(sizeof(OwnActivations)) + e.part_bytes + e.code_stride +
         4 * int64_t{e.rows.in_features};
}

template <class Type, int kHeld, bool kSigned>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kRingThreads, 1)
    QuantizeFewTokensKernel(OCTAVO_GRID_CONSTANT const TensorMap w_map, ProductOperands o,
                            Encoding e, int stages) {
  AllowNextKernel();
  const int warp = WarpIdx();
  RingSource ring = MakeRing(o, stages, warp);
  if (!StartRing(ring, &w_map, o)) return;

  Shared& shared = *reinterpret_cast<Shared*>(SharedMemory() + SharedOffset(stages));
  OwnActivations& own = *reinterpret_cast<OwnActivations*>(&shared + 1);
  uint8_t* const mask = reinterpret_cast<uint8_t*>(&own + 1);
  e.codes = mask + e.part_bytes;
  e.scale = &own.scale;
  e.zero_point = &own.zero_point;
  e.code_sum = &own.code_sum;
  e.outlier_columns = reinterpret_cast<int32_t*>(e.codes + e.code_stride);
  e.num_outlier_columns = &own.num_outlier_columns;
  WaitForPreviousKernel();
  if (warp < kWarps) {
    const Team team = Team::Make(kWarps, warp, own.scratch);
    RowEncoder<Type, false, kHeld> encoder{e, team, mask, {}};
    encoder.Load(0, true);
    encoder.MarkOutliers(mask);
    SyncMultiplying();
    encoder.Run(0, true);
    if (warp == kWarps - 1) ListOutlierColumns(e, mask);
  }
  NamedSync(kWorkingBarrier, kWorkingThreads);

  o.x_codes = e.codes;
  o.x_scale = e.scale;
  o.x_zero_point = e.zero_point;
  o.x_code_sum = e.code_sum;
  o.outlier_columns = e.outlier_columns;
  o.num_outlier_columns = e.num_outlier_columns;
  const FewTokens<RingSource, kSigned> work{o, shared, warp};
  if (warp < kWarps) {
    work.MultiplyTiles(ring);
  } else {
    work.FinishTiles(ThreadIdx() - kThreads);
  }
}

// ---- Host ---------------------------------------------------------------------------------------

uint32_t GridOf(const ProductOperands& o, int32_t at_once) {
  const int32_t tiles = (o.out_features + kCols - 1) / kCols;
  return static_cast<uint32_t>(tiles < at_once ? tiles : at_once);
}

int64_t RingBytes(int stages, int64_t extra_bytes) {
  return SharedOffset(stages) + static_cast<int64_t>(sizeof(Shared)) + extra_bytes;
}

// As many stages as there are weights to come early, few enough that L1 has room for activations.
LaunchConfig RingConfig(const ProductOperands& o, const DeviceTraits& device, int64_t extra_bytes,
                        int* stages) {
  *stages =
      RingBytes(2 * kWarps, extra_bytes) <= device.shared_bytes_per_block ? 2 * kWarps : kWarps;
  LaunchConfig config;
  config.grid_x = GridOf(o, device.multiprocessors);
  config.threads = kRingThreads;
  config.shared_bytes = static_cast<size_t>(RingBytes(*stages, extra_bytes));
  config.overlap = true;
  return config;
}

CudaStatus MakeWeightMap(const ProductOperands& o, TensorMap* map) {
  const auto stride = static_cast<uint64_t>(o.code_stride);
  return MakeTensorMap2D(map, o.w_codes, stride, static_cast<uint64_t>(o.out_features), stride, 128,
                         kCols);
}

bool HasTma(const DeviceTraits& device) { return device.code_capability >= 90; }

template <class Type, int kHeld>
CudaStatus LaunchHolding(const LaunchConfig& config, const TensorMap& map, const ProductOperands& o,
                         const Encoding& e, int stages, void* stream) {
  const auto kernel = o.symmetric ? QuantizeFewTokensKernel<Type, kHeld, true>
                                  : QuantizeFewTokensKernel<Type, kHeld, false>;
  return Launch(config, stream, kernel, map, o, e, stages);
}

template <class Type>
CudaStatus LaunchWithQuantization(const LaunchConfig& config, const TensorMap& map,
                                  const ProductOperands& o, const Encoding& e, int stages,
                                  void* stream) {
  if constexpr (kIs16Bit<Type>) {
    if (e.rows.in_features > kMaxQuantizedColumns)
      return LaunchHolding<Type, kManyHeld>(config, map, o, e, stages, stream);
  }
  return LaunchHolding<Type, kFewHeld>(config, map, o, e, stages, stream);
}

}  // namespace

CudaStatus LaunchFewTokens(const ProductOperands& o, const DeviceTraits& device, void* stream) {
  if (HasTma(device) && o.in_features > 0) {  // TMA has no empty matrices
    TensorMap map;
    int stages = 0;
    OCTAVO_RETURN_IF_FAILED(MakeWeightMap(o, &map));
    const LaunchConfig config = RingConfig(o, device, 0, &stages);
    const auto kernel = o.symmetric ? FewTokensRingKernel<true> : FewTokensRingKernel<false>;
    return Launch(config, stream, kernel, map, o, stages);
  }
  LaunchConfig config;
  config.grid_x = GridOf(o, 2 * device.multiprocessors);
  config.threads = kThreads;
  config.shared_bytes = sizeof(Shared);
  config.overlap = true;
  return o.symmetric ? Launch(config, stream, FewTokensKernel<true>, o)
                     : Launch(config, stream, FewTokensKernel<false>, o);
}

bool FewTokensCanQuantize(const QuantizeCall& call, const DeviceTraits& device) {
  const Encoding e = EncodingOf(call);
  const int32_t max_columns =
      call.x.type == ElementType::kFloat32 ? kMaxQuantizedColumns : kMaxQuantizedColumns16Bit;
  return HasTma(device) && call.x.tokens == 1 && call.x.in_features > 0 && e.rows.aligned &&
         !call.options.via_fp16 && call.options.range_over == kernels::RangeOver::kRow &&
         e.rows.in_features <= max_columns &&
         RingBytes(kWarps, QuantizedBytes(e)) <= device.shared_bytes_per_block;
}

CudaStatus LaunchQuantizeFewTokens(const QuantizeCall& call, const ProductOperands& o,
                                   const DeviceTraits& device, void* stream) {
  const Encoding e = EncodingOf(call);
  TensorMap map;
  int stages = 0;
  OCTAVO_RETURN_IF_FAILED(MakeWeightMap(o, &map));
  const LaunchConfig config = RingConfig(o, device, QuantizedBytes(e), &stages);
  switch (call.x.type) {
    case ElementType::kFloat16:
      return LaunchWithQuantization<Aligned<Half>>(config, map, o, e, stages, stream);
    case ElementType::kBFloat16:
      return LaunchWithQuantization<Aligned<BFloat>>(config, map, o, e, stages, stream);
    case ElementType::kFloat32:
      break;
  }
  return LaunchWithQuantization<Aligned<Single>>(config, map, o, e, stages, stream);
}

}  // namespace octavo::cuda
