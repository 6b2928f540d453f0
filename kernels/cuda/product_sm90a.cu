// The product on Hopper: wgmma on tiles that TMA brings into a ring of shared memory.
//
// A block of three warp groups works on one tile of 128 tokens after another. Warp group 0 serves:
// one thread of its first warp keeps the ring filled, the other three warps gather what the
// epilogue needs (the tile's output features, the columns of the outlier and kept products). Warp
// groups 1 and 2 multiply 64 tokens each, and finish their accumulators in registers: no int32 goes
// to memory. Blocks of a cluster load a part of a shared operand each and send it to all.
//
// Where there are too few tiles for the device, two blocks take a half of k each of one tile. Then
// each finishes a half of its columns, for which the other one sends its sums.
//
// Weights do not depend on the kernel in front, which makes the codes: they are under way before it
// has finished.
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/ring.h"
#include "kernels/cuda/side_product.h"

namespace octavo::cuda {
namespace {

constexpr int kTileRows = 128;
constexpr int kStepBytes = 128;  // of k in one stage: a swizzled line of shared memory
constexpr int kInstructionBytes = 32;
constexpr int kThreads = 384;
constexpr int kMultiplyingWarps = 8;
constexpr int kGatherThreads = 96;
// Of the registers that a block is launched with, 168 for each thread, the warp group that serves
// gives up some to those that multiply. Asking for more than there are would wait for ever.
constexpr int kLaunchedRegisters = 168;
constexpr int kServingRegisters = 104;
constexpr int kMultiplyingRegisters = 200;
static_assert(kServingRegisters + 2 * kMultiplyingRegisters <= 3 * kLaunchedRegisters);
constexpr int kNumSideBuffers = 2;
constexpr int kMaxSharedBytes = 227 * 1024;
constexpr int kMaxCluster = 2;  // a cluster has one block or two
// Tiles that are worked on at the same time lie in a band of so many rows of tiles, so that both
// operands of all of them fit the L2 cache.
constexpr int32_t kBand = 8;

// kSplits: blocks that share a tile.
template <int kTileCols, int kSplits>
struct Shape {
  static constexpr int kXBytes = kTileRows * kStepBytes;
  static constexpr int kWBytes = kTileCols * kStepBytes;
  static constexpr int kOutCols = kTileCols / kSplits;  // that a block finishes
  static_assert(kOutCols % 8 == 0);
  using Side = SideBuffer<kTileRows, kOutCols>;
  using Columns = ColumnBuffer<kOutCols>;
  // The sums of the tile's other block.
  static constexpr int kReceivedBytes = (kSplits - 1) * kTileRows * kOutCols * 4;
  // As many as fit beside the rest.
  static constexpr int kMaxStages = 8;
  static constexpr int kOtherBytes = kNumSideBuffers * (Side::kBytes + Columns::kBytes) +
                                     kReceivedBytes +
                                     8 * (2 * kMaxStages + 4 * kNumSideBuffers + 1);
  static constexpr int kFittingStages = (kMaxSharedBytes - kOtherBytes) / (kXBytes + kWBytes);
  static constexpr int kStages = kFittingStages < kMaxStages ? kFittingStages : kMaxStages;
  static constexpr int kX = 0;
  static constexpr int kW = kX + kStages * kXBytes;
  static constexpr int kSide = kW + kStages * kWBytes;
  static constexpr int kColumns = kSide + kNumSideBuffers * Side::kBytes;
  static constexpr int kReceived = kColumns + kNumSideBuffers * Columns::kBytes;
  static constexpr int kBarriers = kReceived + kReceivedBytes;
  static constexpr int kBytes = kBarriers + 8 * (2 * kStages + 4 * kNumSideBuffers + 1);
  static_assert(kBytes <= kMaxSharedBytes);
};

struct Grid {
  int32_t cluster = 1;     // rows of tiles that a cluster works on at the same time
  int32_t row_groups = 0;  // of `cluster` tiles
  int32_t col_tiles = 0;
  // Rows of X that are loaded for a tile: fewer where there are fewer. Filling what lies outside of
  // a matrix takes TMA longer than loading. Rows of the tile beyond them hold anything; they are
  // multiplied, and not stored.
  int32_t x_rows = 0;
};

template <int kTileCols, int kSplits>
struct Block {
  using S = Shape<kTileCols, kSplits>;
  static constexpr int kOutCols = S::kOutCols;

