// AVX-512 VNNI: F, BW, DQ, VL and VNNI. Layout: vnni16x4 (kernels/cpu/layout.cc).
//
// vpdpbusd multiplies unsigned by signed bytes, four products to an int32 lane: activations are the
// unsigned side (symmetric codes are shifted by 128, which the epilogue takes back with the sums of
// the weights' codes), sixteen output features stand side by side in a register. A tile is 6 rows
// by 64 output features: 24 accumulators, 4 weight registers, 1 broadcast, of 32. The packed
// weights of a block (64 output features by 4096 input features, 256 KiB) stay in the second-level
// cache while the rows pass.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/fp_environment.h"
#include "kernels/cpu/tables.h"
#include "kernels/cpu/weights16.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

constexpr size_t kLanes = 16;  // floats, or output features, in a register
constexpr size_t kWord = 64;   // entries of one mask word
constexpr int32_t kInfinityBits = 0x7f800000;

inline size_t Smaller(size_t a, size_t b) { return a < b ? a : b; }
inline size_t RoundUp(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// The first `count` lanes; all of them from 16 on.
inline __mmask16 FirstLanes(size_t count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xffffu : (1u << count) - 1u);
}

// ---- Elements ---------------------------------------------------------------------------------

struct Elements {  // maybe unaligned
  const unsigned char* data;
  ElementType type;
};

// Elements [i, i + 16) as floats, exactly; lanes outside of `lanes` are 0 and not read.
inline __m512 Widen(const Elements& source, size_t i, __mmask16 lanes) {
  if (source.type == ElementType::kFloat32)
    return _mm512_maskz_loadu_ps(lanes, source.data + 4 * i);
  const __m256i bits = _mm256_maskz_loadu_epi16(lanes, source.data + 2 * i);
  if (source.type == ElementType::kFloat16) return _mm512_cvtph_ps(bits);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

inline float WidenOne(const Elements& source, size_t i) {
  return _mm512_cvtss_f32(Widen(source, i, 1));
}

// The one rounding, to nearest even.
inline void Narrow(__m512 values, const OutputView& y, size_t offset, __mmask16 lanes) {
  if (y.type == ElementType::kFloat32) {
    _mm512_mask_storeu_ps(static_cast<float*>(y.data) + offset, lanes, values);
    return;
  }
  uint16_t* out = static_cast<uint16_t*>(y.data) + offset;
  if (y.type == ElementType::kFloat16) {
    const __m256i half = _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_mask_storeu_epi16(out, lanes, half);
    return;
  }
  const __m512i bits = _mm512_castps_si512(values);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __m512i result = _mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16);
  _mm256_mask_storeu_epi16(out, lanes, _mm512_cvtepi32_epi16(result));
}

// ---- Ranges and codes of floats ---------------------------------------------------------------

inline __m512i Magnitude(__m512 values) {
  return _mm512_and_si512(_mm512_castps_si512(values), _mm512_set1_epi32(0x7fffffff));
}

// hi and -lo as bits of non-negative floats, whose order as integers is that of the floats.
struct Range {
  __m512i hi = _mm512_setzero_si512();
  __m512i minus_lo = _mm512_setzero_si512();

  void Add(__m512 values) {
    const __m512i bits = _mm512_castps_si512(values);
    hi = _mm512_max_epi32(hi, bits);
    minus_lo = _mm512_max_epi32(minus_lo, _mm512_xor_si512(bits, _mm512_set1_epi32(INT32_MIN)));
  }
  float hi_value() const { return __builtin_bit_cast(float, _mm512_reduce_max_epi32(hi)); }
  float lo_value() const { return -__builtin_bit_cast(float, _mm512_reduce_max_epi32(minus_lo)); }
};

struct CodeGrid {
  __m512 inverse_step, zero_point, smallest, largest;
  __m512i offset;  // subtracted from the code when it is stored
};

CodeGrid SymmetricGrid(float stored_absmax) {
  const float inverse_step = stored_absmax > 0.0f ? 127.0f * (1.0f / stored_absmax) : 0.0f;
  return {_mm512_set1_ps(inverse_step), _mm512_setzero_ps(), _mm512_set1_ps(-127.0f),
          _mm512_set1_ps(127.0f), _mm512_setzero_si512()};
}

