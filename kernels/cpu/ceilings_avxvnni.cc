// AVX-VNNI: vpdpbusd on 256 bits, VEX-encoded.
#include <immintrin.h>

#include "kernels/cpu/ceilings.h"

namespace octavo::kernels {
namespace {

constexpr int kChains = 12;  // more than latency times units: 5 cycles, two a cycle

// In assembly, for compilers regroup the intrinsic's chains. What the registers hold does not
// matter.
void Multiply(int64_t rounds) {
  for (int64_t round = 0; round < rounds; ++round) {
    asm volatile(
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11\n"
        "%{vex%} vpdpbusd %%ymm15, %%ymm14, %%ymm\\n\n"
        ".endr"
        :
        :
        : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
          "xmm11");
  }
}

void Read(const void* memory, size_t bytes) {
  constexpr size_t kLoads = 8;
  constexpr size_t kAhead = 4096;  // a page further, as far as the hardware's own streams end
  const auto* data = static_cast<const unsigned char*>(memory);
  __m256i sums[kLoads] = {};
  for (size_t at = 0; at < bytes; at += 32 * kLoads) {
    for (size_t i = 0; i < kLoads; i += 2)
      _mm_prefetch(reinterpret_cast<const char*>(data + at + kAhead + 32 * i), _MM_HINT_T0);
    for (size_t i = 0; i < kLoads; ++i) {
      sums[i] = _mm256_or_si256(
          sums[i], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + at + 32 * i)));
    }
  }
  for (const __m256i& sum : sums) asm volatile("" : : "x"(sum));
}

}  // namespace

constinit const CeilingLoops kAvxVnniCeilings = {kChains * 64.0, &Multiply, &Read};

}  // namespace octavo::kernels
