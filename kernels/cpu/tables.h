// The tables that are compiled into this build, one for each kernels/cpu/<name>.cc.
#pragma once

#include "octavo/kernels.h"

namespace octavo::kernels {

extern constinit const CpuKernels kPortableKernels;
#if defined(OCTAVO_HAVE_AVX2)
extern constinit const CpuKernels kAvx2Kernels;
#endif
#if defined(OCTAVO_HAVE_AVXVNNI)
extern constinit const CpuKernels kAvxVnniKernels;
#endif
#if defined(OCTAVO_HAVE_AVX512VNNI)
extern constinit const CpuKernels kAvx512VnniKernels;
#endif
#if defined(OCTAVO_HAVE_AMX)
extern constinit const CpuKernels kAmxKernels;
#endif

}  // namespace octavo::kernels
