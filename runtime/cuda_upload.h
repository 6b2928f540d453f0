// From a linear in host memory to one on a CUDA device.
#pragma once

#include "octavo/cuda_kernels.h"
#include "octavo/linear.h"
#include "octavo/result.h"

namespace octavo {

inline constexpr size_t kCudaAlignment = 256;

// Uploads what state->view holds to one allocation on state->device and lets go of the host's copy:
// afterwards state->view has sizes only. Requires: plain layout. Errors: kLimit (device memory),
// kIo (CUDA).
Status UploadLinear(const kernels::CudaTable& table, PreparedLinear::State* state);

// What a call of the table returned, with the library's own words. Errors: kInvalidArgument, kLimit
// (memory), kUnsupported, kIo (CUDA reported an error).
Status ToStatus(const kernels::CudaTable& table, kernels::CudaStatus status);

}  // namespace octavo
