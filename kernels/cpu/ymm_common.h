// What the files of 256-bit instruction sets share: everything but the dot product. Layout:
// vnni16x4 (kernels/cpu/layout.cc). Needs AVX2, FMA and F16C.
//
// In an unnamed namespace on purpose: each file that includes this compiles its own copy with its
// own flags, and none of it can be picked by the linker for another file.
//
// A file gives its instruction set as a type `Isa`, and makes its table with YmmKernels<Isa>:
//   Code           element of the activations' copy: uint8_t or int16_t
//   kFeatures      output features whose sums stand in one register: 8 or 4
//   kEights        output features of a tile, in eights, for three rows and more
//   kFewEights     the same for one and two rows
//   kShift         what PrepareCodes adds to symmetric codes
//   PrepareCodes(codes, count, is_signed, out)   count: a multiple of 64
//   Weights(packed)          kFeatures * 4 codes as Dot wants them
//   Four(codes)              four codes of a row, in every lane
//   Dot(sums, four, weights) sums plus the products, exactly
//   Eight(sums)              the int32 sums of 8 output features, from 8 / kFeatures registers
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/fp_environment.h"
#include "kernels/cpu/row_loops.h"
#include "kernels/cpu/weights16.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

constexpr size_t kLanes = 8;  // floats in a register

inline __m256i LaneNumbers() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }

// All bits of the first `count` lanes; of all lanes from 8 on.
inline __m256i FirstLanes(size_t count) {
  const int n = static_cast<int>(Smaller(count, kLanes));
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), LaneNumbers());
}

// All bits of the lanes whose bit is set.
inline __m256i LanesOf(uint64_t bits) {
  const __m256i each = _mm256_sllv_epi32(_mm256_set1_epi32(1), LaneNumbers());
  const __m256i all = _mm256_set1_epi32(static_cast<int>(bits & 0xff));
  return _mm256_cmpeq_epi32(_mm256_and_si256(all, each), each);
}

inline __m256i Load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void Store(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

// ---- Elements ---------------------------------------------------------------------------------

// Elements [i, i + 8) as floats, exactly; those from `count` on are 0 and not read.
inline __m256 Widen(const Elements& source, size_t i, size_t count) {
  if (source.type == ElementType::kFloat32) {
    const float* from = reinterpret_cast<const float*>(source.data + 4 * i);
    return count >= kLanes ? _mm256_loadu_ps(from) : _mm256_maskload_ps(from, FirstLanes(count));
  }
  const unsigned char* from = source.data + 2 * i;
  __m128i bits = _mm_setzero_si128();
  if (count >= kLanes) {
    bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  } else {
    __builtin_memcpy(&bits, from, 2 * count);
  }
  if (source.type == ElementType::kFloat16) return _mm256_cvtph_ps(bits);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

inline float WidenOne(const Elements& source, size_t i) {
  return _mm256_cvtss_f32(Widen(source, i, 1));
}

// The upper halves of floats, rounded to nearest even: bf16.
inline __m128i RoundToBFloat16(__m256 values) {
  const __m256i bits = _mm256_castps_si256(values);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i result = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(result), _mm256_extracti128_si256(result, 1));
}

// The one rounding, to nearest even, of the first `count` values.
inline void Narrow(__m256 values, const OutputView& y, size_t offset, size_t count) {
  if (y.type == ElementType::kFloat32) {
    float* out = static_cast<float*>(y.data) + offset;
    count >= kLanes ? _mm256_storeu_ps(out, values)
                    : _mm256_maskstore_ps(out, FirstLanes(count), values);
    return;
  }
  const __m128i bits = y.type == ElementType::kFloat16
                           ? _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
                           : RoundToBFloat16(values);
  uint16_t* out = static_cast<uint16_t*>(y.data) + offset;
  if (count >= kLanes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bits);
  } else {
    __builtin_memcpy(out, &bits, 2 * count);
  }
}

// ---- Ranges and codes of floats ---------------------------------------------------------------

inline __m256i Magnitude(__m256 values) {
  return _mm256_and_si256(_mm256_castps_si256(values), _mm256_set1_epi32(0x7fffffff));
}

