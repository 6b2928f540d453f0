// The text of a thread's last error, which the table of functions gives out as last_error, and the
// way of a cudaError_t into a CudaStatus. Thread-safe: every thread has its own text.
#pragma once

#include <string>

#include "octavo/cuda_kernels.h"

// The kernels' tests on a CPU (OCTAVO_SIMT_HOST) have no CUDA headers.
#if !defined(OCTAVO_SIMT_HOST)
#include <cuda_runtime_api.h>
#endif

namespace octavo::cuda {

using kernels::CudaStatus;

// Remembers the text and returns the status: `return Fail(CudaStatus::kInvalidArgument, "…");`
[[nodiscard]] CudaStatus Fail(CudaStatus status, std::string text);

// This thread's last text; "" if there was none since ClearError(). Valid until the next of either.
const char* LastError();
void ClearError();

#if !defined(OCTAVO_SIMT_HOST)
// kOk for cudaSuccess; otherwise remembers "what: CUDA's text (CUDA's name)" and takes the error
// out of CUDA's own memory, so that no later call reports it.
[[nodiscard]] CudaStatus ToStatus(cudaError_t error, const char* what);
#endif

// Leaves the function with the status that `expression` gave, unless that is kOk.
#define OCTAVO_RETURN_IF_FAILED(expression)                                        \
  do {                                                                             \
    const ::octavo::kernels::CudaStatus octavo_status = (expression);              \
    if (octavo_status != ::octavo::kernels::CudaStatus::kOk) return octavo_status; \
  } while (false)

}  // namespace octavo::cuda
