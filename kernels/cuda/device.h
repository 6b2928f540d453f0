// Devices: which there are, whether the kernels run on them, and calls on one of several.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/error.h"
#include "octavo/cuda_kernels.h"

namespace octavo::cuda {

// Makes a device the calling thread's current one, and the former one again at its end.
class DeviceScope {
 public:
  explicit DeviceScope(int32_t device) noexcept;
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

  cudaError_t error() const { return error_; }
  CudaStatus status() const { return ToStatus(error_, "selecting the device"); }

 private:
  int former_ = 0;
  bool changed_ = false;
  cudaError_t error_ = cudaSuccess;
};

// As the table has them.
CudaStatus DeviceCount(int32_t* count);
CudaStatus DeviceInfo(int32_t device, kernels::CudaDeviceInfo* info);

}  // namespace octavo::cuda
