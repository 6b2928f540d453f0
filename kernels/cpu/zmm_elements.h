// Floats and codes in 512-bit registers: what the files of AVX-512 and AMX share with each other.
// Needs AVX-512 F, BW, DQ and VL, AVX2, FMA and F16C.
//
// In an unnamed namespace on purpose, like ymm_common.h: each file that includes this compiles its
// own copy.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/row_loops.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

constexpr size_t kLanes = 16;  // floats, or output features, in a register

// The first `count` lanes; all of them from 16 on.
inline __mmask16 FirstLanes(size_t count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xffffu : (1u << count) - 1u);
}

// ---- Elements ---------------------------------------------------------------------------------

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

}  // namespace
}  // namespace octavo::kernels
