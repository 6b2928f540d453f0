// Tables of instruction sets that this machine may lack, compiled with emulated/immintrin.h.
#pragma once

#include <string>

#include "octavo/kernels.h"

namespace octavo::kernels {

// Null: there is none by this name, or this machine has not even AVX2.
const CpuKernels* EmulatedCpuKernels(const std::string& name);

}  // namespace octavo::kernels