inline int32_t Largest(__m256i values) {
  __m128i v = _mm_max_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
  v = _mm_max_epi32(v, _mm_shuffle_epi32(v, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(v, _mm_shuffle_epi32(v, 0xb1)));
}

inline int32_t Sum(__m256i values) {
  __m128i v = _mm_add_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
  v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1)));
}

// hi and -lo as bits of non-negative floats, whose order as integers is that of the floats.
struct Range {
  __m256i hi = _mm256_setzero_si256();
  __m256i minus_lo = _mm256_setzero_si256();

  void Add(__m256 values) {
    const __m256i bits = _mm256_castps_si256(values);
    hi = _mm256_max_epi32(hi, bits);
    minus_lo = _mm256_max_epi32(minus_lo, _mm256_xor_si256(bits, _mm256_set1_epi32(INT32_MIN)));
  }
  float hi_value() const { return __builtin_bit_cast(float, Largest(hi)); }
  float lo_value() const { return -__builtin_bit_cast(float, Largest(minus_lo)); }
};

struct CodeGrid {
  __m256 inverse_step, zero_point, smallest, largest;
  __m256i offset;  // subtracted from the code when it is stored
};

CodeGrid SymmetricGrid(float stored_absmax) {
  const float inverse_step = stored_absmax > 0.0f ? 127.0f * (1.0f / stored_absmax) : 0.0f;
  return {_mm256_set1_ps(inverse_step), _mm256_setzero_ps(), _mm256_set1_ps(-127.0f),
          _mm256_set1_ps(127.0f), _mm256_setzero_si256()};
}

CodeGrid AsymmetricGrid(const ZeropointGrid& grid, int32_t offset) {
  return {_mm256_set1_ps(grid.inverse_step), _mm256_set1_ps(static_cast<float>(grid.zero_point)),
          _mm256_setzero_ps(), _mm256_set1_ps(255.0f), _mm256_set1_epi32(offset)};
}

// clamp(rne(values * inverse_step) + zero_point), before the offset is subtracted.
inline __m256i Encode(__m256 values, const CodeGrid& grid) {
  const __m256 scaled = _mm256_mul_ps(values, grid.inverse_step);
  __m256 code = _mm256_round_ps(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  code = _mm256_add_ps(code, grid.zero_point);
  code = _mm256_min_ps(_mm256_max_ps(code, grid.smallest), grid.largest);
  return _mm256_cvtps_epi32(code);
}

// The lowest byte of each lane, side by side.
inline int64_t LowBytes(__m256i codes) {
  const __m256i pattern = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
  const __m256i bytes = _mm256_shuffle_epi8(codes, pattern);
  return _mm_cvtsi128_si64(
      _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)));
}

// ---- Weights ----------------------------------------------------------------------------------

