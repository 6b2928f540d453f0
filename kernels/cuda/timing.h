// Measuring on a device: the table's functions of these names (octavo/cuda_kernels.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/error.h"

namespace octavo::cuda {

CudaStatus TimeGraph(int32_t device, CudaStatus (*enqueue)(void* context, void* stream),
                     void* context, int32_t per_graph, int32_t replays, double* seconds);
CudaStatus TimeCopy(int32_t device, size_t bytes, double* seconds);

}  // namespace octavo::cuda
