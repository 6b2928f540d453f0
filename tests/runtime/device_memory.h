// Memory on the device of a test, host memory where that is the CPU.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>

#include "octavo/cuda_kernels.h"
#include "octavo/device.h"

namespace octavo::testing {

// The CUDA backend that was opened. Fails the test where there is none.
inline const kernels::CudaTable& Cuda() {
  std::string why_not;
  const kernels::CudaTable* table = CudaLibrary(&why_not);
  if (table == nullptr) throw std::runtime_error(why_not);
  return *table;
}

inline void MustCuda(kernels::CudaStatus status) {
  if (status != kernels::CudaStatus::kOk) throw std::runtime_error(Cuda().last_error());
}

// Owns bytes on a CUDA device.
class DeviceMemory {
 public:
  DeviceMemory(Device device, size_t bytes) : device_(device), bytes_(bytes) {
    if (bytes != 0) MustCuda(Cuda().allocate(device.index, bytes, &memory_));
  }
  // A copy of host memory.
  DeviceMemory(Device device, const void* host, size_t bytes) : DeviceMemory(device, bytes) {
    if (bytes != 0) MustCuda(Cuda().copy_to_device(device.index, memory_, host, bytes, nullptr));
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() { Cuda().release(device_.index, memory_); }

  // Waits for the stream first.
  void CopyToHost(void* to, void* stream = nullptr) const {
    if (bytes_ != 0) MustCuda(Cuda().copy_to_host(device_.index, to, memory_, bytes_, stream));
  }

  void* data() const { return memory_; }
  std::span<std::byte> span() const { return {static_cast<std::byte*>(memory_), bytes_}; }

 private:
  const Device device_;
  const size_t bytes_;
  void* memory_ = nullptr;
};

}  // namespace octavo::testing
