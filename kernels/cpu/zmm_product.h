// The product in pieces that stay in the cache: vpdpbusd, outliers, kept columns, the epilogue, and
// the table of kernels around them. Layout: vnni16x4 (kernels/cpu/layout.cc). Needs AVX-512 VNNI
// and what zmm_elements.h needs.
//
// In an unnamed namespace on purpose, like ymm_common.h: each file that includes this compiles its
// own copy.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/fp_environment.h"
#include "kernels/cpu/zmm_elements.h"
#include "kernels/cpu/zmm_quantize.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

// ---- Memory of a product ----------------------------------------------------------------------

constexpr size_t kPieceRows = 64;  // a piece of the output, whose sums stay in the cache
constexpr size_t kPieceCols = 64;
constexpr size_t kGroups = kPieceCols / kLanes;
// 64 output features of this depth, 256 KiB, stay in the second-level cache while the rows pass.
constexpr size_t kDepth = 4096;
constexpr size_t kCodeStride = kDepth + 64;  // rows 4096 bytes apart would share a set of the cache

// Columns of X that are multiplied as floats, up to 64 at once.
struct Columns {
  size_t count = 0;
  bool alike = true;  // all rows have the same ones
  size_t next = 0;    // of outliers: the first column that was not looked at
  uint32_t index[kWord];
  uint64_t* members = nullptr;  // [rows] which of them are in the row's own set
  float* x = nullptr;           // [rows][x_stride]
  size_t x_stride = kWord;
};

// Of one thread, for a piece; rows are kPieceCols long unless said otherwise.
struct Scratch {
  uint8_t* shifted;  // [rows][kCodeStride]: symmetric codes, shifted by 128
  int32_t* acc;
  int64_t* long_acc;
  float* sums;     // outlier sums and kept columns
  float* weights;  // [kWord] rows: of Columns
  uint64_t* members;
  float* x;
};

// Takes pieces of memory one after the other, 64-byte aligned. With no memory it only counts.
struct Carver {
  unsigned char* base;
  size_t used = 0;

  template <class T>
  T* Take(size_t count) {
    T* piece = base == nullptr ? nullptr : reinterpret_cast<T*>(base + used);
    used += RoundUp(count * sizeof(T), 64);
    return piece;
  }
};

Scratch TakeScratch(Carver& carver, size_t rows) {
  Scratch scratch;
  scratch.shifted = carver.Take<uint8_t>(rows * kCodeStride);
  scratch.acc = carver.Take<int32_t>(rows * kPieceCols);
  scratch.long_acc = carver.Take<int64_t>(rows * kPieceCols);
  scratch.sums = carver.Take<float>(rows * kPieceCols);
  scratch.weights = carver.Take<float>(kWord * kPieceCols);
  scratch.members = carver.Take<uint64_t>(rows);
  scratch.x = carver.Take<float>(rows * kWord);
  return scratch;
}

Columns TakeColumns(Carver& carver, size_t rows) {
  Columns columns;
  columns.members = carver.Take<uint64_t>(rows);
  columns.x = carver.Take<float>(rows * kWord);
  return columns;
}

// Entries of X in the kept columns are widened once for a block.
inline size_t KeptStride(size_t num_kept) { return RoundUp(num_kept, kWord); }

// A product of one block.
struct Call {
  const QuantizedActivations& q;
  const LinearView& linear;
  const OutputView* y;  // null: acc is wanted
  int64_t* acc;         // [tokens][acc_stride]
  size_t acc_stride;
  Block block;
  Columns outliers;  // the first of the block's rows
  float* kept_x;     // [rows][KeptStride]

  bool is_signed() const { return q.options.activations == Activations::kSymmetric; }
};

inline size_t RowsOf(const Block& block) { return block.row_end - block.row_begin; }
inline size_t ColsOf(const Block& block) { return block.col_end - block.col_begin; }

// The lanes of group `c` of a piece that there are.
inline __mmask16 LanesOf(const Block& piece, size_t c) {
  const size_t cols = ColsOf(piece), begin = c * kLanes;
  return FirstLanes(cols > begin ? cols - begin : 0);
}

