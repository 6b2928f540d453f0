// What stands behind PreparedLinear and QuantizedActivations.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "octavo/kernels.h"
#include "octavo/linear.h"
#include "runtime/aligned_buffer.h"

namespace octavo {

struct PreparedLinear::State {
  Linear linear;  // keeps the mapping alive
  Device device;
  const kernels::CpuKernels* kernels = nullptr;
  kernels::LinearView view;  // points into the mapping and into `owned`
  // Shared, because quantized activations refer to it and may outlive the linear.
  std::shared_ptr<const std::vector<int32_t>> kept_index;
  std::vector<AlignedBuffer> owned;
  uint64_t bytes_read = 0;  // of the file, by Prepare
};

struct QuantizedActivations::State {
  kernels::QuantizedActivations quantized;
  const kernels::CpuKernels* kernels = nullptr;
  Device device;
  format::Method method = format::Method::kVectorWise;
  bool file_via_fp16 = false;
  std::shared_ptr<const std::vector<int32_t>> kept_index;
  AlignedBuffer owned;  // empty: the caller's workspace
};

}  // namespace octavo
