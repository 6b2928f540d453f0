// The tables that are compiled into this build, one for each kernels/cpu/<name>.cc.
#pragma once

#include "octavo/kernels.h"

namespace octavo::kernels {

extern constinit const CpuKernels kPortableKernels;

}  // namespace octavo::kernels
