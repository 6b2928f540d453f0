// What a kernel says to the hardware, as small inline functions: the only file of kernels/cuda with
// PTX behind it. Kernels are written with these alone, in plain C++ otherwise, so that the same
// source also runs on a CPU: with OCTAVO_SIMT_HOST another "simt_host.h", found by the include
// path, takes the place of the PTX and runs every thread of a block as a fiber.
//
// One file compiles for every architecture from sm_75 on. What an architecture lacks is replaced
// where that is possible (cp.async, the wider mma shapes) and traps otherwise; each function says
// which. Blocks are one-dimensional and have whole warps. Shared memory is dynamic only.
//
//   ptx_basic.h    where a thread is, synchronization, warps, global memory, cp.async, arithmetic
//   ptx_mma.h      ldmatrix and mma.sync, with the fragments' layouts
//   ptx_hopper.h   clusters, mbarriers, TMA, wgmma, dependent launches (sm_90 and sm_90a)
#pragma once

#include "kernels/cuda/qualifiers.h"

#if defined(OCTAVO_SIMT_HOST)
#include "simt_host.h"
#else
#include "kernels/cuda/ptx_basic.h"
#include "kernels/cuda/ptx_hopper.h"
#include "kernels/cuda/ptx_mma.h"
#endif
