// Rows of 16-bit weights in 256-bit registers: their range, and their codes with the error of
// these, each in one pass. Needs AVX2, FMA and F16C.
//
// In an unnamed namespace on purpose, like ymm_common.h: each file that includes this compiles its
// own copy.
//
// Ranges need no conversion: finite fp16 and bf16 bit patterns of one sign are ordered as integers
// are. Errors are exact in float32: with |w| <= absmax and both of at most 11 significant bits, 127
// * w has 18, code * absmax has 18, and where code is not 0 the difference is at most half of
// absmax and a multiple of 2^-18 of that. So it is what MeasureRow (libquant/error_metrics.h) has
// in double, and its square, 36 bits, is exact in double.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/fp_environment.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {
namespace weights16 {

constexpr size_t kBlock = 32;  // weights of a step: one register of codes

inline __m256i LoadInts(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

template <ElementType kType>
inline __m256 Widen(const unsigned char* from) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  if constexpr (kType == ElementType::kFloat16) return _mm256_cvtph_ps(bits);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

inline float WidenOne(int32_t bits, ElementType type) {
  if (type == ElementType::kFloat16) return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
  return __builtin_bit_cast(float, bits << 16);
}

inline int32_t LargestInt16(__m256i values) {
  __m128i v = _mm_max_epi16(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
  v = _mm_max_epi16(v, _mm_shuffle_epi32(v, 0x4e));
  v = _mm_max_epi16(v, _mm_shuffle_epi32(v, 0xb1));
  v = _mm_max_epi16(v, _mm_srli_epi32(v, 16));
  return static_cast<int16_t>(_mm_cvtsi128_si32(v));
}

// False, and nothing is set, where a value is not finite. Requires: a 16-bit type.
inline bool FiniteRange(const void* row, ElementType type, size_t in_features, WeightRange* range) {
  const unsigned char* from = static_cast<const unsigned char*>(row);
  const __m256i sign = _mm256_set1_epi16(INT16_MIN);
  __m256i hi = _mm256_setzero_si256(), minus_lo = _mm256_setzero_si256();
  const auto add = [&](__m256i bits) {
    hi = _mm256_max_epi16(hi, bits);
    minus_lo = _mm256_max_epi16(minus_lo, _mm256_xor_si256(bits, sign));
  };
  size_t i = 0;
  for (; i + 16 <= in_features; i += 16) add(LoadInts(from + 2 * i));
  if (i < in_features) {
    alignas(32) unsigned char rest[32] = {};
    __builtin_memcpy(rest, from + 2 * i, 2 * (in_features - i));
    add(LoadInts(rest));
  }
  const int32_t infinity = type == ElementType::kFloat16 ? 0x7c00 : 0x7f80;
  const int32_t largest = LargestInt16(hi), smallest = LargestInt16(minus_lo);
  if (largest >= infinity || smallest >= infinity) return false;
  range->hi = WidenOne(largest, type);
  range->lo = -WidenOne(smallest, type);
  range->first_non_finite = SIZE_MAX;
  return true;
}

// The running sums of a row; doubles in lane k % 8.
struct Sums {
  __m256d weight_squares[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
  __m256d error_squares[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
  __m256 max_error = _mm256_setzero_ps();
  __m256i codes = _mm256_setzero_si256();  // plus 128 each
  uint64_t saturated = 0;
};

inline void AddSquares(__m256 values, __m256d (&sums)[2]) {
  const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(values));
  const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(values, 1));
  sums[0] = _mm256_fmadd_pd(low, low, sums[0]);
  sums[1] = _mm256_fmadd_pd(high, high, sums[1]);
}

template <ElementType kType>
inline __m256i EncodeBlock(const unsigned char* from, __m256 inverse_step, __m256 absmax,
                           Sums* sums) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256i codes[4];
  for (size_t part = 0; part < 4; ++part) {
    const __m256 weights = Widen<kType>(from + 16 * part);
    codes[part] = _mm256_cvtps_epi32(_mm256_mul_ps(weights, inverse_step));
    const __m256 decoded = _mm256_mul_ps(_mm256_cvtepi32_ps(codes[part]), absmax);
    const __m256 error = _mm256_fmsub_ps(_mm256_set1_ps(127.0f), weights, decoded);
    sums->max_error = _mm256_max_ps(sums->max_error, _mm256_and_ps(error, magnitude));
    AddSquares(weights, sums->weight_squares);
    AddSquares(error, sums->error_squares);
  }
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(codes[0], codes[1]),
                                     _mm256_packs_epi32(codes[2], codes[3]));
  bytes = _mm256_max_epi8(_mm256_permutevar8x32_epi32(bytes, order), _mm256_set1_epi8(-127));
  const __m256i shifted = _mm256_xor_si256(bytes, _mm256_set1_epi8(INT8_MIN));
  sums->codes = _mm256_add_epi64(sums->codes, _mm256_sad_epu8(shifted, _mm256_setzero_si256()));
  const __m256i ends = _mm256_cmpeq_epi8(_mm256_abs_epi8(bytes), _mm256_set1_epi8(127));
  sums->saturated +=
      static_cast<unsigned>(__builtin_popcount(static_cast<unsigned>(_mm256_movemask_epi8(ends))));
  return bytes;
}

inline double SumLanes(const __m256d (&sums)[2]) {
  const double* low = reinterpret_cast<const double*>(&sums[0]);
  const double* high = reinterpret_cast<const double*>(&sums[1]);
  return ((low[0] + low[1]) + (low[2] + low[3])) + ((high[0] + high[1]) + (high[2] + high[3]));
}

template <ElementType kType>
inline int32_t EncodeRow(const unsigned char* row, size_t in_features, float absmax, int8_t* codes,
                         WeightError* error) {
  const __m256 inverse_step = _mm256_set1_ps(absmax > 0.0f ? 127.0f * (1.0f / absmax) : 0.0f);
  const __m256 scale = _mm256_set1_ps(absmax);
  Sums sums;
  size_t i = 0;
  for (; i + kBlock <= in_features; i += kBlock) {
    const __m256i bytes = EncodeBlock<kType>(row + 2 * i, inverse_step, scale, &sums);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + i), bytes);
  }
  size_t padding = 0;
  if (i < in_features) {  // zeros behind the end have code 0 and error 0
    alignas(32) unsigned char rest[2 * kBlock] = {};
    alignas(32) int8_t rest_codes[kBlock];
    __builtin_memcpy(rest, row + 2 * i, 2 * (in_features - i));
    const __m256i bytes = EncodeBlock<kType>(rest, inverse_step, scale, &sums);
    _mm256_store_si256(reinterpret_cast<__m256i*>(rest_codes), bytes);
    __builtin_memcpy(codes + i, rest_codes, in_features - i);
    padding = kBlock - (in_features - i);
  }
  alignas(32) float errors[8];
  alignas(32) int64_t code_sums[4];
  _mm256_store_ps(errors, sums.max_error);
  _mm256_store_si256(reinterpret_cast<__m256i*>(code_sums), sums.codes);
  float max_error = 0;
  for (const float lane : errors) max_error = lane > max_error ? lane : max_error;
  *error = {SumLanes(sums.weight_squares), SumLanes(sums.error_squares), max_error, sums.saturated};
  const int64_t shifted = code_sums[0] + code_sums[1] + code_sums[2] + code_sums[3];
  return static_cast<int32_t>(shifted - 128 * static_cast<int64_t>(in_features + padding));
}

inline int32_t EncodeMeasured(const void* row, ElementType type, size_t in_features, float absmax,
                              int8_t* codes, WeightError* error) {
  const FpEnvironment environment;
  PinToEnvironment(absmax);
  const unsigned char* from = static_cast<const unsigned char*>(row);
  return type == ElementType::kFloat16
             ? EncodeRow<ElementType::kFloat16>(from, in_features, absmax, codes, error)
             : EncodeRow<ElementType::kBFloat16>(from, in_features, absmax, codes, error);
}

}  // namespace weights16
}  // namespace
}  // namespace octavo::kernels