WeightRange RangeOfWeights(const void* row, ElementType type, size_t in_features) {
  const FpEnvironment environment;
  WeightRange result;
  if (type != ElementType::kFloat32 && weights16::FiniteRange(row, type, in_features, &result)) {
    return result;
  }
  const Elements source{static_cast<const unsigned char*>(row), type};
  const __m256i largest_finite = _mm256_set1_epi32(kInfinityBits - 1);
  const __m256i infinity = _mm256_set1_epi32(kInfinityBits);
  Range range;
  for (size_t i = 0; i < in_features; i += kLanes) {
    __m256 values = Widen(source, i, in_features - i);
    const __m256i magnitude = Magnitude(values);
    const __m256i non_finite = _mm256_cmpgt_epi32(magnitude, largest_finite);
    const int found = _mm256_movemask_ps(_mm256_castsi256_ps(non_finite));
    if (found != 0) {
      const size_t first = i + static_cast<size_t>(__builtin_ctz(static_cast<unsigned>(found)));
      result.first_non_finite = Smaller(result.first_non_finite, first);
      const __m256i nan = _mm256_cmpgt_epi32(magnitude, infinity);
      values = _mm256_andnot_ps(_mm256_castsi256_ps(nan), values);
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
  __m256i sum = _mm256_setzero_si256();
  for (size_t i = 0; i < in_features; i += kLanes) {
    const size_t count = Smaller(kLanes, in_features - i);
    const __m256i code = _mm256_sub_epi32(Encode(Widen(source, i, count), grid), grid.offset);
    sum = _mm256_add_epi32(sum, _mm256_and_si256(code, FirstLanes(count)));
    const int64_t bytes = LowBytes(code);
    if (count == kLanes) {
      __builtin_memcpy(codes + i, &bytes, sizeof(bytes));
    } else {
      __builtin_memcpy(codes + i, &bytes, count);
    }
  }
  return Sum(sum);
}

// ---- Activations ------------------------------------------------------------------------------

inline __m256 RoundToHalf(__m256 values) {
  return _mm256_cvtph_ps(_mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

// One row of X as detection and quantization see it, a mask word at a time.
struct RowReader {
  Elements row;
  size_t in_features;
  __m256i below_limit;  // the largest magnitude bits of an entry that is no outlier entry
  bool via_fp16;

  RowReader(const ActivationView& x, const ActivationOptions& options, size_t m)
      : row(RowOfX(x, m)), in_features(x.in_features), via_fp16(options.via_fp16) {
    __m256 threshold = _mm256_set1_ps(options.threshold);
    if (via_fp16) threshold = RoundToHalf(threshold);
    const int32_t bits = _mm256_cvtsi256_si32(Magnitude(threshold));
    below_limit = _mm256_set1_epi32((bits != 0 ? bits : kInfinityBits) - 1);
  }

  size_t count(size_t word) const { return Smaller(kWord, in_features - word * kWord); }

  // Widens the entries of a word with those in `exclude` and the outlier entries set to 0; returns
  // the latter. Lanes beyond the row are 0.
  uint64_t Read(size_t word, uint64_t exclude, __m256 (&values)[8]) const {
    uint64_t outliers = 0;
    const size_t n = count(word);
    for (size_t part = 0; part < 8; ++part) {
      const size_t begin = part * kLanes;
      const size_t left = begin < n ? n - begin : 0;
      __m256 value = Widen(row, word * kWord + begin, left);
      if (via_fp16) value = RoundToHalf(value);
      const __m256i outlier = _mm256_cmpgt_epi32(Magnitude(value), below_limit);
      const __m256i out = _mm256_or_si256(outlier, LanesOf(exclude >> begin));
      values[part] = _mm256_andnot_ps(_mm256_castsi256_ps(out), value);
      const int found = _mm256_movemask_ps(_mm256_castsi256_ps(outlier));
      outliers |= static_cast<uint64_t>(found) << begin;
    }
    return outliers;
  }
};

// For row_loops.h.
struct YmmWords {
  using Values = __m256[kWord / kLanes];
  using Reader = RowReader;
  using Range = kernels::Range;
  using Grid = CodeGrid;
  using Sums = __m256i;

  static void Extend(Range& range, const Values& values, size_t) {
    for (const __m256 value : values) range.Add(value);
  }
  static Grid Symmetric(float absmax) { return SymmetricGrid(absmax); }
  static Grid Asymmetric(const ZeropointGrid& grid, int32_t offset) {
    return AsymmetricGrid(grid, offset);
  }
  static int32_t EncodeWeights(const void* row, ElementType type, size_t in_features,
                               const Grid& grid, int8_t* codes) {
    return kernels::EncodeWeights(row, type, in_features, grid, codes);
  }
  static void EncodeWord(const Values& values, size_t count, const Grid& grid, uint8_t* codes,
                         Sums* sums) {
    for (size_t part = 0; part < kWord / kLanes; ++part) {
      const size_t begin = part * kLanes;
      const __m256i lanes = FirstLanes(begin < count ? count - begin : 0);
      const __m256i code = _mm256_and_si256(lanes, Encode(values[part], grid));
      *sums = _mm256_add_epi32(*sums, code);
      const int64_t bytes = LowBytes(code);
      __builtin_memcpy(codes + begin, &bytes, sizeof(bytes));
    }
  }
  static int32_t Total(Sums sums) { return Sum(sums); }
};

// ---- The int8 product -------------------------------------------------------------------------

constexpr size_t kBlockCols = 64;  // the most output features of a block
constexpr size_t kGroup = 16;      // output features of a group of the packed layout
// Input features between two int64 additions: 4096 * 255 * 128 < 2^31. Sixteen output features of
// this depth stay in the second-level cache while the rows pass.
constexpr size_t kDepth = 4096;
constexpr size_t kTileRows = 6;

// Pieces of the scratch memory of one block; rows are kBlockCols or kStride long.
template <class Isa>
struct Scratch {
  // Rows a power of two apart would all fall into one set of the cache.
  static constexpr size_t kStride = kDepth + 64;
  typename Isa::Code* x;  // [rows][kStride]: the activations' codes as Dot wants them
  int64_t* acc;           // [rows][kBlockCols]
  float* sums;            // [rows][kBlockCols]: outlier sums
  float* gathered;        // [kWord][kBlockCols]: weights of outlier columns
};

template <class Isa>
size_t ScratchBytes(size_t rows) {
  constexpr size_t kRowBytes = Scratch<Isa>::kStride * sizeof(typename Isa::Code) +
                               kBlockCols * (sizeof(int64_t) + sizeof(float));
  return rows * kRowBytes + kWord * kBlockCols * sizeof(float);
}

template <class Isa>
Scratch<Isa> Carve(void* memory, size_t rows) {
  using Code = typename Isa::Code;
  Scratch<Isa> scratch;
  scratch.x = static_cast<Code*>(memory);
  scratch.acc = reinterpret_cast<int64_t*>(scratch.x + rows * Scratch<Isa>::kStride);
  scratch.sums = reinterpret_cast<float*>(scratch.acc + rows * kBlockCols);
  scratch.gathered = scratch.sums + rows * kBlockCols;
  return scratch;
}

template <class Isa>
size_t BlockScratchBytes(size_t block_rows, size_t, size_t, size_t) {
  return ScratchBytes<Isa>(block_rows);
}

size_t GroupBytes(const LinearView& linear) { return RoundUp(linear.in_features, 64) * kGroup; }

// Where the codes of 8 output features from `col` on, and input features from `k` on, stand.
const int8_t* PackedAt(const LinearView& linear, size_t col, size_t k) {
  return linear.codes + col / kGroup * GroupBytes(linear) + k * kGroup + col % kGroup * 4;
}

inline void AddInto(int64_t* acc, __m256i values) {
  Store(acc, _mm256_add_epi64(Load(acc), values));
}

// GCC would otherwise keep the lower half, which is used alone after the loop, beside the whole
// register within it, and has not enough registers for both.
inline void KeepWhole(__m256i& sums) { asm("" : "+x"(sums)); }

// acc[r][c] += x[r] . w[c] over `depth` input features, a multiple of 4, for kEights * 8 features.
// Every loop over the tile is unrolled, so that its sums live in registers.
template <class Isa, size_t kRows, size_t kEights>
void Tile(const typename Isa::Code* x, const int8_t* w, size_t group_bytes, size_t depth,
          int64_t* acc) {
  constexpr size_t kPerEight = 8 / Isa::kFeatures, kVectors = kEights * kPerEight;
  constexpr size_t kPerGroup = kGroup / Isa::kFeatures;
  __m256i sums[kRows][kVectors];
#pragma GCC unroll 6
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) sums[r][v] = _mm256_setzero_si256();
  }
  for (size_t k = 0; k < depth; k += 4) {
    // One and two rows wait for memory, not for the cache.
    if constexpr (kRows > 2) __builtin_prefetch(w + k * kGroup + 1024);
    __m256i weights[kVectors];
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) {
      weights[v] = Isa::Weights(w + v / kPerGroup * group_bytes + k * kGroup +
                                v % kPerGroup * Isa::kFeatures * 4);
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < kRows; ++r) {
      const __m256i four = Isa::Four(x + r * Scratch<Isa>::kStride + k);
#pragma GCC unroll 8
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = Isa::Dot(sums[r][v], four, weights[v]);
    }
  }
#pragma GCC unroll 6
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) KeepWhole(sums[r][v]);
  }
