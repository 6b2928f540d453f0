// AVX-512 VNNI: vpdpbusd on 512 bits.
#include <immintrin.h>

#include "kernels/cpu/ceilings.h"

namespace octavo::kernels {
namespace {

constexpr int kChains = 20;  // more than latency times units, and within the 32 registers

// In assembly, for compilers regroup the intrinsic's chains. What the registers hold does not
// matter.
void Multiply(int64_t rounds) {
  for (int64_t round = 0; round < rounds; ++round) {
    asm volatile(
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19\n"
        "vpdpbusd %%zmm31, %%zmm30, %%zmm\\n\n"
        ".endr"
        :
        :
        : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
          "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19");
  }
}

void Read(const void* memory, size_t bytes) {
  constexpr size_t kLoads = 8;
  constexpr size_t kAhead = 4096;
  const auto* data = static_cast<const unsigned char*>(memory);
  __m512i sums[kLoads] = {};
  for (size_t at = 0; at < bytes; at += 64 * kLoads) {
    for (size_t i = 0; i < kLoads; ++i)
      _mm_prefetch(reinterpret_cast<const char*>(data + at + kAhead + 64 * i), _MM_HINT_T0);
    for (size_t i = 0; i < kLoads; ++i)
      sums[i] = _mm512_or_si512(sums[i], _mm512_loadu_si512(data + at + 64 * i));
  }
  for (const __m512i& sum : sums) asm volatile("" : : "v"(sum));
}

}  // namespace

constinit const CeilingLoops kAvx512VnniCeilings = {kChains * 128.0, &Multiply, &Read};

}  // namespace octavo::kernels
