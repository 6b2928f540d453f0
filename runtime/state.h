// What stands behind PreparedLinear and QuantizedActivations.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "octavo/cuda_kernels.h"
#include "octavo/kernels.h"
#include "octavo/linear.h"
#include "runtime/aligned_buffer.h"
#include "runtime/backend.h"
#include "runtime/cuda_memory.h"

namespace octavo {

struct PreparedLinear::State {
  Linear linear;  // keeps the mapping alive
  Device device;
  const kernels::CpuKernels* kernels = nullptr;  // null on a CUDA device
  // Points into the mapping and into `owned`; on a CUDA device sizes only.
  kernels::LinearView view;
  // Shared, because quantized activations refer to it and may outlive the linear.
  std::shared_ptr<const std::vector<int32_t>> kept_index;
  std::vector<AlignedBuffer> owned;
  uint64_t bytes_read = 0;  // of the file, by Prepare
  const Backend* backend = nullptr;
  std::string backend_name = {};
  // On a CUDA device: the operands, in memory that quantized activations may still refer to.
  kernels::CudaLinear cuda = {};
  std::shared_ptr<const CudaMemory> device_memory = {};
};

struct QuantizedActivations::State {
  kernels::QuantizedActivations quantized;  // on a CUDA device x and options only
  const Backend* backend = nullptr;
  const kernels::CpuKernels* kernels = nullptr;  // null on a CUDA device
  Device device;
  format::Method method = format::Method::kVectorWise;
  bool file_via_fp16 = false;
  std::shared_ptr<const std::vector<int32_t>> kept_index;
  AlignedBuffer owned;  // empty: the caller's workspace
  // On a CUDA device.
  kernels::CudaActivations on_cuda;
  void* stream = nullptr;
  std::shared_ptr<const CudaMemory> device_memory;
};

}  // namespace octavo