  const ProductOperands& o;
  const Grid& grid;
  unsigned char* const shared;
  const int rank;                   // in the cluster
  const int32_t first_step, steps;  // along k

  OCTAVO_DEVICE Block(const ProductOperands& operands, const Grid& tiles)
      : o(operands),
        grid(tiles),
        shared(SharedMemory()),
        rank(ClusterRank()),
        first_step(kSplits == 1 ? 0 : o.code_stride / kStepBytes * rank / kSplits),
        steps(kSplits == 1 ? o.code_stride / kStepBytes
                           : o.code_stride / kStepBytes * (rank + 1) / kSplits - first_step) {}

  OCTAVO_DEVICE unsigned char* x_stage(int i) const { return shared + S::kX + i * S::kXBytes; }
  OCTAVO_DEVICE unsigned char* w_stage(int i) const { return shared + S::kW + i * S::kWBytes; }
  OCTAVO_DEVICE typename S::Side side(int i) const {
    return {shared + S::kSide + i * S::Side::kBytes};
  }
  OCTAVO_DEVICE typename S::Columns columns(int i) const {
    return {shared + S::kColumns + i * S::Columns::kBytes};
  }
  OCTAVO_DEVICE uint64_t* barrier(int i) const {
    return reinterpret_cast<uint64_t*>(shared + S::kBarriers) + i;
  }
  OCTAVO_DEVICE uint64_t* full(int stage) const { return barrier(stage); }
  OCTAVO_DEVICE uint64_t* empty(int stage) const { return barrier(S::kStages + stage); }
  OCTAVO_DEVICE uint64_t* side_full(int i) const { return barrier(2 * S::kStages + i); }
  OCTAVO_DEVICE uint64_t* side_empty(int i) const { return side_full(kNumSideBuffers + i); }
  OCTAVO_DEVICE uint64_t* columns_full(int i) const { return side_full(2 * kNumSideBuffers + i); }
  OCTAVO_DEVICE uint64_t* columns_empty(int i) const { return side_full(3 * kNumSideBuffers + i); }
  OCTAVO_DEVICE uint64_t* received() const { return side_full(4 * kNumSideBuffers); }

  OCTAVO_DEVICE void InitBarriers() const {
    const auto count = [&](int i) -> uint32_t {
      if (i < S::kStages) return 1;
      if (i < 2 * S::kStages) return static_cast<uint32_t>(kMultiplyingWarps * grid.cluster);
      const bool fills = (i - 2 * S::kStages) / kNumSideBuffers % 2 == 0;
      return fills ? kGatherThreads : 32 * kMultiplyingWarps;
    };
    for (int i = 0; i < 2 * S::kStages + 4 * kNumSideBuffers; ++i)
      MbarrierInit(barrier(i), count(i));
    if (kSplits > 1) MbarrierInit(received(), 1);
    MbarrierInitFence();
    if (kSplits > 1) MbarrierArriveExpectTx(received(), S::kReceivedBytes);
  }

  // Calls body(first row, first output feature) for every tile of this block, in the same order in
  // all its warps.
  template <class Body>
  OCTAVO_DEVICE void ForTiles(Body&& body) const {
    const int32_t blocks = kSplits * grid.cluster;  // of a cluster
    const int32_t clusters = GridX() / blocks;
    const int32_t tiles = grid.row_groups * grid.col_tiles;
    for (int32_t i = BlockX() / blocks; i < tiles; i += clusters) {
      const int32_t band = i / (kBand * grid.col_tiles), within = i % (kBand * grid.col_tiles);
      const int32_t left = grid.row_groups - band * kBand;
      const int32_t height = left < kBand ? left : kBand;
      const int32_t row =
          (band * kBand + within % height) * grid.cluster + (kSplits == 1 ? rank : 0);
      const int32_t col = within / height;
      body(row * kTileRows, col * kTileCols);
    }
  }

  // The first output feature that this block finishes.
  OCTAVO_DEVICE int32_t OutCol(int32_t first_col) const {
    return kSplits == 1 ? first_col : first_col + rank * kOutCols;
  }

  // ---- The thread that fills the ring ----------------------------------------------------------

