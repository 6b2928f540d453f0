#include <string>

#include "runtime/cuda.h"

namespace octavo {
namespace {

CudaDevices AskLibrary() {
  CudaDevices list;
  const kernels::CudaTable* table = CudaLibrary(&list.why_none);
  if (table == nullptr) return list;
  int32_t count = 0;
  if (table->device_count(&count) != kernels::CudaStatus::kOk) {
    list.why_none = table->last_error();
    return list;
  }
  for (int32_t device = 0; device < count; ++device) {
    kernels::CudaDeviceInfo info;
    if (table->device_info(device, &info) != kernels::CudaStatus::kOk) {
      info = {};
      std::string("it does not answer: " + std::string(table->last_error()))
          .copy(info.reason, sizeof(info.reason) - 1);
    }
    list.devices.push_back(info);
  }
  if (count == 0)
    list.why_none = "the NVIDIA driver shows no device; CUDA_VISIBLE_DEVICES may hide it";
  return list;
}

}  // namespace

const CudaDevices& ListCudaDevices() {
  static const CudaDevices& list = *new CudaDevices(AskLibrary());
  return list;
}

}  // namespace octavo