inline size_t GroupBytes(const LinearView& linear) {
  return RoundUp(linear.in_features, 64) * kLanes;
}

// Where the codes of 16 output features from `col` on, and input features from `k` on, stand.
inline const int8_t* PackedAt(const LinearView& linear, size_t col, size_t k) {
  return linear.codes + col / kLanes * GroupBytes(linear) + k * kLanes;
}

// ---- Outliers and kept columns ----------------------------------------------------------------

// out[j] = X[row][index[j]] as floats, for `count` columns and up to the next multiple of 16. `out`
// is 64-byte aligned.
template <class Index>
void GatherRow(const Elements& row, const Index* index, size_t count, float* out) {
  if (row.type == ElementType::kFloat32) {
    for (size_t j = 0; j < count; ++j)
      __builtin_memcpy(out + j, row.data + 4 * static_cast<size_t>(index[j]), 4);
    return;
  }
  uint16_t halves[kLanes] = {};
  for (size_t begin = 0; begin < count; begin += kLanes) {
    const size_t here = Smaller(kLanes, count - begin);
    for (size_t j = 0; j < here; ++j)
      __builtin_memcpy(halves + j, row.data + 2 * static_cast<size_t>(index[begin + j]), 2);
    const Elements gathered{reinterpret_cast<const unsigned char*>(halves), row.type};
    _mm512_store_ps(out + begin, Widen(gathered, 0, FirstLanes(kLanes)));
  }
}

// The outlier columns of rows [row_begin, row_end) from column `from`, a multiple of 64, on: as
// many whole words of the mask as fit.
void CollectOutliers(const QuantizedActivations& q, size_t row_begin, size_t row_end, size_t from,
                     Columns* columns) {
  const size_t rows = row_end - row_begin, words = WordsOf(q.x.in_features);
  const uint64_t* mask = q.outlier_mask + row_begin * q.mask_stride;
  columns->count = 0;
  columns->alike = q.mask_stride == 0;
  for (size_t r = 0; r < rows; ++r) columns->members[r] = 0;
  size_t w = from / kWord;
  for (; w < words; ++w) {
    uint64_t any = 0;
    for (size_t r = 0; r < (columns->alike ? 1 : rows); ++r) any |= mask[r * q.mask_stride + w];
    if (any == 0) continue;
    if (columns->count + static_cast<size_t>(__builtin_popcountll(any)) > kWord) break;
    for (; any != 0; any &= any - 1) {
      const size_t bit = static_cast<size_t>(__builtin_ctzll(any)), j = columns->count++;
      columns->index[j] = static_cast<uint32_t>(w * kWord + bit);
      for (size_t r = 0; r < rows; ++r)
        columns->members[r] |= (mask[r * q.mask_stride + w] >> bit & 1) << j;
    }
  }
  columns->next = w * kWord;
  if (columns->count == 0) return;
  for (size_t r = 0; r < rows; ++r) {
    GatherRow(RowOfX(q.x, row_begin + r), columns->index, columns->count,
              columns->x + r * columns->x_stride);
  }
}

void CollectKept(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                 float* kept_x) {
  if (linear.num_kept == 0) return;
  for (size_t m = block.row_begin; m < block.row_end; ++m, kept_x += KeptStride(linear.num_kept))
    GatherRow(RowOfX(q.x, m), linear.kept_index, linear.num_kept, kept_x);
}

// weights[j] = the codes of column index[j] less their zero point, as floats.
void GatherCodes(const LinearView& linear, const Block& piece, const Columns& columns,
                 float* weights) {
  for (size_t j = 0; j < columns.count; ++j) {
    const size_t k = columns.index[j];
    // Four input features stand in each lane; this one's byte goes to the top, then down again.
    const __m128i up = _mm_cvtsi32_si128(static_cast<int>(24 - 8 * (k % 4)));
    for (size_t c = 0; c < kGroups; ++c) {
      const __mmask16 lanes = LanesOf(piece, c);
      const size_t n = piece.col_begin + c * kLanes;
      __m512i codes = _mm512_setzero_si512();
      if (lanes != 0) codes = _mm512_loadu_si512(PackedAt(linear, n, k / 4 * 4));
      codes = _mm512_srai_epi32(_mm512_sll_epi32(codes, up), 24);
      if (linear.zero_point != nullptr)
        codes = _mm512_sub_epi32(codes, _mm512_maskz_loadu_epi32(lanes, linear.zero_point + n));
      _mm512_store_ps(weights + j * kPieceCols + c * kLanes, _mm512_cvtepi32_ps(codes));
    }
  }
}

