// The CUDA backend as the rest of the runtime sees it: cuda_absent.cc in a build without it.
// (CudaLibrary is in octavo/device.h.)
#pragma once

#include <string>
#include <vector>

#include "octavo/cuda_kernels.h"
#include "octavo/device.h"
#include "octavo/result.h"
#include "runtime/backend.h"

namespace octavo {

// The CUDA devices of this machine, usable or not; why there are none.
struct CudaDevices {
  std::vector<kernels::CudaDeviceInfo> devices;
  std::string why_none;
};
// Asked for once in the life of a process. Thread-safe.
const CudaDevices& ListCudaDevices();

// What runs linears on this device. Errors: kUnsupported (says why).
Result<const Backend*> FindCudaBackend(Device device);

}  // namespace octavo
