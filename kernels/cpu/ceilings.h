// The loops behind octavo/ceilings.h, one set for each instruction set that has its own file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace octavo::kernels {

struct CeilingLoops {
  double operations_per_round;
  void (*multiply)(int64_t rounds);
  // Reads all of `bytes`, a multiple of kReadStep. Null: no way of its own.
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
#if defined(OCTAVO_HAVE_AMX)
extern constinit const CeilingLoops kAmxCeilings;
#endif

}  // namespace octavo::kernels
