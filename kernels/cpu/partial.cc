// FinishPartials: the bias and the one rounding of a product whose in_features were split.
#include <algorithm>

#include "kernels/cpu/fp_environment.h"
#include "kernels/cpu/parallel.h"
#include "octavo/half.h"
#include "octavo/kernels.h"

namespace octavo::kernels {
namespace {

// Output features of one task: enough work to hand out, also where there is one row.
constexpr size_t kPiece = 2048;

void WidenBias(const LinearView& linear, size_t begin, size_t count, float* bias) {
  const auto* halves = static_cast<const uint16_t*>(linear.bias) + begin;
  switch (linear.bias_type) {
    case ElementType::kFloat16:
      std::transform(halves, halves + count, bias, HalfToFloat);
      break;
    case ElementType::kBFloat16:
      std::transform(halves, halves + count, bias, BFloat16ToFloat);
      break;
    case ElementType::kFloat32:
      std::copy_n(static_cast<const float*>(linear.bias) + begin, count, bias);
      break;
  }
}

void Narrow(const float* values, size_t count, const OutputView& y, size_t offset) {
  switch (y.type) {
    case ElementType::kFloat16:
      std::transform(values, values + count, static_cast<uint16_t*>(y.data) + offset, FloatToHalf);
      break;
    case ElementType::kBFloat16:
      std::transform(values, values + count, static_cast<uint16_t*>(y.data) + offset,
                     FloatToBFloat16);
      break;
    case ElementType::kFloat32:
      std::copy_n(values, count, static_cast<float*>(y.data) + offset);
      break;
  }
}

void FinishPiece(const float* sums, const LinearView& linear, const OutputView& y, size_t row,
                 size_t begin, size_t count) {
  const FpEnvironment environment;
  float finished[kPiece], bias[kPiece];
  std::copy_n(sums, count, finished);
  if (linear.bias != nullptr) {
    WidenBias(linear, begin, count, bias);
    for (size_t i = 0; i < count; ++i) finished[i] += bias[i];
  }
  Narrow(finished, count, y, row * y.row_stride + begin);
}

}  // namespace

KernelStatus FinishPartials(const float* sums, size_t sums_stride, size_t tokens,
                            const LinearView& linear, const OutputView& y,
                            const ParallelFor& parallel) {
  const size_t out_features = linear.out_features;
  if (tokens == 0 || out_features == 0) return KernelStatus::kOk;
  const bool has_strides =
      tokens == 1 || (sums_stride >= out_features && y.row_stride >= out_features);
  if (sums == nullptr || y.data == nullptr || !has_strides || !IsKnown(y.type) ||
      (linear.bias != nullptr && !IsKnown(linear.bias_type))) {
    return KernelStatus::kInvalidArgument;
  }
  const size_t pieces = (out_features + kPiece - 1) / kPiece;
  RunParallel(parallel, tokens * pieces, [&](size_t i) {
    const size_t row = i / pieces, begin = i % pieces * kPiece;
    FinishPiece(sums + row * sums_stride + begin, linear, y, row, begin,
                std::min(kPiece, out_features - begin));
  });
  return KernelStatus::kOk;
}

}  // namespace octavo::kernels
