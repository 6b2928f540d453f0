#include "kernels/cuda/device.h"

#include <cstdio>
#include <string>

#include "kernels/cuda/support.h"

namespace octavo::cuda {
namespace {

template <size_t kBytes>
void CopyText(const std::string& text, char (&to)[kBytes]) {
  std::snprintf(to, kBytes, "%s", text.c_str());
}

CudaStatus Attribute(cudaDeviceAttr attribute, int32_t device, int32_t* value) {
  return ToStatus(cudaDeviceGetAttribute(value, attribute, device), "asking for device attributes");
}

// Free memory can be asked for only in a context, which takes a part of it: left 0 where there is
// none yet.
uint64_t FreeBytes(int32_t device) {
  using GetState = int (*)(int device, unsigned* flags, int* active);
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  unsigned flags = 0;
  int active = 0;
  size_t free_bytes = 0, total_bytes = 0;
  if (cudaGetDriverEntryPointByVersion("cuDevicePrimaryCtxGetState", &function, 12000,
                                       cudaEnableDefault, &found) != cudaSuccess ||
      found != cudaDriverEntryPointSuccess ||
      reinterpret_cast<GetState>(function)(device, &flags, &active) != 0 || active == 0) {
    cudaGetLastError();
    return 0;
  }
  const DeviceScope scope(device);
  if (scope.error() != cudaSuccess || cudaMemGetInfo(&free_bytes, &total_bytes) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return free_bytes;
}

}  // namespace

DeviceScope::DeviceScope(int32_t device) noexcept {
  error_ = cudaGetDevice(&former_);
  if (error_ != cudaSuccess) return;
  // Also where it is the current one: a new thread has no context before.
  error_ = cudaSetDevice(device);
  changed_ = error_ == cudaSuccess && former_ != device;
}

DeviceScope::~DeviceScope() {
  if (changed_) cudaSetDevice(former_);
}

CudaStatus DeviceCount(int32_t* count) {
  *count = 0;
  const cudaError_t error = cudaGetDeviceCount(count);
  if (error == cudaErrorNoDevice) {
    cudaGetLastError();
    *count = 0;
    return CudaStatus::kOk;
  }
  if (error == cudaErrorInsufficientDriver) {
    cudaGetLastError();
    int32_t driver_version = 0;
    cudaDriverGetVersion(&driver_version);
    return Fail(CudaStatus::kFailed, WhyNoDriver(driver_version, CUDART_VERSION));
  }
  if (error == cudaSuccess) return CudaStatus::kOk;
  *count = 0;
  static_cast<void>(ToStatus(error, "looking for devices"));
  return Fail(CudaStatus::kFailed, LastError());
}

CudaStatus DeviceInfo(int32_t device, kernels::CudaDeviceInfo* info) {
  *info = {};
  int32_t count = 0;
  OCTAVO_RETURN_IF_FAILED(DeviceCount(&count));
  if (device < 0 || device >= count)
    return Fail(CudaStatus::kUnsupported, "there is no CUDA device " + std::to_string(device) +
                                              ", only " + std::to_string(count));
  cudaDeviceProp properties;
  OCTAVO_RETURN_IF_FAILED(
      ToStatus(cudaGetDeviceProperties(&properties, device), "asking for device properties"));
  int32_t compute_mode = 0;
  OCTAVO_RETURN_IF_FAILED(Attribute(cudaDevAttrComputeMode, device, &compute_mode));
  OCTAVO_RETURN_IF_FAILED(
      ToStatus(cudaDriverGetVersion(&info->driver_version), "asking for the driver's version"));
  CopyText(properties.name, info->name);
  if (cudaDeviceGetPCIBusId(info->pci_bus_id, sizeof(info->pci_bus_id), device) != cudaSuccess) {
    cudaGetLastError();
    info->pci_bus_id[0] = '\0';
  }
  info->compute_major = properties.major;
  info->compute_minor = properties.minor;
  info->multiprocessors = properties.multiProcessorCount;
  info->l2_bytes = properties.l2CacheSize;
  info->total_bytes = properties.totalGlobalMem;
  info->free_bytes = FreeBytes(device);
  const DeviceVerdict verdict =
      JudgeDevice(OCTAVO_CUDA_ARCHITECTURES, properties.major * 10 + properties.minor,
                  compute_mode == cudaComputeModeProhibited);
  info->usable = verdict.usable;
  CopyText(verdict.reason, info->reason);
  return CudaStatus::kOk;
}

}  // namespace octavo::cuda