// sums (or 0, where they start) += x[j] * weights[j] for each of the columns in `members`, in this
// order, for rows that all have the same ones; then times `a`, if there is one.
template <size_t kRows>
void AddColumns(const float* x, size_t x_stride, uint64_t members, const float* weights, bool start,
                const __m512* a, float* sums) {
  __m512 values[kRows][kGroups];
#pragma GCC unroll 4
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (size_t c = 0; c < kGroups; ++c) {
      values[r][c] =
          start ? _mm512_setzero_ps() : _mm512_load_ps(sums + r * kPieceCols + c * kLanes);
    }
  }
  for (uint64_t rest = members; rest != 0; rest &= rest - 1) {
    const size_t j = static_cast<size_t>(__builtin_ctzll(rest));
#pragma GCC unroll 4
    for (size_t c = 0; c < kGroups; ++c) {
      const __m512 weight = _mm512_load_ps(weights + j * kPieceCols + c * kLanes);
#pragma GCC unroll 4
      for (size_t r = 0; r < kRows; ++r)
        values[r][c] = _mm512_fmadd_ps(_mm512_set1_ps(x[r * x_stride + j]), weight, values[r][c]);
    }
  }
#pragma GCC unroll 4
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (size_t c = 0; c < kGroups; ++c) {
      if (a != nullptr) values[r][c] = _mm512_mul_ps(values[r][c], a[c]);
      _mm512_store_ps(sums + r * kPieceCols + c * kLanes, values[r][c]);
    }
  }
}

// The same for the rows of a piece, which begins `first` rows after the columns.
void AddColumns(const Columns& columns, size_t first, size_t rows, const float* weights, bool start,
                const __m512* a, float* sums) {
  const size_t stride = columns.x_stride;
  const float* x = columns.x + first * stride;
  const uint64_t* members = columns.members + first;
  size_t r = 0;
  for (; columns.alike && r + 4 <= rows; r += 4)
    AddColumns<4>(x + r * stride, stride, members[r], weights, start, a, sums + r * kPieceCols);
  for (; r < rows; ++r)
    AddColumns<1>(x + r * stride, stride, members[r], weights, start, a, sums + r * kPieceCols);
}

// scratch.sums of a piece: (the sum over each row's own outlier entries, by ascending column) * a,
// then the kept columns. Entries that are not in the row's own set are skipped, so that nothing in
// the block can change it. Null: there is nothing to add.
const float* SumFloats(const Call& call, const Block& piece, const Scratch& scratch) {
  const QuantizedActivations& q = call.q;
  const LinearView& linear = call.linear;
  const size_t rows = RowsOf(piece), first = piece.row_begin - call.block.row_begin;
  bool start = true;
  Columns own;
  own.members = scratch.members;
  own.x = scratch.x;

  __m512 a[kGroups];
  for (size_t c = 0; c < kGroups; ++c)
    a[c] =
        _mm512_maskz_loadu_ps(LanesOf(piece, c), linear.multiplier + piece.col_begin + c * kLanes);
  const bool at_once = call.outliers.next >= linear.in_features;
  for (size_t from = 0; from < linear.in_features;) {
    if (!at_once) CollectOutliers(q, piece.row_begin, piece.row_end, from, &own);
    const Columns& columns = at_once ? call.outliers : own;
    from = columns.next;
    if (columns.count == 0 && start) continue;
    GatherCodes(linear, piece, columns, scratch.weights);
    AddColumns(columns, at_once ? first : 0, rows, scratch.weights, start,
               from >= linear.in_features ? a : nullptr, scratch.sums);
    start = false;
  }

  own.alike = true;
  own.members = scratch.members;
  own.x_stride = KeptStride(linear.num_kept);
  const Elements kept{static_cast<const unsigned char*>(linear.kept_weight), linear.kept_type};
  for (size_t begin = 0; begin < linear.num_kept; begin += kWord) {
    own.count = Smaller(kWord, linear.num_kept - begin);
    own.x = call.kept_x + first * own.x_stride + begin;
    for (size_t r = 0; r < rows; ++r) scratch.members[r] = ~uint64_t{0} >> (kWord - own.count);
    for (size_t j = 0; j < own.count; ++j) {
      for (size_t c = 0; c < kGroups; ++c) {
        const size_t at = (begin + j) * linear.out_features + piece.col_begin + c * kLanes;
        _mm512_store_ps(scratch.weights + j * kPieceCols + c * kLanes,
                        Widen(kept, at, LanesOf(piece, c)));
      }
    }
    AddColumns(own, 0, rows, scratch.weights, start, nullptr, scratch.sums);
    start = false;
  }
  return start ? nullptr : scratch.sums;
}

