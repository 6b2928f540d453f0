#include "libquant/error_metrics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "octavo/half.h"

namespace octavo::quant {
namespace {

using kernels::ElementType;

constexpr size_t kLanes = 8;
constexpr size_t kTile = 512;  // values that stay in the first-level cache between the two loops

// Finite halves to floats without a branch, so that the loop vectorizes.
float FiniteHalfToFloat(uint16_t half) {
  const uint32_t magnitude = half & 0x7fffu;
  const uint32_t normal = (magnitude + (112u << 10)) << 13;
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  const uint32_t is_normal = 0u - static_cast<uint32_t>(magnitude >= 0x0400u);
  return std::bit_cast<float>((static_cast<uint32_t>(half & 0x8000u) << 16) | (normal & is_normal) |
                              (subnormal & ~is_normal));
}

void LoadDoubles(const void* weights, ElementType type, size_t first, size_t count, double* out) {
  if (type == ElementType::kFloat32) {
    const float* source = static_cast<const float*>(weights) + first;
    for (size_t i = 0; i < count; ++i) out[i] = source[i];
    return;
  }
  const uint16_t* source = static_cast<const uint16_t*>(weights) + first;
  if (type == ElementType::kFloat16) {
    for (size_t i = 0; i < count; ++i) out[i] = FiniteHalfToFloat(source[i]);
  } else {
    for (size_t i = 0; i < count; ++i) out[i] = kernels::BFloat16ToFloat(source[i]);
  }
}

// Two lanes as one value, the widest that every machine has; spelled out, since compilers do not
// find it by themselves.
using Doubles = double __attribute__((vector_size(2 * sizeof(double))));
constexpr size_t kPairs = kLanes / 2;

struct Lanes {
  Doubles weight_squares[kPairs] = {};
  Doubles error_squares[kPairs] = {};
  Doubles max_square[kPairs] =
      {};  // of the errors: the root of the largest is exactly the largest error
};

Doubles LoadPair(const double* values) {
  Doubles pair;
  std::memcpy(&pair, values, sizeof(pair));
  return pair;
}

// `count` elements, a multiple of eight, each in lane k % 8.
void AddTile(const double* weights, const double* steps, size_t count, double divisor, double scale,
             Lanes* lanes) {
  Lanes sums = *lanes;
  for (size_t i = 0; i < count; i += kLanes) {
    for (size_t pair = 0; pair < kPairs; ++pair) {
      const Doubles weight = LoadPair(weights + i + 2 * pair);
      const Doubles error = divisor * weight - LoadPair(steps + i + 2 * pair) * scale;
      const Doubles square = error * error;
      sums.weight_squares[pair] += weight * weight;
      sums.error_squares[pair] += square;
      sums.max_square[pair] = square > sums.max_square[pair] ? square : sums.max_square[pair];
    }
  }
  *lanes = sums;
}

uint64_t CountSaturated(const int8_t* codes, size_t count, bool is_step) {
  const int8_t low = is_step ? -128 : -127;
  uint32_t saturated = 0;
  for (size_t i = 0; i < count; ++i) saturated += (codes[i] == 127) | (codes[i] == low);
  return saturated;
}

double SumLanes(const Doubles* pairs) {
  return ((pairs[0][0] + pairs[0][1]) + (pairs[1][0] + pairs[1][1])) +
         ((pairs[2][0] + pairs[2][1]) + (pairs[3][0] + pairs[3][1]));
}

double LargestLane(const Doubles* pairs) {
  double largest = 0;
  for (size_t pair = 0; pair < kPairs; ++pair) {
    largest = std::max({largest, pairs[pair][0], pairs[pair][1]});
  }
  return largest;
}

}  // namespace

void ErrorSums::Add(const ErrorSums& row) {
  weight_squares += row.weight_squares;
  error_squares += row.error_squares;
  max_error = std::max(max_error, row.max_error);
  saturated += row.saturated;
}

ErrorSums MeasureRow(const void* weights, ElementType type, const int8_t* codes, size_t in_features,
                     const Decoding& decoding) {
  const double divisor = decoding.is_step ? 1.0 : 127.0;
  Lanes lanes;
  double tile[kTile];
  double steps[kTile];  // code - zero_point
  for (size_t first = 0; first < in_features; first += kTile) {
    const size_t count = std::min(kTile, in_features - first);
    LoadDoubles(weights, type, first, count, tile);
    for (size_t i = 0; i < count; ++i) {
      steps[i] = codes[first + i] - decoding.zero_point;
    }
    const size_t padded = (count + kLanes - 1) / kLanes * kLanes;
    std::fill(tile + count, tile + padded, 0.0);  // adds 0 to the lanes behind the end
    std::fill(steps + count, steps + padded, 0.0);
    AddTile(tile, steps, padded, divisor, decoding.scale, &lanes);
  }
  ErrorSums sums;
  sums.weight_squares = SumLanes(lanes.weight_squares);
  sums.error_squares = SumLanes(lanes.error_squares);
  sums.max_error = std::sqrt(LargestLane(lanes.max_square));
  sums.saturated = CountSaturated(codes, in_features, decoding.is_step);
  return sums;
}

format::ModuleError Summarize(const ErrorSums& sums, bool is_step, uint64_t num_codes,
                              float scale_min, float scale_max) {
  const double divisor = is_step ? 1.0 : 127.0;
  format::ModuleError error;
  if (sums.error_squares > 0) {
    const double ratio = sums.weight_squares * divisor * divisor / sums.error_squares;
    error.snr_db = std::round(1000.0 * std::log10(ratio)) / 100.0;
  }
  error.max_abs_error = sums.max_error / divisor;
  error.saturated_share =
      num_codes == 0 ? 0 : static_cast<double>(sums.saturated) / static_cast<double>(num_codes);
  error.absmax_min = scale_min;
  error.absmax_max = scale_max;
  return error;
}

}  // namespace octavo::quant
