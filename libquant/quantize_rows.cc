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
  results->full_range = false;
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

std::optional<uint64_t> MeasureCodes(const std::byte* codes, uint64_t in_features,
                                     format::ScaleConvention convention, RowResults* results) {
  const uint64_t num_rows = results->scale.size();
  results->codes.resize(num_rows * in_features);
  if (!results->codes.empty()) {
    std::memcpy(results->codes.data(), codes, results->codes.size());
  }
  results->code_sum.assign(num_rows, 0);
  results->zero_point.clear();
  results->error.assign(num_rows, ErrorSums());
  results->kept.clear();
  results->full_range = false;
  for (uint64_t row = 0; row < num_rows; ++row) {
    const int8_t* row_codes = results->codes.data() + row * in_features;
    int32_t sum = 0, num_low = 0, num_ends = 0, used = 0;
    for (uint64_t k = 0; k < in_features; ++k) {
      sum += row_codes[k];
      num_low += row_codes[k] == -128;
      num_ends += row_codes[k] >= 127 || row_codes[k] <= -127;
      used |= row_codes[k];
    }
    const bool is_absmax = convention == format::ScaleConvention::kAbsmax;
    if (is_absmax && results->scale[row] == 0 && used != 0) return row;
    results->code_sum[row] = sum;
    results->error[row].saturated = static_cast<uint64_t>(num_ends);
    results->full_range = results->full_range || num_low > 0;
  }
  return std::nullopt;
}

}  // namespace octavo::quant
