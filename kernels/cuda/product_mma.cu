// The product by mma.sync, for every device from Turing on: tiles of 128 tokens by 128 output
// features, whose operands come through a ring of shared memory by cp.async.
//
// A line of shared memory is 64 bytes of k of one row. Its 16-byte chunks are swizzled, chunk c of
// row r at c ^ (r / 2 % 4), so that the 8 rows of an ldmatrix lie in different banks.
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/side_product.h"

namespace octavo::cuda {
namespace {

constexpr int kTileRows = 128;
constexpr int kTileCols = 128;
constexpr int kStepBytes = 64;
constexpr int kChunks = kStepBytes / 16;
constexpr int kStages = 3;
constexpr int kThreads = 256;
// Warps: 2 below each other, 4 side by side; each has 4 x 4 fragments of 16 x 8.
constexpr int kWarpRows = 64;
constexpr int kWarpCols = 32;
constexpr int kRowFragments = kWarpRows / 16;
constexpr int kGroups = kWarpCols / 8;
constexpr int32_t kBand = 8;  // tiles worked on together share operands in the L2 cache

constexpr int kXBytes = kTileRows * kStepBytes;
constexpr int kWBytes = kTileCols * kStepBytes;
constexpr int kStageBytes = kXBytes + kWBytes;
using Side = SideBuffer<kTileRows, kTileCols>;
using Columns = ColumnBuffer<kTileCols>;
constexpr int kSharedBytes = kStages * kStageBytes + Columns::kBytes;
static_assert(Side::kBytes <= kStages * kStageBytes);  // it takes the ring's place

OCTAVO_DEVICE int SwizzledOffset(int row, int chunk) {
  return row * kStepBytes + 16 * (chunk ^ (row / 2 % kChunks));
}

struct Tile {
  const ProductOperands& o;
  unsigned char* const shared;
  const int32_t first_row;
  const int32_t first_col;
  const int warp_row;  // in the tile
  const int warp_col;

  OCTAVO_DEVICE unsigned char* x_stage(int i) const { return shared + i * kStageBytes; }
  OCTAVO_DEVICE unsigned char* w_stage(int i) const { return x_stage(i) + kXBytes; }

  OCTAVO_DEVICE void LoadStage(int stage, int32_t step) const {
    static_assert(kTileRows == kTileCols);
    OCTAVO_UNROLL
    for (int i = 0; i < kTileRows * kChunks / kThreads; ++i) {
      const int index = ThreadIdx() + i * kThreads;
      const int row = index / kChunks, chunk = index % kChunks;
      const int64_t k = int64_t{step} * kStepBytes + 16 * chunk;
      const bool has_x = first_row + row < o.tokens, has_w = first_col + row < o.out_features;
      CpAsync16(x_stage(stage) + SwizzledOffset(row, chunk),
                o.x_codes + (has_x ? int64_t{first_row + row} * o.code_stride + k : 0), has_x);
      CpAsync16(w_stage(stage) + SwizzledOffset(row, chunk),
                o.w_codes + (has_w ? int64_t{first_col + row} * o.code_stride + k : 0), has_w);
    }
  }

  template <bool kSigned>
  OCTAVO_DEVICE void MultiplyStage(int stage, int32_t (&acc)[kRowFragments][4 * kGroups]) const {
    const int matrix = LaneIdx() / 8, line = LaneIdx() % 8;
    OCTAVO_UNROLL
    for (int half = 0; half < kStepBytes / 32; ++half) {
      uint32_t b[kGroups][2];
      OCTAVO_UNROLL
      for (int group = 0; group < kGroups; group += 2) {
        const int row = warp_col + 8 * (group + matrix / 2) + line;
        uint32_t both[4];
        LoadMatrix4(both, w_stage(stage) + SwizzledOffset(row, 2 * half + matrix % 2));
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) b[group + i / 2][i % 2] = both[i];
      }
      OCTAVO_UNROLL
      for (int fragment = 0; fragment < kRowFragments; ++fragment) {
        const int row = warp_row + 16 * fragment + 8 * (matrix % 2) + line;
        uint32_t a[4];
        LoadMatrix4(a, x_stage(stage) + SwizzledOffset(row, 2 * half + matrix / 2));
        OCTAVO_UNROLL
        for (int group = 0; group < kGroups; ++group) {
          int32_t d[4];
          OCTAVO_UNROLL
          for (int i = 0; i < 4; ++i) d[i] = acc[fragment][4 * group + i];
          MmaI8<kSigned>(d, a, b[group]);
          OCTAVO_UNROLL
          for (int i = 0; i < 4; ++i) acc[fragment][4 * group + i] = d[i];
        }
      }
    }
  }

