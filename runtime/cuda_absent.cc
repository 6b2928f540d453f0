// A build with OCTAVO_CUDA=OFF: what the runtime answers in place of cuda_library.cc,
// cuda_devices.cc and cuda_backend.cc.
#include "runtime/cuda.h"

namespace octavo {
namespace {

constexpr const char* kWhyNot =
    "this build of Octavo has no CUDA backend; linears run on the CPU (device cpu)";

}  // namespace

const kernels::CudaTable* CudaLibrary(std::string* why_not) {
  if (why_not != nullptr) *why_not = kWhyNot;
  return nullptr;
}

const CudaDevices& ListCudaDevices() {
  static const CudaDevices none{{}, kWhyNot};
  return none;
}

Result<const Backend*> FindCudaBackend(Device device) {
  return Status(ErrorCode::kUnsupported,
                "cannot use CUDA device " + ToString(device) + ": " + kWhyNot);
}

}  // namespace octavo