CodeGrid AsymmetricGrid(const ZeropointGrid& grid, int32_t offset) {
  return {_mm512_set1_ps(grid.inverse_step), _mm512_set1_ps(static_cast<float>(grid.zero_point)),
          _mm512_setzero_ps(), _mm512_set1_ps(255.0f), _mm512_set1_epi32(offset)};
}

// clamp(rne(values * inverse_step) + zero_point), before the offset is subtracted.
inline __m512i Encode(__m512 values, const CodeGrid& grid) {
  const __m512 scaled = _mm512_mul_ps(values, grid.inverse_step);
  __m512 code = _mm512_roundscale_ps(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  code = _mm512_add_ps(code, grid.zero_point);
  code = _mm512_min_ps(_mm512_max_ps(code, grid.smallest), grid.largest);
  return _mm512_cvtps_epi32(code);
}

// ---- Weights ----------------------------------------------------------------------------------

WeightRange RangeOfWeights(const void* row, ElementType type, size_t in_features) {
  const FpEnvironment environment;
  WeightRange result;
  if (type != ElementType::kFloat32 && weights16::FiniteRange(row, type, in_features, &result)) {
    return result;
  }
  const Elements source{static_cast<const unsigned char*>(row), type};
  const __m512i infinity = _mm512_set1_epi32(kInfinityBits);
  Range range;
  for (size_t i = 0; i < in_features; i += kLanes) {
    __m512 values = Widen(source, i, FirstLanes(in_features - i));
    const __m512i magnitude = Magnitude(values);
    const __mmask16 non_finite = _mm512_cmpge_epi32_mask(magnitude, infinity);
    if (non_finite != 0) {
      const size_t first = i + static_cast<size_t>(__builtin_ctz(non_finite));
      result.first_non_finite = Smaller(result.first_non_finite, first);
      values = _mm512_maskz_mov_ps(_mm512_cmple_epi32_mask(magnitude, infinity), values);
    }
    range.Add(values);
  }
  result.lo = range.lo_value();
  result.hi = range.hi_value();
  return result;
}

int32_t EncodeWeights(const void* row, ElementType type, size_t in_features, const CodeGrid& grid,
                      int8_t* codes) {
  const Elements source{static_cast<const unsigned char*>(row), type};
  __m512i sum = _mm512_setzero_si512();
  for (size_t i = 0; i < in_features; i += kLanes) {
    const __mmask16 lanes = FirstLanes(in_features - i);
    const __m512i code = _mm512_sub_epi32(Encode(Widen(source, i, lanes), grid), grid.offset);
    sum = _mm512_mask_add_epi32(sum, lanes, sum, code);
    _mm512_mask_cvtepi32_storeu_epi8(codes + i, lanes, code);
  }
  return _mm512_reduce_add_epi32(sum);
}

int32_t EncodeSymmetric(const void* row, ElementType type, size_t in_features, float absmax,
                        int8_t* codes) {
  const FpEnvironment environment;
  PinToEnvironment(absmax);
  return EncodeWeights(row, type, in_features, SymmetricGrid(absmax), codes);
}

int32_t EncodeZeropoint(const void* row, ElementType type, size_t in_features, ZeropointGrid grid,
                        int8_t* codes) {
  const FpEnvironment environment;
  return EncodeWeights(row, type, in_features, AsymmetricGrid(grid, 128), codes);
}

// ---- Activations ------------------------------------------------------------------------------

size_t WordsOf(size_t in_features) { return (in_features + kWord - 1) / kWord; }

Elements RowOfX(const ActivationView& x, size_t m) {
  const size_t element_bytes = x.type == ElementType::kFloat32 ? 4 : 2;
  return {static_cast<const unsigned char*>(x.data) + m * x.row_stride * element_bytes, x.type};
}

inline __m512 RoundToHalf(__m512 values) {
  return _mm512_cvtph_ps(_mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

// One row of X as detection and quantization see it, a mask word at a time.
struct RowReader {
  Elements row;
  size_t in_features;
  __m512i limit;  // magnitude bits from which an entry is an outlier entry
  bool via_fp16;

  RowReader(const ActivationView& x, const ActivationOptions& options, size_t m)
      : row(RowOfX(x, m)), in_features(x.in_features), via_fp16(options.via_fp16) {
    __m512 threshold = _mm512_set1_ps(options.threshold);
    if (via_fp16) threshold = RoundToHalf(threshold);
    const __m512i bits = Magnitude(threshold);
    const __mmask16 some = _mm512_test_epi32_mask(bits, bits);
    limit = _mm512_mask_mov_epi32(_mm512_set1_epi32(kInfinityBits), some, bits);
  }

  size_t count(size_t word) const { return Smaller(kWord, in_features - word * kWord); }

  // Widens the entries of a word with those in `exclude` and the outlier entries set to 0; returns
  // the latter. Lanes beyond the row are 0.
  uint64_t Read(size_t word, uint64_t exclude, __m512 (&values)[4]) const {
    uint64_t outliers = 0;
    const size_t n = count(word);
    for (size_t part = 0; part < 4; ++part) {
      const size_t begin = part * kLanes;
      const __mmask16 lanes = begin < n ? FirstLanes(n - begin) : __mmask16{0};
      __m512 value = Widen(row, word * kWord + begin, lanes);
      if (via_fp16) value = RoundToHalf(value);
      const __mmask16 outlier = _mm512_cmpge_epi32_mask(Magnitude(value), limit);
      const __mmask16 out =
          static_cast<__mmask16>(outlier | static_cast<__mmask16>(exclude >> begin));
      values[part] = _mm512_maskz_mov_ps(static_cast<__mmask16>(~out), value);
      outliers |= static_cast<uint64_t>(outlier) << begin;
    }
    return outliers;
  }
};

void FindOutliers(const ActivationView& x, const ActivationOptions& options, size_t row_begin,
                  size_t row_end, uint64_t* mask) {
  const FpEnvironment environment;
  __m512 values[4];
  for (size_t m = row_begin; m < row_end; ++m) {
    const RowReader reader(x, options, m);
    for (size_t w = 0; w < WordsOf(x.in_features); ++w) mask[w] |= reader.Read(w, 0, values);
  }
}

void RowRanges(const ActivationView& x, const ActivationOptions& options, const uint64_t* exclude,
               size_t row_begin, size_t row_end, float* lo, float* hi) {
  const FpEnvironment environment;
  __m512 values[4];
  for (size_t m = row_begin; m < row_end; ++m) {
    const RowReader reader(x, options, m);
    Range range;
    for (size_t w = 0; w < WordsOf(x.in_features); ++w) {
      reader.Read(w, exclude[w], values);  // the zeros it leaves do not change the range
      for (const __m512 value : values) range.Add(value);
    }
    lo[m] = range.lo_value();
    hi[m] = range.hi_value();
  }
}

// The grid of a row's codes, with s and z.
CodeGrid GridOfRow(Activations activations, float lo, float hi, float* scale, int32_t* zero_point) {
  if (activations == Activations::kSymmetric) {
    const float absmax = StoredAbsmax(hi > -lo ? hi : -lo);
    *scale = absmax / 127.0f;
    *zero_point = 0;
    return SymmetricGrid(absmax);
  }
  const ZeropointGrid grid = MakeZeropointGrid(lo, hi);
  *scale = grid.step;
  *zero_point = grid.zero_point;
  return AsymmetricGrid(grid, 0);
}

void EncodeRows(const ActivationView& x, const ActivationOptions& options, const uint64_t* exclude,
                const float* lo, const float* hi, size_t row_begin, size_t row_end, uint8_t* codes,
                size_t code_stride, float* scale, int32_t* zero_point, int32_t* code_sum,
                uint64_t* outlier_mask, size_t mask_stride) {
  const FpEnvironment environment;
  __m512 values[4];
  for (size_t m = row_begin; m < row_end; ++m) {
    const RowReader reader(x, options, m);
    const CodeGrid grid = GridOfRow(options.activations, lo[m], hi[m], &scale[m], &zero_point[m]);
    uint8_t* row_codes = codes + m * code_stride;
    __m512i sum = _mm512_setzero_si512();
    for (size_t w = 0; w < WordsOf(x.in_features); ++w) {
      const uint64_t outliers = reader.Read(w, exclude[w], values);
      const size_t n = reader.count(w);
      for (size_t part = 0; part < 4; ++part) {
        const size_t begin = part * kLanes;
        const __mmask16 lanes = begin < n ? FirstLanes(n - begin) : __mmask16{0};
        const __m512i code = _mm512_maskz_mov_epi32(lanes, Encode(values[part], grid));
        sum = _mm512_add_epi32(sum, code);
        // Rows have a multiple of 64 bytes: what lies beyond in_features is written as 0.
        _mm_storeu_si128(reinterpret_cast<__m128i*>(row_codes + w * kWord + begin),
                         _mm512_cvtepi32_epi8(code));
      }
      if (options.scope == Scope::kToken)
        outlier_mask[m * mask_stride + w] = outliers & ~exclude[w];
    }
    code_sum[m] = _mm512_reduce_add_epi32(sum);
  }
}

// ---- The int8 product -------------------------------------------------------------------------

constexpr size_t kBlockCols = 64;  // the most output features of a block
constexpr size_t kGroups = kBlockCols / kLanes;
constexpr size_t kDepth =
    4096;  // input features between two int64 additions: 4096 * 255 * 128 < 2^31
constexpr size_t kTileRows = 6;

// Pieces of the scratch memory of one block; rows are kBlockCols or kDepth long.
struct Scratch {
  uint8_t* x;       // [rows][kDepth]: symmetric codes, shifted by 128
  int64_t* acc;     // [rows][kBlockCols]
  float* sums;      // [rows][kBlockCols]: outlier sums
  float* gathered;  // [kWord][kBlockCols]: weights of outlier columns
  size_t bytes;
};

Scratch Carve(void* memory, size_t rows) {
  unsigned char* base = static_cast<unsigned char*>(memory);
  const size_t x = 0;
  const size_t acc = x + rows * kDepth;
  const size_t sums = acc + rows * kBlockCols * sizeof(int64_t);
  const size_t gathered = sums + rows * kBlockCols * sizeof(float);
  const size_t bytes = gathered + kWord * kBlockCols * sizeof(float);
  if (base == nullptr) return {nullptr, nullptr, nullptr, nullptr, bytes};
  return {base + x, reinterpret_cast<int64_t*>(base + acc), reinterpret_cast<float*>(base + sums),
          reinterpret_cast<float*>(base + gathered), bytes};
}

size_t BlockScratchBytes(size_t block_rows, size_t, size_t, size_t) {
  return Carve(nullptr, block_rows).bytes;
}

// Where the codes of 16 output features from `col` on, and input features from `k` on, stand.
const int8_t* PackedAt(const LinearView& linear, size_t col, size_t k) {
  const size_t group_bytes = RoundUp(linear.in_features, 64) * kLanes;
  return linear.codes + col / kLanes * group_bytes + k * kLanes;
}

// acc += sums, 16 of them. Requires: acc aligned to 64 bytes.
inline void AddSums(__m512i sums, int64_t* acc) {
  const __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(sums));
  const __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(sums, 1));
  _mm512_store_si512(acc, _mm512_add_epi64(_mm512_load_si512(acc), low));
  _mm512_store_si512(acc + 8, _mm512_add_epi64(_mm512_load_si512(acc + 8), high));
}

// GCC would otherwise keep the lower half, which is used alone after the loop, beside the whole
// register within it, and has not enough registers for both.
inline void KeepWhole(__m512i& sums) { asm("" : "+v"(sums)); }

// acc[r][c] += x[r] . w[c] over `depth` input features, a multiple of 4.
// Every loop over the tile is unrolled, so that its sums live in registers.
template <size_t kRows, size_t kCols>
void Tile(const uint8_t* x, size_t x_stride, const int8_t* w, size_t group_bytes, size_t depth,
          int64_t* acc) {
  __m512i sums[kRows][kCols];
#pragma GCC unroll 6
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (size_t c = 0; c < kCols; ++c) sums[r][c] = _mm512_setzero_si512();
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
    for (size_t c = 0; c < kCols; ++c) KeepWhole(sums[r][c]);
  }
#pragma GCC unroll 6
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (size_t c = 0; c < kCols; ++c) AddSums(sums[r][c], acc + r * kBlockCols + c * kLanes);
  }
}

