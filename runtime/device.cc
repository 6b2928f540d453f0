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

namespace {

GpuFacts FactsOf(const kernels::CudaDeviceInfo& info) {
  return {info.name,
          info.pci_bus_id,
          info.compute_major,
          info.compute_minor,
          info.multiprocessors,
          static_cast<uint64_t>(info.l2_bytes),
          info.total_bytes,
          std::to_string(info.driver_version / 1000) + "." +
              std::to_string(info.driver_version % 1000 / 10)};
}

}  // namespace

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
  const CudaDevices& list = ListCudaDevices();
  if (list.devices.empty())
    backends.push_back({"cuda", DeviceType::kCuda, false, false, list.why_none});
  for (const kernels::CudaDeviceInfo& info : list.devices) {
    const Device device{DeviceType::kCuda, static_cast<int32_t>(&info - list.devices.data())};
    BackendInfo backend{ToString(device), DeviceType::kCuda, info.usable, false, info.reason};
    if (*info.name != '\0') {
      backend.reason = std::string(info.name) + ", " + info.reason;
      backend.gpu = FactsOf(info);
    }
    backends.push_back(std::move(backend));
  }
  return backends;
}

}  // namespace octavo