#pragma GCC unroll 6
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (size_t e = 0; e < kEights; ++e) {
      const __m256i eight = Isa::Eight(sums[r] + e * kPerEight);
      int64_t* out = acc + r * kBlockCols + e * 8;
      AddInto(out, _mm256_cvtepi32_epi64(_mm256_castsi256_si128(eight)));
      AddInto(out + 4, _mm256_cvtepi32_epi64(_mm256_extracti128_si256(eight, 1)));
    }
  }
}

template <class Isa>
using TileFunction = void (*)(const typename Isa::Code*, const int8_t*, size_t, size_t, int64_t*);

template <class Isa>
TileFunction<Isa> TileFor(size_t rows, size_t eights) {
  constexpr size_t kEights = Isa::kEights, kFew = Isa::kFewEights;
  constexpr TileFunction<Isa> kFewRows[] = {Tile<Isa, 1, kFew>, Tile<Isa, 2, kFew>};
  constexpr TileFunction<Isa> kRows[kTileRows] = {Tile<Isa, 1, kEights>, Tile<Isa, 2, kEights>,
                                                  Tile<Isa, 3, kEights>, Tile<Isa, 4, kEights>,
                                                  Tile<Isa, 5, kEights>, Tile<Isa, 6, kEights>};
  return (eights == kFew ? kFewRows : kRows)[rows - 1];
}

