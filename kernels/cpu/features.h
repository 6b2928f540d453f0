// What this CPU and operating system can run, from CPUID and the saved-state mask. Facts only;
// dispatch.cc decides.
#pragma once

namespace octavo::kernels {

struct CpuFeatures {
  bool avx2 = false;     // with FMA and F16C, and the operating system saves the ymm registers
  bool avxvnni = false;  // VEX-encoded vpdpbusd, with AVX2
  bool avx512vnni =
      false;  // with AVX-512 F, BW, DQ and VL, and the operating system saves the zmm registers
  bool amx_int8 = false;  // with AMX-TILE, and the operating system saves the tiles
};

// Thread-safe; detected once.
const CpuFeatures& DetectedCpuFeatures();

}  // namespace octavo::kernels
