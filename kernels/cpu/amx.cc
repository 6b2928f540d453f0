// AMX-INT8, with AVX-512 VNNI for few rows and for the epilogue.
//
// A tile is 16 rows of 64 bytes. One instruction multiplies 16 rows by 64 input features of X with
// 64 input features by 16 output features of weights, which the packed layout has in one piece. It
// takes signed and unsigned activations alike, so nothing is shifted.
//
// What limits it is loading tiles from the second-level cache. So 48 rows by 32 output features,
// six accumulators, go through the input features at once; a block's rows, at most 1 MiB of codes,
// stay in that cache while the weights stream past.
#include "kernels/cpu/tables.h"
#include "kernels/cpu/tile_config.h"
#include "kernels/cpu/zmm_product.h"

namespace octavo::kernels {
namespace {

constexpr size_t kTileRow = 64;  // bytes: codes of a row, or int32 sums of 16 output features
constexpr size_t kTileHeight = 16;
constexpr size_t kBandRows = 3 * kTileHeight;
constexpr size_t kFewRows = 4;  // up to here vpdpbusd is as fast
constexpr size_t kBlockRows = 6 * kBandRows;
constexpr size_t kBlockCols = 256;
constexpr size_t kBlockBytes = size_t{1} << 20;  // of codes of X

// ---- Tiles ------------------------------------------------------------------------------------

// Rows of X that go through the tiles together, at most kBandRows. All tiles have as many rows, so
// the last two may overlap: what both have is multiplied twice, to the same sums.
struct Band {
  size_t rows = 0, tiles = 0, tile_rows = 0;

  explicit Band(size_t rows_in)
      : rows(rows_in),
        tiles((rows + kTileHeight - 1) / kTileHeight),
        tile_rows((rows + tiles - 1) / tiles) {}

