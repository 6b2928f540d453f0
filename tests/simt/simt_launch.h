// What kernels/cuda/launch.h takes from the emulation in place of the CUDA runtime.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "octavo/cuda_kernels.h"

namespace octavo::cuda {

// A matrix of bytes and a box of it, as a real tensor map describes them to TMA.
struct TensorMap {
  const unsigned char* base;
  uint64_t inner_bytes;
  uint64_t rows;
  uint64_t row_stride_bytes;
  uint32_t box_inner_bytes;
  uint32_t box_rows;
};

namespace simt {

struct LaunchShape {
  uint32_t grid_x = 1;
  uint32_t grid_y = 1;
  uint32_t grid_z = 1;
  uint32_t threads = 0;
  size_t shared_bytes = 0;
  uint32_t cluster = 1;
  bool overlap = false;
};

// Runs `thread` as every thread of every block, at once unless SetDeferred. kFailed, with the
// reason as the last error, where the kernel broke a rule that a GPU punishes by a hang or by
// chance; kInvalidArgument for a shape that no GPU launches.
kernels::CudaStatus Run(const LaunchShape& shape, const std::function<void()>& thread);

// As many as the device's multiprocessors hold with one block each (SetDeviceTraits).
int32_t MaxActiveClusters(uint32_t cluster);

}  // namespace simt
}  // namespace octavo::cuda
