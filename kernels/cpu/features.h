// What this CPU and operating system can run, from CPUID and the saved-state mask. Facts only;
// dispatch.cc decides.
#pragma once

namespace octavo::kernels {

enum class CpuSupport {
  kAbsent,    // the CPU has no such instructions
  kWithheld,  // it has, but the operating system does not save their registers, or refuses them
  kUsable,
};

struct CpuFeatures {
  CpuSupport avx2 = CpuSupport::kAbsent;        // with FMA and F16C
  CpuSupport avxvnni = CpuSupport::kAbsent;     // VEX-encoded vpdpbusd, with AVX2
  CpuSupport avx512vnni = CpuSupport::kAbsent;  // with AVX-512 F, BW, DQ and VL, and AVX2
  CpuSupport amx_int8 = CpuSupport::kAbsent;    // with AMX-TILE and AVX-512 VNNI
};

// Thread-safe; detected once. Asks the operating system for the permission to use AMX, for the
// whole process.
const CpuFeatures& DetectedCpuFeatures();

}  // namespace octavo::kernels