using TileFunction = void (*)(const uint8_t*, size_t, const int8_t*, size_t, size_t, int64_t*);

template <size_t kCols>
constexpr TileFunction kTilesOf[kTileRows] = {Tile<1, kCols>, Tile<2, kCols>, Tile<3, kCols>,
                                              Tile<4, kCols>, Tile<5, kCols>, Tile<6, kCols>};

TileFunction TileFor(size_t rows, size_t groups) {
  constexpr const TileFunction* kTiles[kGroups] = {kTilesOf<1>, kTilesOf<2>, kTilesOf<3>,
                                                   kTilesOf<4>};
  return kTiles[groups - 1][rows - 1];
}

// Rows of a tile: all tiles of a block alike as far as possible, as the small ones are slow.
inline size_t TileRows(size_t rows) {
  const size_t tiles = (rows + kTileRows - 1) / kTileRows;
  return (rows + tiles - 1) / tiles;
}

// Symmetric codes of the block's rows, shifted to unsigned.
void ShiftCodes(const QuantizedActivations& q, const Block& block, size_t begin, size_t depth,
                uint8_t* out) {
  const __m512i sign = _mm512_set1_epi8(INT8_MIN);
  for (size_t m = block.row_begin; m < block.row_end; ++m, out += kDepth) {
    const uint8_t* codes = q.codes + m * q.code_stride + begin;
    for (size_t k = 0; k < depth; k += 64) {
      const __m512i shifted = _mm512_xor_si512(_mm512_loadu_si512(codes + k), sign);
      _mm512_storeu_si512(out + k, shifted);
    }
  }
}

