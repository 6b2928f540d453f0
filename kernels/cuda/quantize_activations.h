// Activations to codes: the launcher, and the pieces of workspace that it fills.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/operands.h"

namespace octavo::cuda {

// Pieces of the quantization's workspace, each 256-byte aligned. With no memory only `bytes` is
// meant.
struct QuantizePieces {
  uint8_t* codes = nullptr;                // [tokens][CudaCodeStride(in_features)]
  float* scale = nullptr;                  // [tokens]
  int32_t* zero_point = nullptr;           // [tokens]
  int32_t* code_sum = nullptr;             // [tokens]
  float* range_lo = nullptr;               // [tokens]
  float* range_hi = nullptr;               // [tokens]
  uint8_t* parts = nullptr;                // [num_parts][part_bytes]: bit k % 8 of byte k / 8
  int32_t* outlier_columns = nullptr;      // [in_features]
  int32_t* num_outlier_columns = nullptr;  // [1]
  size_t num_parts = 0;                    // of the rows, for the search of outlier columns
  size_t part_bytes = 0;                   // CudaCodeStride(in_features) / 8
  size_t bytes = 0;                        // of all; SIZE_MAX: more than any memory has
};
QuantizePieces CarveQuantize(void* memory, size_t tokens, size_t in_features);

struct QuantizeCall {
  ActivationView x;
  ActivationOptions options;
  CudaKeptColumns kept;
  QuantizePieces pieces;
  float threshold = 0;  // OutlierThreshold of the options
  int32_t multiprocessors = 1;
};

// Enqueues one kernel where rows are few, else two (four where one range spans all rows). Requires:
// tokens > 0; both extents int32. Stream order alone orders them: each waits for the kernel in
// front itself.
CudaStatus LaunchQuantizeActivations(const QuantizeCall& call, void* stream);

}  // namespace octavo::cuda