  size_t row_of(size_t tile) const { return Smaller(tile * tile_rows, rows - tile_rows); }
};

// Which tiles hold weights, by the number of row tiles: see MultiplyOneRowTile and those behind it.
constexpr bool IsWeights(size_t row_tiles, size_t tile) {
  return row_tiles == 1 ? tile >= 5 : row_tiles == 2 ? tile >= 6 : tile == 6;
}

void Configure(const Band& band) {
  TileConfig config;
  for (size_t tile = 0; tile < kNumTiles; ++tile) {
    if (!IsWeights(band.tiles, tile)) config.rows[tile] = static_cast<uint8_t>(band.tile_rows);
  }
  LoadTileConfig(config);
}

// The operands of the tiles of one band and up to 64 output features.
struct Operands {
  const uint8_t* x[3];  // the first row of each row tile
  size_t x_stride;
  const int8_t* w;  // [group][depth / 4][16][4]
  size_t group_bytes;
  size_t depth;
  int32_t* acc[3];  // rows of kPieceCols
  bool resume;      // the sums go on from acc
  // Weights that come next, to be fetched into the second-level cache; this band's lines of each
  // 2 KiB. Null: none.
  const int8_t* next;
  size_t next_begin, next_end;
};

// The intrinsics want their tiles as literals.
template <int kTile>
inline void LoadTile(const void* from, size_t stride) {
  if constexpr (kTile == 0) _tile_loadd(0, from, stride);
  if constexpr (kTile == 1) _tile_loadd(1, from, stride);
  if constexpr (kTile == 2) _tile_loadd(2, from, stride);
  if constexpr (kTile == 3) _tile_loadd(3, from, stride);
  if constexpr (kTile == 4) _tile_loadd(4, from, stride);
  if constexpr (kTile == 5) _tile_loadd(5, from, stride);
  if constexpr (kTile == 6) _tile_loadd(6, from, stride);
  if constexpr (kTile == 7) _tile_loadd(7, from, stride);
}

template <int kTile>
inline void ClearTile() {
  if constexpr (kTile == 0) _tile_zero(0);
  if constexpr (kTile == 1) _tile_zero(1);
  if constexpr (kTile == 2) _tile_zero(2);
  if constexpr (kTile == 3) _tile_zero(3);
  if constexpr (kTile == 4) _tile_zero(4);
  if constexpr (kTile == 5) _tile_zero(5);
}

template <int kTile>
inline void StoreTile(void* to, size_t stride) {
  if constexpr (kTile == 0) _tile_stored(0, to, stride);
  if constexpr (kTile == 1) _tile_stored(1, to, stride);
  if constexpr (kTile == 2) _tile_stored(2, to, stride);
  if constexpr (kTile == 3) _tile_stored(3, to, stride);
  if constexpr (kTile == 4) _tile_stored(4, to, stride);
  if constexpr (kTile == 5) _tile_stored(5, to, stride);
}

// The tile of the sums of a row tile by a group; one row tile has four groups, two and three have
// two.
constexpr int SumsTile(int row_tiles, int row_tile, int group) {
  return row_tiles == 1 ? group : 2 * row_tile + group;
}

constexpr size_t kSumsStride = kPieceCols * sizeof(int32_t);

template <int kRowTiles, int kGroupsHere, int kSums = 0>
inline void BeginSums(const Operands& o) {
  if constexpr (kSums < kRowTiles * kGroupsHere) {
    constexpr int kRowTile = kSums / kGroupsHere, kGroup = kSums % kGroupsHere;
    constexpr int kTile = SumsTile(kRowTiles, kRowTile, kGroup);
    if (o.resume) {
      LoadTile<kTile>(o.acc[kRowTile] + kGroup * kLanes, kSumsStride);
    } else {
      ClearTile<kTile>();
    }
    BeginSums<kRowTiles, kGroupsHere, kSums + 1>(o);
  }
}

template <int kRowTiles, int kGroupsHere, int kSums = 0>
inline void EndSums(const Operands& o) {
  if constexpr (kSums < kRowTiles * kGroupsHere) {
    constexpr int kRowTile = kSums / kGroupsHere, kGroup = kSums % kGroupsHere;
    constexpr int kTile = SumsTile(kRowTiles, kRowTile, kGroup);
    StoreTile<kTile>(o.acc[kRowTile] + kGroup * kLanes, kSumsStride);
    EndSums<kRowTiles, kGroupsHere, kSums + 1>(o);
  }
}

#define OCTAVO_DOT(sums, x, w) \
  if constexpr (kSigned) {     \
    _tile_dpbssd(sums, x, w);  \
  } else {                     \
    _tile_dpbusd(sums, x, w);  \
  }

inline void FetchNext(const Operands& o, size_t k) {
  if (o.next == nullptr) return;
  for (size_t line = o.next_begin; line < o.next_end; ++line) {
    const int8_t* tile = o.next + line / kTileHeight * o.group_bytes + k * kTileHeight;
    _mm_prefetch(reinterpret_cast<const char*>(tile + line % kTileHeight * kTileRow), _MM_HINT_T1);
  }
}

// Up to four groups of output features: sums in tiles 0 to 3, X in 4, weights in 5 to 7.
template <bool kSigned, int kGroupsHere>
void MultiplyOneRowTile(const Operands& o) {
  BeginSums<1, kGroupsHere>(o);
  for (size_t k = 0; k < o.depth; k += kTileRow) {
    const int8_t* w = o.w + k * kTileHeight;
    LoadTile<4>(o.x[0] + k, o.x_stride);
    LoadTile<5>(w, kTileRow);
    OCTAVO_DOT(0, 4, 5)
    if constexpr (kGroupsHere > 1) {
      LoadTile<6>(w + o.group_bytes, kTileRow);
      OCTAVO_DOT(1, 4, 6)
    }
    if constexpr (kGroupsHere > 2) {
      LoadTile<7>(w + 2 * o.group_bytes, kTileRow);
      OCTAVO_DOT(2, 4, 7)
    }
    if constexpr (kGroupsHere > 3) {
      LoadTile<5>(w + 3 * o.group_bytes, kTileRow);
      OCTAVO_DOT(3, 4, 5)
    }
  }
  EndSums<1, kGroupsHere>(o);
}

// Up to two groups: sums in tiles 0 to 3, X in 4 and 5, weights in 6 and 7.
template <bool kSigned, int kGroupsHere>
void MultiplyTwoRowTiles(const Operands& o) {
  BeginSums<2, kGroupsHere>(o);
  for (size_t k = 0; k < o.depth; k += kTileRow) {
    const int8_t* w = o.w + k * kTileHeight;
    LoadTile<6>(w, kTileRow);
    LoadTile<4>(o.x[0] + k, o.x_stride);
    OCTAVO_DOT(0, 4, 6)
    LoadTile<5>(o.x[1] + k, o.x_stride);
    OCTAVO_DOT(2, 5, 6)
    if constexpr (kGroupsHere > 1) {
      LoadTile<7>(w + o.group_bytes, kTileRow);
      OCTAVO_DOT(1, 4, 7)
      OCTAVO_DOT(3, 5, 7)
    }
    FetchNext(o, k);
  }
  EndSums<2, kGroupsHere>(o);
}

// Up to two groups: sums in tiles 0 to 5, weights in 6, X in 7, which is loaded for each group: the
// second time it comes from the first-level cache.
template <bool kSigned, int kGroupsHere>
void MultiplyThreeRowTiles(const Operands& o) {
  BeginSums<3, kGroupsHere>(o);
  for (size_t k = 0; k < o.depth; k += kTileRow) {
    const int8_t* w = o.w + k * kTileHeight;
    LoadTile<6>(w, kTileRow);
    LoadTile<7>(o.x[0] + k, o.x_stride);
    OCTAVO_DOT(0, 7, 6)
    LoadTile<7>(o.x[1] + k, o.x_stride);
    OCTAVO_DOT(2, 7, 6)
    LoadTile<7>(o.x[2] + k, o.x_stride);
    OCTAVO_DOT(4, 7, 6)
    if constexpr (kGroupsHere > 1) {
      LoadTile<6>(w + o.group_bytes, kTileRow);
      LoadTile<7>(o.x[0] + k, o.x_stride);
      OCTAVO_DOT(1, 7, 6)
      LoadTile<7>(o.x[1] + k, o.x_stride);
      OCTAVO_DOT(3, 7, 6)
      LoadTile<7>(o.x[2] + k, o.x_stride);
      OCTAVO_DOT(5, 7, 6)
    }
    FetchNext(o, k);
  }
  EndSums<3, kGroupsHere>(o);
}

#undef OCTAVO_DOT

using TilesFunction = void (*)(const Operands&);

template <bool kSigned>
TilesFunction TilesFor(size_t row_tiles, size_t groups) {
  constexpr TilesFunction kTiles[3][kGroups] = {
      {MultiplyOneRowTile<kSigned, 1>, MultiplyOneRowTile<kSigned, 2>,
       MultiplyOneRowTile<kSigned, 3>, MultiplyOneRowTile<kSigned, 4>},
      {MultiplyTwoRowTiles<kSigned, 1>, MultiplyTwoRowTiles<kSigned, 2>},
      {MultiplyThreeRowTiles<kSigned, 1>, MultiplyThreeRowTiles<kSigned, 2>}};
  return kTiles[row_tiles - 1][groups - 1];
}

// ---- Blocks -----------------------------------------------------------------------------------

// Deeper products are cut, and their sums wait in the second-level cache.
inline bool IsCut(size_t in_features) { return in_features > kDepth; }

// Blocks as large as the caches want, smaller where some threads would have none.
BlockShape ShapeOfBlocks(size_t tokens, size_t in_features, size_t out_features, size_t threads) {
  if (tokens <= kFewRows) return {};
  const size_t depth = Smaller(RoundUp(in_features, kTileRow), kDepth);
  const size_t most = Smaller(kBlockRows, depth == 0 ? kBlockRows : kBlockBytes / depth);
  const size_t row_blocks = (tokens + most - 1) / most;
  BlockShape shape;
  shape.rows = RoundUp((tokens + row_blocks - 1) / row_blocks, kTileHeight);
  shape.cols = kBlockCols;
  shape.along_rows = true;
  constexpr size_t kPerThread = 4;
  while (shape.cols > kPieceCols && row_blocks * (out_features / shape.cols) < kPerThread * threads)
    shape.cols /= 2;
  return shape;
}

size_t BandsOf(size_t rows) { return (rows + kBandRows - 1) / kBandRows; }

// All pieces of a block by vpdpbusd.
void MultiplyPieces(const Call& call, const Scratch& scratch) {
  const Block& block = call.block;
  for (size_t row = block.row_begin; row < block.row_end; row += kPieceRows) {
    for (size_t col = block.col_begin; col < block.col_end; col += kPieceCols) {
      const Block piece{row, Smaller(block.row_end, row + kPieceRows), col,
                        Smaller(block.col_end, col + kPieceCols)};
      MultiplyPiece(call, piece, scratch);
    }
  }
}

// Tiles of a band by the output features of a piece, over input features [begin, begin + depth).
void MultiplyBand(const Call& call, const Band& band, const Block& piece, size_t begin,
                  size_t depth, size_t band_idx, size_t bands, int32_t* acc) {
  const LinearView& linear = call.linear;
  const size_t groups = (ColsOf(piece) + kLanes - 1) / kLanes;
  const size_t at_once = band.tiles == 1 ? kGroups : 2;
  Operands o{};
  o.x_stride = call.q.code_stride;
  o.group_bytes = GroupBytes(linear);
  o.depth = depth;
  o.resume = begin != 0;
  o.next_begin = 2 * kTileHeight * band_idx / bands;
  o.next_end = 2 * kTileHeight * (band_idx + 1) / bands;
  for (size_t tile = 0; tile < band.tiles; ++tile)
    o.x[tile] = call.q.codes + (piece.row_begin + band.row_of(tile)) * o.x_stride + begin;
  const size_t next_col = piece.col_begin + kPieceCols;
  for (size_t group = 0; group < groups; group += at_once) {
    const size_t col = group * kLanes;
    o.w = PackedAt(linear, piece.col_begin + col, begin);
    const bool has_next = next_col + col + 2 * kLanes <= linear.out_features;
    o.next = has_next ? PackedAt(linear, next_col + col, begin) : nullptr;
    for (size_t tile = 0; tile < band.tiles; ++tile)
      o.acc[tile] = acc + band.row_of(tile) * kPieceCols + col;
    const size_t groups_here = Smaller(at_once, groups - group);
    (call.is_signed() ? TilesFor<true> : TilesFor<false>)(band.tiles, groups_here)(o);
  }
}

// All pieces of a block by tiles.
void MultiplyBands(const Call& call, const Memory& memory) {
  const Block& block = call.block;
  const size_t padded = RoundUp(call.linear.in_features, kTileRow);
  const size_t bands = BandsOf(RowsOf(block)), band_rows = (RowsOf(block) + bands - 1) / bands;
  size_t tiles = 0, tile_rows = 0;  // as configured
  for (size_t begin = 0; begin < padded; begin += kDepth) {
    const size_t depth = Smaller(kDepth, padded - begin);
    size_t piece_idx = 0;
    for (size_t col = block.col_begin; col < block.col_end; col += kPieceCols) {
      for (size_t i = 0; i < bands; ++i, ++piece_idx) {
        const size_t row = block.row_begin + i * band_rows;
        const Band band(Smaller(band_rows, block.row_end - row));
        const Block piece{row, row + band.rows, col, Smaller(block.col_end, col + kPieceCols)};
        if (band.tiles != tiles || band.tile_rows != tile_rows) Configure(band);
        tiles = band.tiles;
        tile_rows = band.tile_rows;
        int32_t* acc = memory.scratch.acc;
        if (IsCut(call.linear.in_features))
          acc = memory.waiting + piece_idx * kBandRows * kPieceCols;
        MultiplyBand(call, band, piece, begin, depth, i, bands, acc);
        if (begin + depth < padded) continue;
        if (NeedsInt64(call)) WidenSums(acc, band.rows, true, memory.scratch.long_acc);
        FinishPiece(call, piece, acc, 0, memory.scratch);
      }
    }
  }
  _tile_release();
}

struct Amx {
  // Of a product that is cut: [piece][kBandRows][kPieceCols].
  static size_t WaitingSums(size_t rows, size_t cols, size_t in_features) {
    if (!IsCut(in_features)) return 0;
    return BandsOf(rows) * ((cols + kPieceCols - 1) / kPieceCols) * kBandRows * kPieceCols;
  }

  static void Multiply(const Call& call, const Memory& memory) {
    const size_t in_features = call.linear.in_features;
    if (RowsOf(call.block) <= kFewRows || in_features == 0 || in_features > kInt32Depth) {
      MultiplyPieces(call, memory.scratch);
    } else {
      MultiplyBands(call, memory);
    }
  }
};

}  // namespace

constinit const CpuKernels kAmxKernels = ZmmKernels<Amx>("amx", ShapeOfBlocks);

}  // namespace octavo::kernels
