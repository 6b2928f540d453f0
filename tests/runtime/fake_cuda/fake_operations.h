// LLM.int8() on fake devices: the CPU's portable kernels behind the table's contracts, which are
// checked: whose memory it is, how it is aligned, padded and masked, that nobody wrote into the
// workspace between quantize and multiply.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/cuda_kernels.h"

namespace octavo::testing {

size_t QuantizeWorkspaceBytes(size_t tokens, size_t in_features);
size_t MultiplyWorkspaceBytes(int32_t device, size_t tokens, const kernels::CudaLinear& linear);

kernels::CudaStatus Quantize(int32_t device, const kernels::ActivationView& x,
                             const kernels::ActivationOptions& options,
                             const kernels::CudaKeptColumns& kept, void* workspace,
                             size_t workspace_bytes, void* stream,
                             kernels::CudaActivations* quantized);
kernels::CudaStatus Multiply(int32_t device, const kernels::CudaActivations& quantized,
                             const kernels::CudaLinear& linear, const kernels::OutputView& y,
                             void* workspace, size_t workspace_bytes, void* stream);
kernels::CudaStatus Forward(int32_t device, const kernels::ActivationView& x,
                            const kernels::ActivationOptions& options,
                            const kernels::CudaLinear& linear, const kernels::OutputView& y,
                            void* workspace, size_t workspace_bytes, void* stream);
kernels::CudaStatus Accumulate(int32_t device, const kernels::CudaActivations& quantized,
                               const kernels::CudaLinear& linear, int64_t* acc, void* workspace,
                               size_t workspace_bytes, void* stream);
const char* ProductName(int32_t device, size_t tokens, const kernels::CudaLinear& linear);

}  // namespace octavo::testing