// Rows of a tile: all tiles of a block alike as far as possible, as the small ones are slow.
inline size_t TileRows(size_t rows) {
  const size_t tiles = (rows + kTileRows - 1) / kTileRows;
  return (rows + tiles - 1) / tiles;
}

// scratch.acc = the sums of products of the codes as Dot sees them.
template <class Isa>
void MultiplyCodes(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                   const Scratch<Isa>& scratch) {
  constexpr size_t kStride = Scratch<Isa>::kStride;
  const size_t rows = block.row_end - block.row_begin;
  const size_t cols = RoundUp(block.col_end - block.col_begin, kGroup);
  const size_t padded = RoundUp(linear.in_features, 64), group_bytes = GroupBytes(linear);
  const size_t tile_rows = TileRows(rows);
  const size_t strip = 8 * (rows <= 2 ? Isa::kFewEights : Isa::kEights);
  const bool is_signed = q.options.activations == Activations::kSymmetric;
  __builtin_memset(scratch.acc, 0, rows * kBlockCols * sizeof(int64_t));
  for (size_t begin = 0; begin < padded; begin += kDepth) {
    const size_t depth = Smaller(kDepth, padded - begin);
    for (size_t r = 0; r < rows; ++r) {
      Isa::PrepareCodes(q.codes + (block.row_begin + r) * q.code_stride + begin, depth, is_signed,
                        scratch.x + r * kStride);
    }
    for (size_t c = 0; c < cols; c += strip) {
      const int8_t* w = PackedAt(linear, block.col_begin + c, begin);
      const size_t eights = Smaller(strip, cols - c) / 8;
      for (size_t r = 0; r < rows; r += tile_rows) {
        TileFor<Isa>(Smaller(tile_rows, rows - r), eights)(scratch.x + r * kStride, w, group_bytes,
                                                           depth, scratch.acc + r * kBlockCols + c);
      }
    }
  }
}

inline __m256i LoadInt32(const int32_t* values, size_t count) {
  return count >= kLanes ? Load(values) : _mm256_maskload_epi32(values, FirstLanes(count));
}

// acc[0..7] -= factor * values, which all fit int32.
inline void SubtractProducts(int64_t* acc, __m256i factor, __m256i values) {
  const __m256i low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(values));
  const __m256i high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(values, 1));
  Store(acc, _mm256_sub_epi64(Load(acc), _mm256_mul_epi32(factor, low)));
  Store(acc + 4, _mm256_sub_epi64(Load(acc + 4), _mm256_mul_epi32(factor, high)));
}

