// The loops behind octavo/ceilings.h, one set for each instruction set that has its own file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace octavo::kernels {

struct CeilingLoops {
  double operations_per_round;
  void (*multiply)(int64_t rounds);
  // Reads all of `bytes`, a multiple of kReadStep.
  void (*read)(const void* memory, size_t bytes);
};

inline constexpr size_t kReadStep = 1024;

#if defined(OCTAVO_HAVE_AVX2)
extern constinit const CeilingLoops kAvx2Ceilings;
#endif
#if defined(OCTAVO_HAVE_AVXVNNI)
extern constinit const CeilingLoops kAvxVnniCeilings;
#endif
#if defined(OCTAVO_HAVE_AVX512VNNI)
extern constinit const CeilingLoops kAvx512VnniCeilings;
#endif

}  // namespace octavo::kernels
