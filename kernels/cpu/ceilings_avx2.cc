// AVX2: vpmaddubsw, vpmaddwd and vpaddd, what the instruction set offers for bytes. Exact kernels
// reach it only where the first one cannot saturate.
#include <immintrin.h>

#include "kernels/cpu/ceilings.h"

namespace octavo::kernels {
namespace {

constexpr int kChains = 6;  // with as many operands and two constants they fill the 16 registers

void Multiply(int64_t rounds) {
  __m256i sums[kChains], operands[kChains];
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i bytes = _mm256_set1_epi8(3);
  for (int i = 0; i < kChains; ++i) {
    sums[i] = _mm256_setzero_si256();
    operands[i] = _mm256_set1_epi8(static_cast<char>(i + 1));
  }
  for (int64_t round = 0; round < rounds; ++round) {
    asm volatile("" : "+x"(bytes));  // as if it were new: no product can be kept from before
    for (int i = 0; i < kChains; ++i) {
      const __m256i pairs = _mm256_maddubs_epi16(bytes, operands[i]);
      sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs, ones));
    }
  }
  for (int i = 0; i < kChains; ++i) asm volatile("" : : "x"(sums[i]));
}

void Read(const void* memory, size_t bytes) {
  constexpr size_t kLoads = 8;
  const auto* data = static_cast<const unsigned char*>(memory);
  __m256i sums[kLoads] = {};
  for (size_t at = 0; at < bytes; at += 32 * kLoads) {
    for (size_t i = 0; i < kLoads; ++i) {
      sums[i] = _mm256_or_si256(
          sums[i], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + at + 32 * i)));
    }
  }
  for (const __m256i& sum : sums) asm volatile("" : : "x"(sum));
}

}  // namespace

constinit const CeilingLoops kAvx2Ceilings = {kChains * 64.0, &Multiply, &Read};

}  // namespace octavo::kernels
