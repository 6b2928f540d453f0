// Weights and activations to codes in 512-bit registers. Needs what zmm_elements.h needs.
//
// In an unnamed namespace on purpose, like ymm_common.h: each file that includes this compiles its
// own copy.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/fp_environment.h"
#include "kernels/cpu/row_loops.h"
#include "kernels/cpu/weights16.h"
#include "kernels/cpu/zmm_elements.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

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

// ---- Activations ------------------------------------------------------------------------------

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

// For row_loops.h.
struct ZmmWords {
  using Values = __m512[kWord / kLanes];
  using Reader = RowReader;
  using Range = kernels::Range;
  using Grid = CodeGrid;
  using Sums = __m512i;

  static void Extend(Range& range, const Values& values, size_t) {
    for (const __m512 value : values) range.Add(value);
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
      const __mmask16 lanes = begin < count ? FirstLanes(count - begin) : __mmask16{0};
      const __m512i code = _mm512_maskz_mov_epi32(lanes, Encode(values[part], grid));
      *sums = _mm512_add_epi32(*sums, code);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + begin), _mm512_cvtepi32_epi8(code));
    }
  }
  static int32_t Total(Sums sums) { return _mm512_reduce_add_epi32(sums); }
};

}  // namespace
}  // namespace octavo::kernels
