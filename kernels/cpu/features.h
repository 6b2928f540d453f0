// What this CPU and operating system can run, from CPUID and the saved-state mask. Facts only;
// dispatch.cc decides.
#pragma once

namespace octavo::kernels {

struct CpuFeatures {
  bool avx2 = false;     // with FMA and F16C, and the operating system saves the ymm registers
  bool avxvnni = false;  // VEX-encoded vpdpbusd, with AVX2
  bool avx512vnni =
      false;  // with AVX-512 F, BW, DQ and VL, and the operating system saves the zmm registers
  bool amx_int8 =
      false;  // with AMX-TILE and AVX-512 VNNI, and the operating system saves the tiles
  bool amx_permitted = false;  // and it lets this process use them
};

// Thread-safe; detected once. Asks the operating system for the permission to use AMX, for the
// whole process.
const CpuFeatures& DetectedCpuFeatures();

}  // namespace octavo::kernels