  // This block's part of a stage's weights, to all blocks of the cluster.
  OCTAVO_DEVICE void LoadWeights(const TensorMap* map, int32_t step, int32_t first_col,
                                 int stage) const {
    const int32_t k = (first_step + step) * kStepBytes;
    if (grid.cluster == 1) {
      TmaLoad2D(w_stage(stage), map, k, first_col, full(stage));
      return;
    }
    const int32_t part = kTileCols / kMaxCluster * rank;
    TmaLoad2DMulticast(w_stage(stage) + part * kStepBytes, map, k, first_col + part, full(stage),
                       (1u << kMaxCluster) - 1);
  }

  OCTAVO_DEVICE void FillRing(const TensorMap* x_map, const TensorMap* w_map) const {
    const auto stage_bytes = static_cast<uint32_t>(grid.x_rows * kStepBytes + S::kWBytes);
    RingPosition ring;
    bool first_tile = true;
    ForTiles([&](int32_t first_row, int32_t first_col) {
      // Of the first tile, as many weights as the ring holds come before the codes exist.
      const int32_t early = first_tile ? (steps < S::kStages ? steps : S::kStages) : 0;
      if (first_tile) {
        for (int32_t step = 0; step < early; ++step) {
          MbarrierArriveExpectTx(full(step), stage_bytes);
          LoadWeights(w_map, step, first_col, step);
        }
        WaitForPreviousKernel();
        first_tile = false;
      }
      for (int32_t step = 0; step < steps; ++step) {
        uint64_t* const done = full(ring.index);
        if (step >= early) {
          MbarrierWait(empty(ring.index), ring.parity ^ 1u);
          MbarrierArriveExpectTx(done, stage_bytes);
          LoadWeights(w_map, step, first_col, ring.index);
        }
        TmaLoad2D(x_stage(ring.index), x_map, (first_step + step) * kStepBytes, first_row, done);
        ring.Advance(S::kStages);
      }
    });
  }

  // ---- The warps that gather -------------------------------------------------------------------

  OCTAVO_DEVICE void GatherColumns(RingPosition& ring, int32_t first_col, int thread) const {
    MbarrierWait(columns_empty(ring.index), ring.parity ^ 1u);
    FillColumns(o, first_col, columns(ring.index), thread, kGatherThreads);
    MbarrierArrive(columns_full(ring.index));
    ring.Advance(kNumSideBuffers);
  }

  OCTAVO_DEVICE void Gather(int thread) const {
    RingPosition columns_ring, side_ring;
    int32_t num_outliers = -1;
    ForTiles([&](int32_t first_row, int32_t first_col) {
      GatherColumns(columns_ring, OutCol(first_col), thread);
      if (num_outliers < 0) {  // the first tile's columns do not wait for the kernel in front
        WaitForPreviousKernel();
        num_outliers = *o.num_outlier_columns;
      }
      if (o.raw_acc != nullptr) return;
      const SidePlan plan = MakeSidePlan(o, num_outliers);
      for (int32_t i = 0; i < plan.chunks; ++i) {
        MbarrierWait(side_empty(side_ring.index), side_ring.parity ^ 1u);
        FillChunk<kGatherThreads>(o, plan.at(i), first_row, OutCol(first_col),
                                  side(side_ring.index), thread);
        MbarrierArrive(side_full(side_ring.index));
        side_ring.Advance(kNumSideBuffers);
      }
    });
  }

  // ---- The warp groups that multiply -----------------------------------------------------------

  OCTAVO_DEVICE void Release(int stage) const {
    if (LaneIdx() != 0) return;
    if (grid.cluster == 1) {
      MbarrierArrive(empty(stage));
    } else {
      for (int i = 0; i < grid.cluster; ++i)
        MbarrierArriveCluster(empty(stage), static_cast<uint32_t>(i));
    }
  }

  template <bool kSigned>
  OCTAVO_DEVICE void Multiply(int group, RingPosition& ring, int32_t (&acc)[kTileCols / 2]) const {
    int previous = 0;
    for (int32_t step = 0; step < steps; ++step) {
      MbarrierWait(full(ring.index), ring.parity);
      const uint64_t a = SmemDescriptor(x_stage(ring.index) + group * 64 * kStepBytes);
      const uint64_t b = SmemDescriptor(w_stage(ring.index));
      WgmmaFenceRegisters(acc);
      WgmmaFence();
      OCTAVO_UNROLL
      for (int k = 0; k < kStepBytes / kInstructionBytes; ++k) {
        const uint64_t offset = (k * kInstructionBytes) >> 4;
        WgmmaI8<kTileCols, kSigned>(acc, a + offset, b + offset, step > 0 || k > 0);
      }
      WgmmaCommit();
      WgmmaFenceRegisters(acc);
      if (step > 0) {
        WgmmaWait<1>();
        Release(previous);
      }
      previous = ring.index;
      ring.Advance(S::kStages);
    }
    WgmmaWait<0>();
    WgmmaFenceRegisters(acc);
    if (steps > 0) Release(previous);
  }