// ---- Epilogue ---------------------------------------------------------------------------------
//
// A product leaves int32 sums of the codes as its instruction sees them. They are right modulo
// 2^32, and so is acc once shift and zero points are taken out of them; as acc fits int32 for
// kInt32Depth input features, it is exact. More of them, and zero points of the weights, take
// int64.

constexpr size_t kInt32Depth = 65536;  // 65536 * 255 * 128 < 2^31

inline bool NeedsInt64(const Call& call) {
  return call.y == nullptr || call.linear.zero_point != nullptr ||
         call.linear.in_features > kInt32Depth;
}

// What is to be taken out of a row's sums for each of the weights' codes.
inline int32_t ShiftOf(const Call& call, size_t m, int32_t symmetric_shift) {
  return call.is_signed() ? symmetric_shift : call.q.zero_point[m];
}

inline void ClearSums(size_t rows, int32_t* acc) {
  for (size_t i = 0; i < rows * kPieceCols; i += kLanes)
    _mm512_store_si512(acc + i, _mm512_setzero_si512());
}

// long_acc (or 0, where it starts) += acc.
void WidenSums(const int32_t* acc, size_t rows, bool start, int64_t* long_acc) {
  for (size_t i = 0; i < rows * kPieceCols; i += 8) {
    const __m512i sums =
        _mm512_cvtepi32_epi64(_mm256_load_si256(reinterpret_cast<const __m256i*>(acc + i)));
    const __m512i before = start ? _mm512_setzero_si512() : _mm512_load_si512(long_acc + i);
    _mm512_store_si512(long_acc + i, _mm512_add_epi64(before, sums));
  }
}

inline __m512i LoadInt32As64(const int32_t* values, __mmask8 lanes) {
  return _mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(lanes, values));
}

// long_acc = acc of docs/numerics.md, section 4: shift and zero points taken out.
void TakeOutZeroPoints(const Call& call, const Block& piece, int32_t symmetric_shift,
                       int64_t* long_acc) {
  const LinearView& linear = call.linear;
  const size_t cols = ColsOf(piece);
  for (size_t m = piece.row_begin; m < piece.row_end; ++m, long_acc += kPieceCols) {
    const int64_t z = call.q.zero_point[m];
    const __m512i shift = _mm512_set1_epi64(ShiftOf(call, m, symmetric_shift));
    const __m512i codes_less_z =
        _mm512_set1_epi64(call.q.code_sum[m] - z * static_cast<int64_t>(linear.in_features));
    for (size_t c = 0; c < cols; c += 8) {
      const __mmask8 lanes = static_cast<__mmask8>(FirstLanes(cols - c));
      const size_t n = piece.col_begin + c;
      __m512i value = _mm512_load_si512(long_acc + c);
      value = _mm512_sub_epi64(value,
                               _mm512_mul_epi32(shift, LoadInt32As64(linear.code_sum + n, lanes)));
      if (linear.zero_point != nullptr) {
        const __m512i zero_point = LoadInt32As64(linear.zero_point + n, lanes);
        value = _mm512_sub_epi64(value, _mm512_mul_epi32(codes_less_z, zero_point));
      }
      _mm512_store_si512(long_acc + c, value);
    }
  }
}

