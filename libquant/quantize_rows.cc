#include "libquant/quantize_rows.h"

#include <cstring>

namespace octavo::quant {
namespace {

using format::Method;
using kernels::CpuKernels;
using kernels::ElementBytes;
using kernels::ElementType;
using kernels::WeightRange;
using kernels::ZeropointGrid;

float Absmax(const MatrixRange& range) { return range.hi > -range.lo ? range.hi : -range.lo; }

// Whether one pass gives codes and errors: errors are those from the source's values.
bool EncodesMeasured(const CpuKernels& kernels, const RowTask& task, float absmax) {
  return kernels.encode_measured != nullptr && task.type != ElementType::kFloat32 &&
         task.weights == task.source && absmax < 0x1p120f;
}

// Codes, scale, sum and zero point of one row, and where that costs nothing more its errors: true.
bool EncodeRow(const CpuKernels& kernels, const RowTask& task, const std::byte* row,
               const MatrixRange& range, size_t row_idx, RowResults* results) {
  int8_t* codes = results->codes.data() + row_idx * task.in_features;
  if (IsZeropoint(task.method)) {
    const ZeropointGrid grid = kernels::MakeZeropointGrid(range.lo, range.hi);
    results->code_sum[row_idx] =
        kernels.encode_zeropoint(row, task.type, task.in_features, grid, codes);
    results->scale[row_idx] = grid.step;
    results->zero_point[row_idx] = grid.zero_point - 128;
    return false;
  }
  const float absmax = kernels::StoredAbsmax(Absmax(range));
  results->scale[row_idx] = absmax;
  if (!EncodesMeasured(kernels, task, absmax)) {
    results->code_sum[row_idx] =
        kernels.encode_symmetric(row, task.type, task.in_features, absmax, codes);
    return false;
  }
  kernels::WeightError error;
  results->code_sum[row_idx] =
      kernels.encode_measured(row, task.type, task.in_features, absmax, codes, &error);
  results->error[row_idx] = {error.weight_squares, error.error_squares, error.max_error,
                             error.saturated};
  return true;
}

void TakeKept(const RowTask& task, const std::byte* source_row, size_t row_idx,
              RowResults* results) {
  const size_t element = ElementBytes(task.source_type);
  std::byte* out = results->kept.data() + row_idx * task.kept_index.size() * element;
  for (const int32_t column : task.kept_index) {
    std::memcpy(out, source_row + static_cast<size_t>(column) * element, element);
    out += element;
  }
}

}  // namespace

bool NeedsMatrixRange(Method method) {
  return method == Method::kTensorWise || method == Method::kRowWise ||
         method == Method::kZeropointTensor;
}

bool IsZeropoint(Method method) {
  return method == Method::kZeropointTensor || method == Method::kZeropointVector;
}

bool QuantizeRows(const CpuKernels& kernels, const RowTask& task, RowResults* results) {
  const bool is_zeropoint = IsZeropoint(task.method);
  const size_t row_bytes = task.in_features * ElementBytes(task.type);
  const size_t source_row_bytes = task.in_features * ElementBytes(task.source_type);
  results->codes.resize(task.num_rows * task.in_features);
  results->scale.resize(task.num_rows);
  results->code_sum.resize(task.num_rows);
  results->zero_point.resize(is_zeropoint ? task.num_rows : 0);
  results->error.resize(task.num_rows);
  results->kept.resize(task.num_rows * task.kept_index.size() * ElementBytes(task.source_type));
  for (size_t row_idx = 0; row_idx < task.num_rows; ++row_idx) {
    const std::byte* row = static_cast<const std::byte*>(task.weights) + row_idx * row_bytes;
    const std::byte* source_row = task.source + row_idx * source_row_bytes;
    MatrixRange range = task.range;
    if (!NeedsMatrixRange(
            task.method)) {  // otherwise the pass that took the range looked at every value
      const WeightRange row_range = kernels.weight_range(row, task.type, task.in_features);
      if (row_range.first_non_finite != SIZE_MAX) return false;
      range = {row_range.lo, row_range.hi};
    }
    if (!EncodeRow(kernels, task, row, range, row_idx, results)) {
      const Decoding decoding{results->scale[row_idx],
                              is_zeropoint ? results->zero_point[row_idx] : 0, is_zeropoint};
      results->error[row_idx] = MeasureRow(source_row, task.source_type,
                                           results->codes.data() + row_idx * task.in_features,
                                           task.in_features, decoding);
    }
    if (!task.kept_index.empty()) TakeKept(task, source_row, row_idx, results);
  }
  return true;
}

}  // namespace octavo::quant