  OCTAVO_DEVICE void Finish(const Columns& columns,
                            const int32_t (&acc)[kRowFragments][4 * kGroups]) const {
    RowOperands rows[kRowFragments][2];
    OCTAVO_UNROLL
    for (int fragment = 0; fragment < kRowFragments; ++fragment) {
      const int32_t row = first_row + warp_row + 16 * fragment + LaneIdx() / 4;
      rows[fragment][0] = LoadRow(o, row);
      rows[fragment][1] = LoadRow(o, row + 8);
    }
    const auto for_fragments = [](auto&& body) {
      OCTAVO_UNROLL
      for (int fragment = 0; fragment < kRowFragments; ++fragment) body(fragment);
    };
    if (o.raw_acc != nullptr) {
      for_fragments([&](int f) {
        StoreAcc<kGroups>(o, columns, rows[f], first_row, first_col, warp_row + 16 * f, warp_col,
                          acc[f]);
      });
      return;
    }
    float value[kRowFragments][kGroups][4];
    for_fragments([&](int f) { ScaleByRow(o, columns, rows[f], warp_col, acc[f], value[f]); });
    const SidePlan plan = MakeSidePlan(o, *o.num_outlier_columns);
    const Side side{shared};
    for (int32_t i = 0; i < plan.chunks; ++i) {
      if (i == plan.outlier_chunks)
        for_fragments([&](int f) { ScaleByColumn(columns, warp_col, value[f]); });
      const SideChunk chunk = plan.at(i);
      FillChunk<kThreads>(o, chunk, first_row, first_col, side, ThreadIdx());
      BlockSync();
      for_fragments([&](int f) {
        AddChunk(side, o.by_entry, chunk.half, warp_row + 16 * f, warp_col, value[f]);
      });
      BlockSync();
    }
    for_fragments([&](int f) {
      if (plan.outlier_chunks == plan.chunks) ScaleByColumn(columns, warp_col, value[f]);
      AddBias(columns, warp_col, value[f]);
      StoreOutput(o, first_row, first_col, warp_row + 16 * f, warp_col, value[f]);
    });
  }
};

template <bool kSigned>
OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kThreads, 1)
    ProductMmaKernel(ProductOperands o, int32_t row_tiles, int32_t col_tiles) {
  AllowNextKernel();
  const int32_t band = BlockX() / (kBand * col_tiles), within = BlockX() % (kBand * col_tiles);
  const int32_t left = row_tiles - band * kBand;
  const int32_t height = left < kBand ? left : kBand;
  const int warp = WarpIdx();
  const Tile tile{o,
                  SharedMemory(),
                  (band * kBand + within % height) * kTileRows,
                  within / height * kTileCols,
                  warp % 2 * kWarpRows,
                  warp / 2 * kWarpCols};
  const Columns columns{SharedMemory() + kStages * kStageBytes};
  WaitForPreviousKernel();
  FillColumns(o, tile.first_col, columns, ThreadIdx(), kThreads);

  const int32_t steps = o.code_stride / kStepBytes;
  OCTAVO_UNROLL
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < steps) tile.LoadStage(stage, stage);
    CpAsyncCommit();
  }
  int32_t acc[kRowFragments][4 * kGroups] = {};
  for (int32_t step = 0; step < steps; ++step) {
    CpAsyncWait<kStages - 2>();
    BlockSync();  // this step's operands are there, and nobody reads the stage before any more
    const int32_t ahead = step + kStages - 1;
    if (ahead < steps) tile.LoadStage(ahead % kStages, ahead);
    CpAsyncCommit();
    tile.template MultiplyStage<kSigned>(step % kStages, acc);
  }
  CpAsyncWait<0>();
  BlockSync();
  tile.Finish(columns, acc);
}

}  // namespace

CudaStatus LaunchProductMma(const ProductOperands& o, void* stream) {
  const int32_t row_tiles = (o.tokens - 1) / kTileRows + 1;
  const int32_t col_tiles = (o.out_features - 1) / kTileCols + 1;
  LaunchConfig config;
  config.grid_x = static_cast<uint32_t>(row_tiles) * static_cast<uint32_t>(col_tiles);
  config.threads = kThreads;
  config.shared_bytes = kSharedBytes;
  config.overlap = true;
  return o.symmetric ? Launch(config, stream, ProductMmaKernel<true>, o, row_tiles, col_tiles)
                     : Launch(config, stream, ProductMmaKernel<false>, o, row_tiles, col_tiles);
}

}  // namespace octavo::cuda