// Sixteen accumulators less shift * code_sum as floats, each rounded once.
inline __m512 ToFloats(const int32_t* acc, __m512i shift, __m512i code_sum) {
  const __m512i less = _mm512_mullo_epi32(shift, code_sum);
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_load_si512(acc), less));
}

inline __m512 ToFloats(const int64_t* acc, __m512i, __m512i) {
  const __m256 low = _mm512_cvtepi64_ps(_mm512_load_si512(acc));
  const __m256 high = _mm512_cvtepi64_ps(_mm512_load_si512(acc + 8));
  return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

// y of a piece from its accumulators, int32 as the product left them, or final int64.
template <class Acc>
void StoreOutputs(const Call& call, const Block& piece, const Acc* acc, int32_t symmetric_shift,
                  const float* sums) {
  const LinearView& linear = call.linear;
  const Elements bias{static_cast<const unsigned char*>(linear.bias), linear.bias_type};
  __mmask16 lanes[kGroups];
  __m512 a[kGroups], added[kGroups];
  __m512i code_sum[kGroups];
  for (size_t c = 0; c < kGroups; ++c) {
    const size_t n = piece.col_begin + c * kLanes;
    lanes[c] = LanesOf(piece, c);
    a[c] = _mm512_maskz_loadu_ps(lanes[c], linear.multiplier + n);
    code_sum[c] = _mm512_maskz_loadu_epi32(lanes[c], linear.code_sum + n);
    added[c] = _mm512_set1_ps(-0.0f);  // x + -0 is x
    if (linear.bias != nullptr) added[c] = Widen(bias, n, lanes[c]);
  }
  // Whole rows, so that a line of y is written at once.
  for (size_t r = 0; r < RowsOf(piece); ++r) {
    const size_t m = piece.row_begin + r;
    const __m512i shift = _mm512_set1_epi32(ShiftOf(call, m, symmetric_shift));
    const __m512 scale = _mm512_set1_ps(call.q.scale[m]);
#pragma GCC unroll 4
    for (size_t c = 0; c < kGroups; ++c) {
      const size_t at = r * kPieceCols + c * kLanes;
      __m512 value = _mm512_mul_ps(ToFloats(acc + at, shift, code_sum[c]), scale);
      value = _mm512_add_ps(_mm512_mul_ps(value, a[c]),
                            sums != nullptr ? _mm512_load_ps(sums + at) : _mm512_setzero_ps());
      Narrow(_mm512_add_ps(value, added[c]), *call.y,
             m * call.y->row_stride + piece.col_begin + c * kLanes, lanes[c]);
    }
  }
}

// The output of a piece from its accumulators: those in `acc`, or in scratch.long_acc where
// NeedsInt64. symmetric_shift: what the product adds to symmetric codes.
void FinishPiece(const Call& call, const Block& piece, const int32_t* acc, int32_t symmetric_shift,
                 const Scratch& scratch) {
  const bool is_long = NeedsInt64(call);
  if (is_long) TakeOutZeroPoints(call, piece, symmetric_shift, scratch.long_acc);
  if (call.y == nullptr) {
    for (size_t r = 0; r < RowsOf(piece); ++r) {
      __builtin_memcpy(call.acc + (piece.row_begin + r) * call.acc_stride + piece.col_begin,
                       scratch.long_acc + r * kPieceCols, ColsOf(piece) * sizeof(int64_t));
    }
    return;
  }
  const float* sums = SumFloats(call, piece, scratch);
  if (is_long) {
    StoreOutputs(call, piece, scratch.long_acc, symmetric_shift, sums);
  } else {
    StoreOutputs(call, piece, acc, symmetric_shift, sums);
  }
}

// ---- The product by vpdpbusd ------------------------------------------------------------------

constexpr size_t kTileRows = 6;
constexpr int32_t kVnniShift = 128;

// GCC would otherwise keep the lower half, which is used alone after the loop, beside the whole
// register within it, and has not enough registers for both.
inline void KeepWhole([[maybe_unused]] __m512i& sums) {
#if defined(__AVX512F__)  // not where a test emulates it
  asm("" : "+v"(sums));
#endif
}

// acc[r][c] += x[r] . w[c] over `depth` input features, a multiple of 4.
// Every loop over the tile is unrolled, so that its sums live in registers.
template <size_t kRows, size_t kCols>
void Tile(const uint8_t* x, size_t x_stride, const int8_t* w, size_t group_bytes, size_t depth,
          int32_t* acc) {
  __m512i sums[kRows][kCols];
#pragma GCC unroll 6
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (size_t c = 0; c < kCols; ++c)
      sums[r][c] = _mm512_load_si512(acc + r * kPieceCols + c * kLanes);
  }
  for (size_t k = 0; k < depth; k += 4) {
    __m512i weights[kCols];
#pragma GCC unroll 4
    for (size_t c = 0; c < kCols; ++c)
      weights[c] = _mm512_loadu_si512(w + c * group_bytes + k * kLanes);
#pragma GCC unroll 6
    for (size_t r = 0; r < kRows; ++r) {
      int32_t four;
      __builtin_memcpy(&four, x + r * x_stride + k, sizeof(four));
      const __m512i activations = _mm512_set1_epi32(four);
#pragma GCC unroll 4
      for (size_t c = 0; c < kCols; ++c)
        sums[r][c] = _mm512_dpbusd_epi32(sums[r][c], activations, weights[c]);
    }
  }
#pragma GCC unroll 6
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (size_t c = 0; c < kCols; ++c) {
      KeepWhole(sums[r][c]);
      _mm512_store_si512(acc + r * kPieceCols + c * kLanes, sums[r][c]);
    }
  }
}

