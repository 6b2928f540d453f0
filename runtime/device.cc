#include "octavo/device.h"

#include "octavo/kernels.h"
#include "runtime/cuda.h"

namespace octavo {

std::string ToString(Device device) {
  switch (device.type) {
    case DeviceType::kCpu:
      return "cpu";
    case DeviceType::kCuda:
      return "cuda:" + std::to_string(device.index);
  }
  return "unknown device " + std::to_string(static_cast<int32_t>(device.type));
}

std::vector<BackendInfo> ListBackends() {
  std::string why_none;
  const kernels::CpuKernels* selected = kernels::SelectCpuKernels(&why_none);
  const kernels::CpuKernels* best = kernels::FindCpuKernels("auto", nullptr);
  std::vector<BackendInfo> backends;
  for (const kernels::CpuKernelsInfo& info : kernels::ListCpuKernels()) {
    BackendInfo backend{info.name, DeviceType::kCpu, info.supported, false, info.reason};
    if (selected != nullptr && info.kernels == selected) {
      backend.selected = true;
      backend.reason +=
          selected == best ? "; the best that this machine can run" : "; chosen by OCTAVO_CPU";
    } else if (selected == nullptr && info.supported) {
      backend.reason += "; not selected: " + why_none;
    }
    backends.push_back(std::move(backend));
  }
  backends.push_back({"cuda", DeviceType::kCuda, false, false, CudaUnavailableReason()});
  return backends;
}

}  // namespace octavo
