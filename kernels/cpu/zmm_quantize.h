// Weights and activations to codes in 512-bit registers. Needs what zmm_elements.h needs.
//
// In an unnamed namespace on purpose, like ymm_common.h: each file that includes this compiles its
// own copy.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/fp_environment.h"
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

}  // namespace
}  // namespace octavo::kernels
