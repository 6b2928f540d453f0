// From rows of weights to codes, scales and sums, by the method's formulas (docs/numerics.md,
// section 2).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "libquant/error_metrics.h"
#include "libquant/weight_rows.h"
#include "octavo/kernels.h"
#include "octavo/manifest.h"

namespace octavo::quant {

// Smallest and largest weight of a whole matrix, 0 included.
struct MatrixRange {
  float lo = 0;
  float hi = 0;
};

// Whether the method takes one range over all of a matrix, which costs a pass of its own over the
// source.
bool NeedsMatrixRange(format::Method method);
// Whether codes are zero-point codes with a step.
bool IsZeropoint(format::Method method);

struct RowTask {
  const std::byte* source = nullptr;  // [rows][in_features], the source's values
  kernels::ElementType source_type = kernels::ElementType::kFloat16;
  const void* weights = nullptr;  // the same, or rounded to fp16: what is quantized
  kernels::ElementType type = kernels::ElementType::kFloat16;
  uint64_t in_features = 0;
  uint64_t num_rows = 0;
  format::Method method = format::Method::kVectorWise;
  MatrixRange range;  // where NeedsMatrixRange
  std::span<const int32_t> kept_index;
};

struct RowResults {
  std::vector<int8_t> codes;        // [rows][in_features]
  std::vector<float> scale;         // [rows]
  std::vector<int32_t> code_sum;    // [rows]
  std::vector<int32_t> zero_point;  // [rows], zeropoint methods only
  std::vector<ErrorSums> error;     // [rows]
  std::vector<std::byte> kept;      // [rows][kept], elements of the source's type
  bool full_range = false;          // a code that was taken over is -128
};

// Fills *results; false if a weight is not finite. Thread-safe.
bool QuantizeRows(const kernels::CpuKernels& kernels, const RowTask& task, RowResults* results);

// Fills *results for rows of codes that are taken over: [results->scale.size()][in_features], with
// their scales in place. The first row with a code other than 0 under a scale that says there is
// none; nothing: all is well. Thread-safe.
std::optional<uint64_t> MeasureCodes(const std::byte* codes, uint64_t in_features,
                                     format::ScaleConvention convention, RowResults* results);

}  // namespace octavo::quant