// scratch.acc = the sums of products of the codes as vpdpbusd sees them.
void MultiplyCodes(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                   const Scratch& scratch) {
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  const size_t groups = (cols + kLanes - 1) / kLanes, tile_rows = TileRows(rows);
  const size_t padded = RoundUp(linear.in_features, 64), group_bytes = padded * kLanes;
  const bool is_signed = q.options.activations == Activations::kSymmetric;
  for (size_t i = 0; i < rows * kBlockCols; i += 8)
    _mm512_store_si512(scratch.acc + i, _mm512_setzero_si512());
  for (size_t begin = 0; begin < padded; begin += kDepth) {
    const size_t depth = Smaller(kDepth, padded - begin);
    const uint8_t* x = q.codes + block.row_begin * q.code_stride + begin;
    size_t stride = q.code_stride;
    if (is_signed) {
      ShiftCodes(q, block, begin, depth, scratch.x);
      x = scratch.x;
      stride = kDepth;
    }
    const int8_t* w = PackedAt(linear, block.col_begin, begin);
    for (size_t r = 0; r < rows; r += tile_rows) {
      TileFor(Smaller(tile_rows, rows - r), groups)(x + r * stride, stride, w, group_bytes, depth,
                                                    scratch.acc + r * kBlockCols);
    }
  }
}

