// The CUDA backend as programs use it: liboctavo_cuda.so, opened at run time, on the first GPU.
#include <dlfcn.h>

#include <cstdlib>

#include "tests/kernels/cuda/devices.h"

namespace octavo::kernels {
namespace {

const CudaTable* OpenTable(std::string* why) {
  const char* const named = std::getenv("OCTAVO_CUDA_LIBRARY");
  void* const library =
      dlopen(named != nullptr ? named : OCTAVO_CUDA_LIBRARY_PATH, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    *why = dlerror();
    return nullptr;
  }
  const auto get_table =
      reinterpret_cast<decltype(&octavo_cuda_table)>(dlsym(library, "octavo_cuda_table"));
  const CudaTable* const table = get_table == nullptr ? nullptr : get_table();
  int32_t count = 0;
  CudaDeviceInfo info;
  if (table == nullptr || table->version != kCudaTableVersion) {
    *why = "the library has another table";
  } else if (table->device_count(&count) != CudaStatus::kOk) {
    *why = table->last_error();
  } else if (count == 0) {
    *why = "this machine has no GPU";
  } else if (table->device_info(0, &info) != CudaStatus::kOk || !info.usable) {
    *why = info.reason;
  } else {
    return table;
  }
  return nullptr;
}

}  // namespace

std::vector<std::string> TestDeviceNames() { return {"gpu"}; }

const CudaTable* SelectTestDevice(const std::string&, int32_t* device, std::string* why) {
  static std::string why_not;
  static const CudaTable* const table = OpenTable(&why_not);
  *device = 0;
  *why = why_not;
  return table;
}

bool IsEmulated() { return false; }

}  // namespace octavo::kernels
