// AVX-VNNI: vpdpbusd on 256-bit registers, VEX-encoded, for CPUs without AVX-512.
//
// vpdpbusd multiplies unsigned by signed bytes, four products to an int32 lane: activations are the
// unsigned side (symmetric codes are shifted by 128, which the epilogue takes back with the sums of
// the weights' codes). A tile is 6 rows by 16 output features: 12 accumulators, 2 weight registers
// and 1 broadcast, of 16.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/tables.h"
#include "kernels/cpu/ymm_common.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

struct AvxVnni {
  using Code = uint8_t;
  static constexpr size_t kFeatures = 8, kEights = 2, kFewEights = 4;
  static constexpr int32_t kShift = 128;

  static void PrepareCodes(const uint8_t* codes, size_t count, bool is_signed, uint8_t* out) {
    const __m256i shift = _mm256_set1_epi8(is_signed ? INT8_MIN : 0);
    for (size_t k = 0; k < count; k += 32) Store(out + k, _mm256_xor_si256(Load(codes + k), shift));
  }

  static __m256i Weights(const int8_t* packed) { return Load(packed); }

  static __m256i Four(const uint8_t* codes) {
    int32_t four;
    __builtin_memcpy(&four, codes, sizeof(four));
    return _mm256_set1_epi32(four);
  }

  static __m256i Dot(__m256i sums, __m256i four, __m256i weights) {
    return _mm256_dpbusd_avx_epi32(sums, four, weights);
  }

  static __m256i Eight(const __m256i* sums) { return *sums; }
};

}  // namespace

constinit const CpuKernels kAvxVnniKernels = YmmKernels<AvxVnni>("avxvnni");

}  // namespace octavo::kernels
