#include "octavo/ceilings.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "kernels/cpu/ceilings.h"
#include "kernels/cpu/parallel.h"

namespace octavo::kernels {
namespace {

constexpr int kPasses = 3;

// Sums of words, which any compiler turns into the baseline's vectors.
void ReadPlain(const void* memory, size_t bytes) {
  constexpr size_t kWords = 16;
  const auto* data = static_cast<const unsigned char*>(memory);
  uint64_t sums[kWords] = {};
  for (size_t at = 0; at < bytes; at += sizeof(sums)) {
    uint64_t words[kWords];
    std::memcpy(words, data + at, sizeof(words));
    for (size_t i = 0; i < kWords; ++i) sums[i] |= words[i];
  }
  for (const uint64_t& sum : sums) asm volatile("" : : "r"(sum));
}

struct NamedLoops {
  const char* name;
  const CeilingLoops* loops;
};

constexpr auto kLoops = std::to_array<NamedLoops>({
  {"portable", nullptr},
#if defined(OCTAVO_HAVE_AVX2)
      {"avx2", &kAvx2Ceilings},
#endif
#if defined(OCTAVO_HAVE_AVXVNNI)
      {"avxvnni", &kAvxVnniCeilings},
#endif
#if defined(OCTAVO_HAVE_AVX512VNNI)
      {"avx512vnni", &kAvx512VnniCeilings},
#endif
#if defined(OCTAVO_HAVE_AMX)
      {"amx", &kAmxCeilings},
#endif
});

const CeilingLoops* LoopsOf(const char* name) {
  for (const NamedLoops& named : kLoops) {
    if (std::strcmp(named.name, name) == 0) return named.loops;
  }
  return nullptr;
}

// Seconds that `body` takes on each of the threads, all at once.
template <class Body>
double TimeOnAll(const ParallelFor& parallel, const Body& body) {
  const auto begin = std::chrono::steady_clock::now();
  RunParallel(parallel, static_cast<size_t>(std::max(parallel.num_threads, 1)),
              [&](size_t thread) { body(thread); });
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double TimeRead(void (*read)(const void*, size_t), const void* memory, size_t bytes,
                const ParallelFor& parallel) {
  const auto threads = static_cast<size_t>(std::max(parallel.num_threads, 1));
  const size_t share = bytes / threads / kReadStep * kReadStep;
  const auto* data = static_cast<const unsigned char*>(memory);
  const double seconds =
      TimeOnAll(parallel, [&](size_t thread) { read(data + thread * share, share); });
  return static_cast<double>(share * threads) / seconds;
}

}  // namespace

double MeasureInt8Peak(const CpuKernels& kernels, const ParallelFor& parallel, double seconds) {
  const CeilingLoops* loops = LoopsOf(kernels.name);
  if (loops == nullptr) return 0;
  const auto multiply = [&](int64_t rounds) {
    return TimeOnAll(parallel, [&](size_t) { loops->multiply(rounds); });
  };
  constexpr double kSlice = 5e-3;  // seconds: long against waking a thread
  int64_t rounds = 1 << 12;
  double spent = multiply(rounds);
  for (; spent < kSlice / 2; spent = multiply(rounds)) rounds *= 2;
  double best = spent;
  for (double total = 0; total < seconds; total += spent) {
    spent = multiply(rounds);
    best = std::min(best, spent);
  }
  return loops->operations_per_round * static_cast<double>(rounds) *
         std::max(parallel.num_threads, 1) / best;
}

double MeasureReadBandwidth(const void* memory, size_t bytes, const ParallelFor& parallel) {
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    best = std::max(best, TimeRead(&ReadPlain, memory, bytes, parallel));
    for (const CpuKernelsInfo& info : ListCpuKernels()) {
      const CeilingLoops* loops = info.supported ? LoopsOf(info.name) : nullptr;
      if (loops != nullptr && loops->read != nullptr)
        best = std::max(best, TimeRead(loops->read, memory, bytes, parallel));
    }
  }
  return best;
}

}  // namespace octavo::kernels