using TileFunction = void (*)(const uint8_t*, size_t, const int8_t*, size_t, size_t, int32_t*);

template <size_t kCols>
constexpr TileFunction kTilesOf[kTileRows] = {Tile<1, kCols>, Tile<2, kCols>, Tile<3, kCols>,
                                              Tile<4, kCols>, Tile<5, kCols>, Tile<6, kCols>};

TileFunction TileFor(size_t rows, size_t groups) {
  constexpr const TileFunction* kTiles[kGroups] = {kTilesOf<1>, kTilesOf<2>, kTilesOf<3>,
                                                   kTilesOf<4>};
  return kTiles[groups - 1][rows - 1];
}

// Rows of a tile: all tiles of a piece alike as far as possible, as the small ones are slow.
inline size_t TileRows(size_t rows) {
  const size_t tiles = (rows + kTileRows - 1) / kTileRows;
  return (rows + tiles - 1) / tiles;
}

// Symmetric codes of the piece's rows, shifted to unsigned.
void ShiftCodes(const QuantizedActivations& q, const Block& piece, size_t begin, size_t depth,
                uint8_t* out) {
  const __m512i sign = _mm512_set1_epi8(INT8_MIN);
  for (size_t m = piece.row_begin; m < piece.row_end; ++m, out += kCodeStride) {
    const uint8_t* codes = q.codes + m * q.code_stride + begin;
    for (size_t k = 0; k < depth; k += 64)
      _mm512_storeu_si512(out + k, _mm512_xor_si512(_mm512_loadu_si512(codes + k), sign));
  }
}

// A piece of the output, of at most kPieceRows by kPieceCols.
void MultiplyPiece(const Call& call, const Block& piece, const Scratch& scratch) {
  const QuantizedActivations& q = call.q;
  const size_t rows = RowsOf(piece), groups = (ColsOf(piece) + kLanes - 1) / kLanes;
  const size_t padded = RoundUp(call.linear.in_features, 64);
  const size_t group_bytes = GroupBytes(call.linear);
  const size_t tile_rows = TileRows(rows);
  const bool is_long = NeedsInt64(call);
  ClearSums(rows, scratch.acc);
  if (is_long) WidenSums(scratch.acc, rows, true, scratch.long_acc);
  for (size_t begin = 0; begin < padded; begin += kDepth) {
    const size_t depth = Smaller(kDepth, padded - begin);
    const uint8_t* x = q.codes + piece.row_begin * q.code_stride + begin;
    size_t stride = q.code_stride;
    if (call.is_signed()) {
      ShiftCodes(q, piece, begin, depth, scratch.shifted);
      x = scratch.shifted;
      stride = kCodeStride;
    }
    const int8_t* w = PackedAt(call.linear, piece.col_begin, begin);
    for (size_t r = 0; r < rows; r += tile_rows) {
      TileFor(Smaller(tile_rows, rows - r), groups)(x + r * stride, stride, w, group_bytes, depth,
                                                    scratch.acc + r * kPieceCols);
    }
    const size_t end = begin + depth;
    if (is_long && (end == padded || end % kInt32Depth == 0)) {
      WidenSums(scratch.acc, rows, false, scratch.long_acc);
      ClearSums(rows, scratch.acc);
    }
  }
  FinishPiece(call, piece, scratch.acc, kVnniShift, scratch);
}

