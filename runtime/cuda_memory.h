// Device memory of our own.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/cuda_kernels.h"

namespace octavo {

// Owns one allocation on a device. Neither copied nor moved: shared by pointer.
class CudaMemory {
 public:
  CudaMemory(const kernels::CudaTable& table, int32_t device, void* memory, size_t bytes)
      : table_(table), device_(device), memory_(memory), bytes_(bytes) {}
  CudaMemory(const CudaMemory&) = delete;
  CudaMemory& operator=(const CudaMemory&) = delete;
  ~CudaMemory() { table_.release(device_, memory_); }

  size_t bytes() const { return bytes_; }

 private:
  const kernels::CudaTable& table_;
  const int32_t device_;
  void* const memory_;
  const size_t bytes_;
};

}  // namespace octavo