inline __m512i LoadInt32As64(const int32_t* values, __mmask8 lanes) {
  return _mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(lanes, values));
}

// scratch.acc = acc of docs/numerics.md, section 4: shift and zero points taken out.
void MultiplyExactly(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                     const Scratch& scratch) {
  MultiplyCodes(q, linear, block, scratch);
  const size_t cols = block.col_end - block.col_begin;
  const bool is_signed = q.options.activations == Activations::kSymmetric;
  for (size_t m = block.row_begin; m < block.row_end; ++m) {
    int64_t* acc = scratch.acc + (m - block.row_begin) * kBlockCols;
    const int64_t z = q.zero_point[m];
    const __m512i shift = _mm512_set1_epi64(is_signed ? 128 : z);
    const __m512i codes_less_z =
        _mm512_set1_epi64(q.code_sum[m] - z * static_cast<int64_t>(linear.in_features));
    for (size_t c = 0; c < cols; c += 8) {
      const __mmask8 lanes = static_cast<__mmask8>(FirstLanes(cols - c));
      const size_t n = block.col_begin + c;
      __m512i value = _mm512_load_si512(acc + c);
      value = _mm512_sub_epi64(value,
                               _mm512_mul_epi32(shift, LoadInt32As64(linear.code_sum + n, lanes)));
      if (linear.zero_point != nullptr) {
        const __m512i zero_point = LoadInt32As64(linear.zero_point + n, lanes);
        value = _mm512_sub_epi64(value, _mm512_mul_epi32(codes_less_z, zero_point));
      }
      _mm512_store_si512(acc + c, value);
    }
  }
}

