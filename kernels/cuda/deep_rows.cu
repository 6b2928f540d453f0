// The product of rows so long that acc leaves int32 (docs/numerics.md, section 4): a warp for each
// element of y, sums in int64. For completeness, not for speed: the limit is beyond 33,000 columns.
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/products.h"

namespace octavo::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;

OCTAVO_DEVICE int32_t CodeAt(const uint8_t* codes, int64_t index, bool is_signed) {
  return is_signed ? static_cast<int8_t>(codes[index]) : codes[index];
}

// 64 bits through the 32-bit exchange of a warp.
OCTAVO_DEVICE int64_t SumOverWarp(int64_t value) {
  OCTAVO_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) {
    const auto low = static_cast<uint32_t>(value);
    const auto high = static_cast<uint32_t>(static_cast<uint64_t>(value) >> 32);
    const uint64_t other = ShuffleXor(low, mask) | static_cast<uint64_t>(ShuffleXor(high, mask))
                                                       << 32;
    value += static_cast<int64_t>(other);
  }
  return value;
}

OCTAVO_DEVICE int64_t ExactAcc(const ProductOperands& o, int64_t row, int64_t col) {
  int64_t sum = 0;
  for (int64_t k = LaneIdx(); k < o.in_features; k += 32)
    sum += CodeAt(o.x_codes, row * o.code_stride + k, o.symmetric) *
           o.w_codes[col * o.code_stride + k];
  sum = SumOverWarp(sum);
  const int64_t x_zero_point = o.x_zero_point[row];
  const int64_t w_zero_point = o.w_zero_point != nullptr ? o.w_zero_point[col] : 0;
  return sum - x_zero_point * o.w_code_sum[col] -
         w_zero_point * (o.x_code_sum[row] - o.in_features * x_zero_point);
}

// The same steps as in every other kernel: scope token wants the same bits everywhere.
OCTAVO_DEVICE float Finish(const ProductOperands& o, int64_t acc, int64_t row, int64_t col) {
  float sum = MulRn(LongToFloat(acc), o.x_scale[row]);
  const int32_t zero_point = o.w_zero_point != nullptr ? o.w_zero_point[col] : 0;
  for (int32_t i = 0; i < *o.num_outlier_columns; ++i) {
    const int32_t k = o.outlier_columns[i];
    const float x = LoadElement(o.x, o.x_type, row * o.x_stride + k);
    if (o.by_entry && !IsOutlier(Seen(x, o.via_fp16), o.threshold)) continue;
    sum = FmaRn(x, IntToFloat(o.w_codes[col * o.code_stride + k] - zero_point), sum);
  }
  sum = MulRn(sum, o.multiplier[col]);
  for (int32_t j = 0; j < o.num_kept; ++j) {
    const float x = LoadElement(o.x, o.x_type, row * o.x_stride + o.kept_index[j]);
    sum = FmaRn(x, LoadElement(o.kept_weight, o.kept_type, int64_t{j} * o.out_features + col), sum);
  }
  return o.bias == nullptr ? sum : AddRn(sum, LoadElement(o.bias, o.bias_type, col));
}

OCTAVO_KERNEL void OCTAVO_LAUNCH_BOUNDS(kThreads, 1) DeepRowsKernel(ProductOperands o) {
  AllowNextKernel();
  WaitForPreviousKernel();
  const int64_t elements = int64_t{o.tokens} * o.out_features;
  for (int64_t i = int64_t{BlockX()} * kWarps + WarpIdx(); i < elements;
       i += int64_t{GridX()} * kWarps) {
    const int64_t row = i / o.out_features, col = i % o.out_features;
    const int64_t acc = ExactAcc(o, row, col);
    if (LaneIdx() != 0) continue;
    if (o.raw_acc != nullptr) {
      o.raw_acc[i] = acc;
    } else {
      StoreElement(Finish(o, acc, row, col), o.y, o.y_type, row * o.y_stride + col);
    }
  }
}

}  // namespace

CudaStatus LaunchDeepRows(const ProductOperands& o, void* stream) {
  const int64_t blocks = (int64_t{o.tokens} * o.out_features + kWarps - 1) / kWarps;
  LaunchConfig config;
  config.grid_x = static_cast<uint32_t>(blocks < 65536 ? blocks : 65536);
  config.threads = kThreads;
  config.overlap = true;
  return Launch(config, stream, DeepRowsKernel, o);
}

}  // namespace octavo::cuda