  // The sums of the columns that this block finishes: its own half of k and the other block's.
  OCTAVO_DEVICE void Exchange(int warp, const int32_t (&acc)[kTileCols / 2],
                              int32_t (&sum)[kOutCols / 2]) const {
    static_assert(kSplits <= 2);
    constexpr int kHalf = kOutCols / 2;  // of the accumulators, one for each block
    const auto slot = [&](int group) {
      const int index = group * kMultiplyingWarps + warp;
      return reinterpret_cast<Vec16*>(shared + S::kReceived) + index * 32 + LaneIdx();
    };
    OCTAVO_UNROLL
    for (int group = 0; group < kOutCols / 8; ++group) {
      int32_t words[4];
      OCTAVO_UNROLL
      for (int i = 0; i < 4; ++i)
        words[i] = rank == 0 ? acc[kHalf + 4 * group + i] : acc[4 * group + i];
      StoreCluster16(slot(group), static_cast<uint32_t>(1 - rank), words, received());
    }
    MbarrierWait(received(), 0);
    OCTAVO_UNROLL
    for (int group = 0; group < kOutCols / 8; ++group) {
      const Vec16 other = *slot(group);
      OCTAVO_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int32_t own = rank == 0 ? acc[4 * group + i] : acc[kHalf + 4 * group + i];
        sum[4 * group + i] = static_cast<int32_t>(static_cast<uint32_t>(own) + other.x[i]);
      }
    }
  }

  OCTAVO_DEVICE void Finish(int32_t num_outliers, int tile_row, int32_t first_row,
                            int32_t first_col, const RowOperands (&rows)[2],
                            const typename S::Columns& columns, RingPosition& side_ring,
                            const int32_t (&acc)[kOutCols / 2]) const {
    constexpr int kGroups = kOutCols / 8;
    if (o.raw_acc != nullptr) {
      StoreAcc<kGroups>(o, columns, rows, first_row, first_col, tile_row, 0, acc);
      return;
    }
    const SidePlan plan = MakeSidePlan(o, num_outliers);
    float value[kGroups][4];
    ScaleByRow(o, columns, rows, 0, acc, value);
    for (int32_t i = 0; i < plan.chunks; ++i) {
      if (i == plan.outlier_chunks) ScaleByColumn(columns, 0, value);
      MbarrierWait(side_full(side_ring.index), side_ring.parity);
      const SideChunk chunk = plan.at(i);
      AddChunk(side(side_ring.index), o.by_entry, chunk.half, tile_row, 0, value);
      MbarrierArrive(side_empty(side_ring.index));
      side_ring.Advance(kNumSideBuffers);
    }
    if (plan.outlier_chunks == plan.chunks) ScaleByColumn(columns, 0, value);
    AddBias(columns, 0, value);
    StoreOutput(o, first_row, first_col, tile_row, 0, value);
  }