// ---- Outliers, kept columns, epilogue ---------------------------------------------------------

// gathered[bit] = the weight codes of the columns in `columns` (a word of the mask), less their
// zero point, as floats.
void GatherColumns(const LinearView& linear, const Block& block, size_t word, uint64_t columns,
                   float* gathered) {
  const size_t cols = block.col_end - block.col_begin;
  for (uint64_t rest = columns; rest != 0; rest &= rest - 1) {
    const size_t bit = static_cast<size_t>(__builtin_ctzll(rest)), k = word * kWord + bit;
    for (size_t c = 0; c < cols; c += kLanes) {
      const size_t n = block.col_begin + c;
      // Four input features stand in each lane; this one's byte goes to the top, then down again.
      const __m512i fours = _mm512_loadu_si512(PackedAt(linear, n, k / 4 * 4));
      const __m128i up = _mm_cvtsi32_si128(static_cast<int>(24 - 8 * (k % 4)));
      __m512i codes = _mm512_srai_epi32(_mm512_sll_epi32(fours, up), 24);
      if (linear.zero_point != nullptr) {
        const __mmask16 lanes = FirstLanes(cols - c);
        codes = _mm512_sub_epi32(codes, _mm512_maskz_loadu_epi32(lanes, linear.zero_point + n));
      }
      _mm512_store_ps(gathered + bit * kBlockCols + c, _mm512_cvtepi32_ps(codes));
    }
  }
}

// sums[c] += x * w[c] for a block's columns.
inline void AddProduct(float x, const float* w, size_t cols, float* sums) {
  const __m512 factor = _mm512_set1_ps(x);
  for (size_t c = 0; c < cols; c += kLanes) {
    _mm512_store_ps(sums + c,
                    _mm512_fmadd_ps(factor, _mm512_load_ps(w + c), _mm512_load_ps(sums + c)));
  }
}

// scratch.sums = (sum over the row's own outlier entries, by ascending column) * a. Entries that
// are not in the row's own set are skipped, so that nothing in the block can change it.
void SumOutliers(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                 const Scratch& scratch) {
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  for (size_t i = 0; i < rows * kBlockCols; i += kLanes)
    _mm512_store_ps(scratch.sums + i, _mm512_setzero_ps());
  bool any = false;
  for (size_t w = 0; w < WordsOf(linear.in_features); ++w) {
    uint64_t columns = 0;
    for (size_t m = block.row_begin; m < block.row_end; ++m)
      columns |= q.outlier_mask[m * q.mask_stride + w];
    if (columns == 0) continue;
    any = true;
    GatherColumns(linear, block, w, columns, scratch.gathered);
    for (size_t r = 0; r < rows; ++r) {
      const Elements x = RowOfX(q.x, block.row_begin + r);
      for (uint64_t rest = q.outlier_mask[(block.row_begin + r) * q.mask_stride + w]; rest != 0;
           rest &= rest - 1) {
        const size_t bit = static_cast<size_t>(__builtin_ctzll(rest));
        AddProduct(WidenOne(x, w * kWord + bit), scratch.gathered + bit * kBlockCols, cols,
                   scratch.sums + r * kBlockCols);
      }
    }
  }
  if (!any) return;
  for (size_t c = 0; c < cols; c += kLanes) {
    const __m512 a =
        _mm512_maskz_loadu_ps(FirstLanes(cols - c), linear.multiplier + block.col_begin + c);
    for (size_t r = 0; r < rows; ++r) {
      float* sums = scratch.sums + r * kBlockCols + c;
      _mm512_store_ps(sums, _mm512_mul_ps(_mm512_load_ps(sums), a));
    }
  }
}

