// On which GPUs this library runs, and the sentence that says why not. Decided without CUDA, so
// that it is tested on any machine.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace octavo::cuda {

struct DeviceVerdict {
  bool usable = false;
  std::string reason;  // why (not)
};

// `architectures`: what the library was built for, in CMake's words, between commas:
// "80,90-real,90a-real" (kernels/cuda/CMakeLists.txt). `compute_capability`: 90 for 9.0.
DeviceVerdict JudgeDevice(std::string_view architectures, int32_t compute_capability,
                          bool compute_prohibited);

// The architecture of the code that runs on such a device, PTX included: 80 where PTX 8.0 does. 0:
// none.
int32_t CodeCapability(std::string_view architectures, int32_t compute_capability);

// "sm_80, sm_90, sm_90a; PTX 8.0"
std::string DescribeArchitectures(std::string_view architectures);

// Why no device can be asked for. Versions as CUDA counts them, 13000 for 13.0; driver_version 0:
// there is no driver.
std::string WhyNoDriver(int32_t driver_version, int32_t needed_version);

// "13.0" for 13000.
std::string CudaVersionText(int32_t version);

}  // namespace octavo::cuda