// ---- Blocks and the table ---------------------------------------------------------------------
//
// A file gives its instruction set as a type `Isa`, and makes its table with ZmmKernels<Isa>:
//   WaitingSums(rows, cols, in_features)   int32 that Multiply needs beside a Scratch
//   Multiply(call, memory)                 all pieces of the call's block

struct Memory {
  Scratch scratch;
  Columns outliers;
  float* kept_x;
  int32_t* waiting;
  size_t bytes;
};

Memory Carve(void* memory, size_t rows, size_t num_kept, size_t waiting_sums) {
  Carver carver{static_cast<unsigned char*>(memory)};
  const Scratch scratch = TakeScratch(carver, Smaller(rows, kPieceRows));
  const Columns outliers = TakeColumns(carver, rows);
  float* kept_x = carver.Take<float>(rows * KeptStride(num_kept));
  int32_t* waiting = carver.Take<int32_t>(waiting_sums);
  return {scratch, outliers, kept_x, waiting, carver.used};
}

template <class Isa>
size_t BlockScratchBytes(size_t block_rows, size_t block_cols, size_t in_features,
                         size_t num_kept) {
  const size_t waiting = Isa::WaitingSums(block_rows, block_cols, in_features);
  return Carve(nullptr, block_rows, num_kept, waiting).bytes;
}

template <class Isa>
void RunBlock(const QuantizedActivations& q, const LinearView& linear, const OutputView* y,
              const Block& block, int64_t* acc, size_t acc_stride, void* scratch) {
  const FpEnvironment environment;
  const size_t waiting = Isa::WaitingSums(RowsOf(block), ColsOf(block), linear.in_features);
  const Memory memory = Carve(scratch, RowsOf(block), linear.num_kept, waiting);
  Call call{q, linear, y, acc, acc_stride, block, memory.outliers, memory.kept_x};
  CollectOutliers(q, block.row_begin, block.row_end, 0, &call.outliers);
  CollectKept(q, linear, block, memory.kept_x);
  Isa::Multiply(call, memory);
}

template <class Isa>
void MultiplyBlock(const QuantizedActivations& q, const LinearView& linear, const OutputView& y,
                   const Block& block, void* scratch) {
  RunBlock<Isa>(q, linear, &y, block, nullptr, 0, scratch);
}

template <class Isa>
void AccumulateBlock(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                     int64_t* acc, size_t acc_stride, void* scratch) {
  RunBlock<Isa>(q, linear, nullptr, block, acc, acc_stride, scratch);
}

template <class Isa>
constexpr CpuKernels ZmmKernels(const char* name, decltype(CpuKernels::block_shape) block_shape) {
  return {
      .name = name,
      .layout = WeightLayout::kVnni16x4,
      .weight_range = RangeOfWeights,
      .encode_symmetric = EncodeSymmetric<ZmmWords>,
      .encode_measured = weights16::EncodeMeasured,
      .encode_zeropoint = EncodeZeropoint<ZmmWords>,
      .find_outliers = FindOutliers<ZmmWords>,
      .row_ranges = RowRanges<ZmmWords>,
      .encode_rows = EncodeRows<ZmmWords>,
      .block_shape = block_shape,
      .block_scratch_bytes = BlockScratchBytes<Isa>,
      .multiply_block = MultiplyBlock<Isa>,
      .accumulate_block = AccumulateBlock<Isa>,
  };
}

}  // namespace
}  // namespace octavo::kernels
