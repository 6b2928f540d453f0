// AVX2, with FMA and F16C.
//
// The one byte product of AVX2, vpmaddubsw, saturates at int16. So codes are widened to int16, and
// vpmaddwd adds two exact products to an int32 lane; it takes as many instructions as the usual
// way around the saturation (signs moved to the other operand, products widened afterwards), which
// moreover has no place for the code -128. A tile is 6 rows by 8 output features: 12 accumulators,
// 2 weight registers, 1 broadcast and 1 product, of 16. An output feature has two lanes, which are
// added at the end.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/tables.h"
#include "kernels/cpu/ymm_common.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

struct Avx2 {
  using Code = int16_t;
  static constexpr size_t kFeatures = 4, kEights = 1, kFewEights = 2;
  static constexpr int32_t kShift = 0;

  static void PrepareCodes(const uint8_t* codes, size_t count, bool is_signed, int16_t* out) {
    for (size_t k = 0; k < count; k += 16) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + k));
      Store(out + k, is_signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes));
    }
  }

  static __m256i Weights(const int8_t* packed) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(packed)));
  }

  static __m256i Four(const int16_t* codes) {
    int64_t four;
    __builtin_memcpy(&four, codes, sizeof(four));
    return _mm256_set1_epi64x(four);
  }

  static __m256i Dot(__m256i sums, __m256i four, __m256i weights) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(four, weights));
  }

  static __m256i Eight(const __m256i* sums) {
    return _mm256_permute4x64_epi64(_mm256_hadd_epi32(sums[0], sums[1]), 0xd8);
  }
};

}  // namespace

constinit const CpuKernels kAvx2Kernels = YmmKernels<Avx2>("avx2");

}  // namespace octavo::kernels
