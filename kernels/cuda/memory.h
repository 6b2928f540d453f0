// Memory of a device, uploads through pinned buffers, plain copies and streams: the table's
// functions of these names, with its contracts (octavo/cuda_kernels.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/error.h"
#include "octavo/cuda_kernels.h"

namespace octavo::cuda {

CudaStatus Allocate(int32_t device, size_t bytes, void** memory);
void Release(int32_t device, void* memory) noexcept;
CudaStatus Upload(int32_t device, const kernels::CudaUpload* pieces, size_t count,
                  const kernels::ParallelFor& parallel);
CudaStatus CopyToDevice(int32_t device, void* to, const void* from_host, size_t bytes,
                        void* stream);
CudaStatus CopyToHost(int32_t device, void* to_host, const void* from, size_t bytes, void* stream);

CudaStatus StreamCreate(int32_t device, void** stream);
void StreamDestroy(int32_t device, void* stream) noexcept;
CudaStatus StreamWait(int32_t device, void* stream);

}  // namespace octavo::cuda