// scratch.acc = acc of docs/numerics.md, section 4: shift and zero points taken out.
template <class Isa>
void MultiplyExactly(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                     const Scratch<Isa>& scratch) {
  MultiplyCodes(q, linear, block, scratch);
  const size_t cols = block.col_end - block.col_begin;
  const bool is_signed = q.options.activations == Activations::kSymmetric;
  for (size_t m = block.row_begin; m < block.row_end; ++m) {
    int64_t* acc = scratch.acc + (m - block.row_begin) * kBlockCols;
    const int64_t z = q.zero_point[m];
    const __m256i shift = _mm256_set1_epi64x(is_signed ? Isa::kShift : z);
    const __m256i codes_less_z =
        _mm256_set1_epi64x(q.code_sum[m] - z * static_cast<int64_t>(linear.in_features));
    for (size_t c = 0; c < cols; c += kLanes) {
      const size_t n = block.col_begin + c;
      SubtractProducts(acc + c, shift, LoadInt32(linear.code_sum + n, cols - c));
      if (linear.zero_point != nullptr)
        SubtractProducts(acc + c, codes_less_z, LoadInt32(linear.zero_point + n, cols - c));
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
    // Four input features stand in each lane; this one's byte goes to the top, then down again.
    const __m128i up = _mm_cvtsi32_si128(static_cast<int>(24 - 8 * (k % 4)));
    for (size_t c = 0; c < cols; c += kLanes) {
      const size_t n = block.col_begin + c;
      const __m256i fours = Load(PackedAt(linear, n, k / 4 * 4));
      __m256i codes = _mm256_srai_epi32(_mm256_sll_epi32(fours, up), 24);
      if (linear.zero_point != nullptr)
        codes = _mm256_sub_epi32(codes, LoadInt32(linear.zero_point + n, cols - c));
      _mm256_store_ps(gathered + bit * kBlockCols + c, _mm256_cvtepi32_ps(codes));
    }
  }
}

// sums[c] += x * w[c] for a block's columns.
inline void AddProduct(float x, const float* w, size_t cols, float* sums) {
  const __m256 factor = _mm256_set1_ps(x);
  for (size_t c = 0; c < cols; c += kLanes) {
    _mm256_store_ps(sums + c,
                    _mm256_fmadd_ps(factor, _mm256_load_ps(w + c), _mm256_load_ps(sums + c)));
  }
}

inline __m256 LoadMultiplier(const LinearView& linear, size_t n, size_t count) {
  return Widen({reinterpret_cast<const unsigned char*>(linear.multiplier), ElementType::kFloat32},
               n, count);
}

// sums = (sum over the row's own outlier entries, by ascending column) * a. Entries that are not in
// the row's own set are skipped, so that nothing in the block can change it.
void SumOutliers(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                 float* sums, float* gathered) {
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  __builtin_memset(sums, 0, rows * kBlockCols * sizeof(float));
  bool any = false;
  for (size_t w = 0; w < WordsOf(linear.in_features); ++w) {
    uint64_t columns = 0;
    for (size_t m = block.row_begin; m < block.row_end; ++m)
      columns |= q.outlier_mask[m * q.mask_stride + w];
    if (columns == 0) continue;
    any = true;
    GatherColumns(linear, block, w, columns, gathered);
    for (size_t r = 0; r < rows; ++r) {
      const Elements x = RowOfX(q.x, block.row_begin + r);
      for (uint64_t rest = q.outlier_mask[(block.row_begin + r) * q.mask_stride + w]; rest != 0;
           rest &= rest - 1) {
        const size_t bit = static_cast<size_t>(__builtin_ctzll(rest));
        AddProduct(WidenOne(x, w * kWord + bit), gathered + bit * kBlockCols, cols,
                   sums + r * kBlockCols);
      }
    }
  }
  if (!any) return;
  for (size_t c = 0; c < cols; c += kLanes) {
    const __m256 a = LoadMultiplier(linear, block.col_begin + c, cols - c);
    for (size_t r = 0; r < rows; ++r) {
      float* out = sums + r * kBlockCols + c;
      _mm256_store_ps(out, _mm256_mul_ps(_mm256_load_ps(out), a));
    }
  }
}

void AddKeptColumns(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                    float* sums, float* gathered) {
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  const Elements weights{static_cast<const unsigned char*>(linear.kept_weight), linear.kept_type};
  for (size_t j = 0; j < linear.num_kept; ++j) {
    for (size_t c = 0; c < cols; c += kLanes) {
      _mm256_store_ps(gathered + c,
                      Widen(weights, j * linear.out_features + block.col_begin + c, cols - c));
    }
    for (size_t r = 0; r < rows; ++r) {
      const float x =
          WidenOne(RowOfX(q.x, block.row_begin + r), static_cast<size_t>(linear.kept_index[j]));
      AddProduct(x, gathered, cols, sums + r * kBlockCols);
    }
  }
}

// Four accumulators as floats. The doubles are exact: 2^52 + 2^51 + acc, with |acc| < 2^51, has acc
// in the low bits of its own. So each is rounded once.
inline __m128 FourToFloats(const int64_t* acc) {
  const __m256d magic = _mm256_set1_pd(0x1.8p52);
  const __m256i bits = _mm256_add_epi64(Load(acc), _mm256_castpd_si256(magic));
  return _mm256_cvtpd_ps(_mm256_sub_pd(_mm256_castsi256_pd(bits), magic));
}

inline __m256 ToFloats(const int64_t* acc) {
  return _mm256_set_m128(FourToFloats(acc + 4), FourToFloats(acc));
}

template <class Isa>
void MultiplyBlock(const QuantizedActivations& q, const LinearView& linear, const OutputView& y,
                   const Block& block, void* memory) {
  const FpEnvironment environment;
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  const Scratch<Isa> scratch = Carve<Isa>(memory, rows);
  MultiplyExactly(q, linear, block, scratch);
  SumOutliers(q, linear, block, scratch.sums, scratch.gathered);
  AddKeptColumns(q, linear, block, scratch.sums, scratch.gathered);
  const Elements bias{static_cast<const unsigned char*>(linear.bias), linear.bias_type};
  for (size_t c = 0; c < cols; c += kLanes) {
    const size_t n = block.col_begin + c;
    const __m256 a = LoadMultiplier(linear, n, cols - c);
    const __m256 added =
        linear.bias != nullptr ? Widen(bias, n, cols - c) : _mm256_set1_ps(-0.0f);  // x + -0 is x
    for (size_t r = 0; r < rows; ++r) {
      const size_t m = block.row_begin + r;
      __m256 value =
          _mm256_mul_ps(ToFloats(scratch.acc + r * kBlockCols + c), _mm256_set1_ps(q.scale[m]));
      value =
          _mm256_add_ps(_mm256_mul_ps(value, a), _mm256_load_ps(scratch.sums + r * kBlockCols + c));
      Narrow(_mm256_add_ps(value, added), y, m * y.row_stride + n, cols - c);
    }
  }
}

template <class Isa>
void AccumulateBlock(const QuantizedActivations& q, const LinearView& linear, const Block& block,
                     int64_t* acc, size_t acc_stride, void* memory) {
  const FpEnvironment environment;
  const size_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
  const Scratch<Isa> scratch = Carve<Isa>(memory, rows);
  MultiplyExactly(q, linear, block, scratch);
  for (size_t r = 0; r < rows; ++r) {
    __builtin_memcpy(acc + (block.row_begin + r) * acc_stride + block.col_begin,
                     scratch.acc + r * kBlockCols, cols * sizeof(int64_t));
  }
}

template <class Isa>
constexpr CpuKernels YmmKernels(const char* name) {
  return {
      .name = name,
      .layout = WeightLayout::kVnni16x4,
      .weight_range = RangeOfWeights,
      .encode_symmetric = EncodeSymmetric<YmmWords>,
      .encode_measured = weights16::EncodeMeasured,
      .encode_zeropoint = EncodeZeropoint<YmmWords>,
      .find_outliers = FindOutliers<YmmWords>,
      .row_ranges = RowRanges<YmmWords>,
      .encode_rows = EncodeRows<YmmWords>,
      .block_shape = nullptr,
      .block_scratch_bytes = BlockScratchBytes<Isa>,
      .multiply_block = MultiplyBlock<Isa>,
      .accumulate_block = AccumulateBlock<Isa>,
  };
}

}  // namespace
}  // namespace octavo::kernels