  template <bool kSigned>
  OCTAVO_DEVICE void MultiplyTiles(int32_t num_outliers, int warp) const {
    RingPosition ring, columns_ring, side_ring;
    ForTiles([&](int32_t first_row, int32_t first_col) {
      int32_t acc[kTileCols / 2];
      OCTAVO_UNROLL
      for (int i = 0; i < kTileCols / 2; ++i) acc[i] = 0;
      const int32_t row = first_row + 16 * warp + LaneIdx() / 4;
      const RowOperands rows[2] = {LoadRow(o, row), LoadRow(o, row + 8)};  // long before their use
      Multiply<kSigned>(warp / 4, ring, acc);
      const auto finish = [&](const int32_t(&sum)[kOutCols / 2]) {
        MbarrierWait(columns_full(columns_ring.index), columns_ring.parity);
        Finish(num_outliers, 16 * warp, first_row, OutCol(first_col), rows,
               columns(columns_ring.index), side_ring, sum);
      };
      if constexpr (kSplits == 1) {
        finish(acc);
      } else {
        int32_t sum[kOutCols / 2];
        Exchange(warp, acc, sum);
        finish(sum);
      }
      MbarrierArrive(columns_empty(columns_ring.index));
      columns_ring.Advance(kNumSideBuffers);
    });
  }
};

template <int kTileCols, int kSplits, bool kSigned>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kThreads, 1)
    ProductWgmmaKernel(OCTAVO_GRID_CONSTANT const TensorMap x_map,
                       OCTAVO_GRID_CONSTANT const TensorMap w_map, ProductOperands o, Grid grid) {
  AllowNextKernel();
  const int warp = WarpIdx();
  const Block<kTileCols, kSplits> block(o, grid);
  if (warp == 0 && LaneIdx() == 0) {
    PrefetchTensorMap(&x_map);
    PrefetchTensorMap(&w_map);
    block.InitBarriers();
  }
  ClusterSync();
  if (warp < 4) {
    RegistersDecrease<kServingRegisters>();
    if (warp == 0) {
      if (LaneIdx() == 0) block.FillRing(&x_map, &w_map);
    } else {
      block.Gather(ThreadIdx() - 32);
    }
  } else {
    RegistersIncrease<kMultiplyingRegisters>();
    WaitForPreviousKernel();
    block.template MultiplyTiles<kSigned>(*o.num_outlier_columns, warp - 4);
  }
  WarpSync();
  // No block leaves while another one may still write to its shared memory.
  ClusterSync();
}

template <int kTileCols, int kSplits = 1>
CudaStatus Run(const ProductOperands& o, const WgmmaTile& tile, void* stream) {
  TensorMap x_map, w_map;
  const auto stride = static_cast<uint64_t>(o.code_stride);
  const int32_t x_rows = o.tokens < kTileRows ? (o.tokens + 7) / 8 * 8 : kTileRows;
  OCTAVO_RETURN_IF_FAILED(MakeTensorMap2D(&x_map, o.x_codes, stride,
                                          static_cast<uint64_t>(o.tokens), stride, kStepBytes,
                                          static_cast<uint32_t>(x_rows)));
  OCTAVO_RETURN_IF_FAILED(MakeTensorMap2D(&w_map, o.w_codes, stride,
                                          static_cast<uint64_t>(o.out_features), stride, kStepBytes,
                                          static_cast<uint32_t>(kTileCols / tile.cluster)));
  const int32_t row_tiles = (o.tokens - 1) / kTileRows + 1;
  const Grid grid{tile.cluster, (row_tiles - 1) / tile.cluster + 1,
                  (o.out_features - 1) / kTileCols + 1, x_rows};
  const auto kernel = o.symmetric ? ProductWgmmaKernel<kTileCols, kSplits, true>
                                  : ProductWgmmaKernel<kTileCols, kSplits, false>;
  LaunchConfig config;
  config.threads = kThreads;
  config.shared_bytes = Shape<kTileCols, kSplits>::kBytes;
  config.cluster = static_cast<uint32_t>(tile.cluster * kSplits);
  config.overlap = true;
  int32_t at_once = 0;
  OCTAVO_RETURN_IF_FAILED(MaxActiveClusters(config, kernel, &at_once));
  const int64_t tiles = int64_t{grid.row_groups} * grid.col_tiles;
  // Blocks that share a tile leave no room for another one's sums: they take one each.
  config.grid_x =
      static_cast<uint32_t>(tiles < at_once || kSplits > 1 ? tiles : at_once) * config.cluster;
  return Launch(config, stream, kernel, x_map, w_map, o, grid);
}

}  // namespace

CudaStatus LaunchProductWgmma(const ProductOperands& o, const WgmmaTile& tile, void* stream) {
  switch (10 * tile.tile_cols + tile.splits) {
    case 641:
      return Run<64>(o, tile, stream);
    case 642:
      return Run<64, 2>(o, tile, stream);
    case 961:
      return Run<96>(o, tile, stream);
    case 1281:
      return Run<128>(o, tile, stream);
    case 1282:
      return Run<128, 2>(o, tile, stream);
    case 1601:
      return Run<160>(o, tile, stream);
    case 1921:
      return Run<192>(o, tile, stream);
    case 2241:
      return Run<224>(o, tile, stream);
    default:
      return Run<256>(o, tile, stream);
  }
}

}  // namespace octavo::cuda
