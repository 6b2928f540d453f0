// The work of `octavo forward`: read activations, quantize, multiply, measure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "octavo/linear.h"
#include "octavo/shape.h"
#include "tools/json.h"

namespace octavo::tools {

struct ForwardRequest {
  QuantizeOptions quantize;
  std::optional<DType> output_dtype;  // empty: the input's
  Device device = kCpuDevice;
  std::string cpu;          // kernels by name; empty: the best
  std::string compare;      // a source to measure the error against; empty: none
  int32_t num_threads = 0;  // 0: one for each CPU
  int32_t repeat = 1;
};

struct ForwardOutcome {
  std::string module, backend, input_tensor;
  Device device;
  DType x_dtype = DType::kF16, y_dtype = DType::kF16;
  Shape x_shape, y_shape;  // as in the files: [..., features]
  std::vector<std::byte> y;
  int64_t tokens = 0;
  std::vector<int64_t> outlier_columns;
  int64_t outlier_entries = 0;
  int64_t kept_columns = 0;
  std::vector<double> seconds;  // of each repetition
  std::optional<double> relative_error;
  int32_t num_threads = 0;

  double median_seconds() const;
};

// `input`: a safetensors file with a tensor named like the linear, or with just one: F16, BF16 or
// F32,
// [..., in_features]. Errors: as the runtime's, and kInvalidArgument for an input that does not
// fit.
Result<ForwardOutcome> RunForward(const Linear& linear, int64_t expert, const std::string& input,
                                  const ForwardRequest& request);

std::string OutcomeText(const ForwardOutcome& outcome);
Json OutcomeJson(const ForwardOutcome& outcome);

// |y - y64| / |y64| (Frobenius), y64 = x W^T + bias in float64 with the source's own weights.
// x: [tokens, in_features] of x_dtype, y: [tokens, out_features] of y_dtype, rows contiguous.
Result<double> RelativeError(const Linear& linear, int64_t expert, const std::string& source,
                             ConstTensorView x, ConstTensorView y,
                             const kernels::ParallelFor& parallel);

}  // namespace octavo::tools
