// Quantize and Multiply on a device: arguments are checked, workspaces cut, kernels chosen and
// enqueued. These are the functions of octavo/cuda_kernels.h of the same names.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/operands.h"

namespace octavo::cuda {

// What a product reads, all but where its output goes.
ProductOperands OperandsOf(const CudaActivations& quantized, const CudaLinear& linear);

size_t QuantizeWorkspaceBytes(size_t tokens, size_t in_features);
size_t MultiplyWorkspaceBytes(int32_t device, size_t tokens, const CudaLinear& linear);

CudaStatus Quantize(int32_t device, const ActivationView& x, const ActivationOptions& options,
                    const CudaKeptColumns& kept, void* workspace, size_t workspace_bytes,
                    void* stream, CudaActivations* quantized);
CudaStatus Multiply(int32_t device, const CudaActivations& quantized, const CudaLinear& linear,
                    const OutputView& y, void* workspace, size_t workspace_bytes, void* stream);
CudaStatus Forward(int32_t device, const ActivationView& x, const ActivationOptions& options,
                   const CudaLinear& linear, const OutputView& y, void* workspace,
                   size_t workspace_bytes, void* stream);
CudaStatus Accumulate(int32_t device, const CudaActivations& quantized, const CudaLinear& linear,
                      int64_t* acc, void* workspace, size_t workspace_bytes, void* stream);

const char* ProductName(int32_t device, size_t tokens, const CudaLinear& linear);

}  // namespace octavo::cuda
