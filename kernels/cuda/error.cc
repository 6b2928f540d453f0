#include "kernels/cuda/error.h"

#include <utility>

namespace octavo::cuda {
namespace {

thread_local std::string last_error;

}  // namespace

CudaStatus Fail(CudaStatus status, std::string text) {
  last_error = std::move(text);
  return status;
}

const char* LastError() { return last_error.c_str(); }

void ClearError() { last_error.clear(); }

#if !defined(OCTAVO_SIMT_HOST)
CudaStatus ToStatus(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return CudaStatus::kOk;
  cudaGetLastError();
  const std::string text =
      std::string(what) + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")";
  switch (error) {
    case cudaErrorMemoryAllocation:
      return Fail(CudaStatus::kOutOfMemory, text);
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorUnsupportedPtxVersion:
      return Fail(CudaStatus::kUnsupported, text);
    default:
      return Fail(CudaStatus::kFailed, text);
  }
}
#endif

}  // namespace octavo::cuda