void AddKeptColumns(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                    const Scratch& scratch) {
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  const Elements weights{static_cast<const unsigned char*>(linear.kept_weight), linear.kept_type};
  for (size_t j = 0; j < linear.num_kept; ++j) {
    for (size_t c = 0; c < cols; c += kLanes) {
      _mm512_store_ps(
          scratch.gathered + c,
          Widen(weights, j * linear.out_features + block.col_begin + c, FirstLanes(cols - c)));
    }
    for (size_t r = 0; r < rows; ++r) {
      const float x =
          WidenOne(RowOfX(q.x, block.row_begin + r), static_cast<size_t>(linear.kept_index[j]));
      AddProduct(x, scratch.gathered, cols, scratch.sums + r * kBlockCols);
    }
  }
}

// Sixteen accumulators as floats, each rounded once.
inline __m512 ToFloats(const int64_t* acc) {
  const __m256 low = _mm512_cvtepi64_ps(_mm512_load_si512(acc));
  const __m256 high = _mm512_cvtepi64_ps(_mm512_load_si512(acc + 8));
  return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

void MultiplyBlock(const QuantizedActivations& q, const LinearView& linear, const OutputView& y,
                   const Block& block, void* memory) {
  const FpEnvironment environment;
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  const Scratch scratch = Carve(memory, rows);
  MultiplyExactly(q, linear, block, scratch);
  SumOutliers(q, linear, block, scratch);
  AddKeptColumns(q, linear, block, scratch);
  const Elements bias{static_cast<const unsigned char*>(linear.bias), linear.bias_type};
  for (size_t c = 0; c < cols; c += kLanes) {
    const __mmask16 lanes = FirstLanes(cols - c);
    const size_t n = block.col_begin + c;
    const __m512 a = _mm512_maskz_loadu_ps(lanes, linear.multiplier + n);
    const __m512 added =
        linear.bias != nullptr ? Widen(bias, n, lanes) : _mm512_set1_ps(-0.0f);  // x + -0 is x
    for (size_t r = 0; r < rows; ++r) {
      const size_t m = block.row_begin + r;
      __m512 value =
          _mm512_mul_ps(ToFloats(scratch.acc + r * kBlockCols + c), _mm512_set1_ps(q.scale[m]));
      value =
          _mm512_add_ps(_mm512_mul_ps(value, a), _mm512_load_ps(scratch.sums + r * kBlockCols + c));
      Narrow(_mm512_add_ps(value, added), y, m * y.row_stride + n, lanes);
    }
  }
}

void AccumulateBlock(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                     int64_t* acc, size_t acc_stride, void* memory) {
  const FpEnvironment environment;
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  const Scratch scratch = Carve(memory, rows);
  MultiplyExactly(q, linear, block, scratch);
  for (size_t r = 0; r < rows; ++r) {
    __builtin_memcpy(acc + (block.row_begin + r) * acc_stride + block.col_begin,
                     scratch.acc + r * kBlockCols, cols * sizeof(int64_t));
  }
}

}  // namespace

constinit const CpuKernels kAvx512VnniKernels = {
    .name = "avx512vnni",
    .layout = WeightLayout::kVnni16x4,
    .weight_range = RangeOfWeights,
    .encode_symmetric = EncodeSymmetric,
    .encode_measured = weights16::EncodeMeasured,
    .encode_zeropoint = EncodeZeropoint,
    .find_outliers = FindOutliers,
    .row_ranges = RowRanges,
    .encode_rows = EncodeRows,
    .block_scratch_bytes = BlockScratchBytes,
    .multiply_block = MultiplyBlock,
    .accumulate_block = AccumulateBlock,
};

}  // namespace octavo::kernels
