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
constexpr size_t kTile = 512;  // floats that stay in the first-level cache between the two loops

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

void LoadFloats(const void* weights, ElementType type, size_t first, size_t count, float* out) {
  if (type == ElementType::kFloat32) {
    std::memcpy(out, static_cast<const float*>(weights) + first, count * sizeof(float));
    return;
  }
  const uint16_t* source = static_cast<const uint16_t*>(weights) + first;
  if (type == ElementType::kFloat16) {
    for (size_t i = 0; i < count; ++i) out[i] = FiniteHalfToFloat(source[i]);
  } else {
    for (size_t i = 0; i < count; ++i) out[i] = kernels::BFloat16ToFloat(source[i]);
  }
}

struct Lanes {
  double weight_squares[kLanes] = {};
  double error_squares[kLanes] = {};
  double max_error[kLanes] = {};
};

// Eight elements, one for each lane.
inline void AddGroup(const float* weights, const int8_t* codes, double divisor, double scale,
                     int32_t zero_point, Lanes* lanes) {
  for (size_t lane = 0; lane < kLanes; ++lane) {
    const double weight = weights[lane];
    const double error = divisor * weight - static_cast<double>(codes[lane] - zero_point) * scale;
    lanes->weight_squares[lane] += weight * weight;
    lanes->error_squares[lane] += error * error;
    const double magnitude = std::fabs(error);
    lanes->max_error[lane] =
        magnitude > lanes->max_error[lane] ? magnitude : lanes->max_error[lane];
  }
}

uint64_t CountSaturated(const int8_t* codes, size_t count, bool is_step) {
  const int8_t low = is_step ? -128 : -127;
  uint32_t saturated = 0;
  for (size_t i = 0; i < count; ++i) saturated += (codes[i] == 127) | (codes[i] == low);
  return saturated;
}

double SumLanes(const double* lanes) {
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
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
  float tile[kTile];
  for (size_t first = 0; first < in_features; first += kTile) {
    const size_t count = std::min(kTile, in_features - first);
    LoadFloats(weights, type, first, count, tile);
    size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      AddGroup(tile + i, codes + first + i, divisor, decoding.scale, decoding.zero_point, &lanes);
    }
    if (i < count) {  // the rest as a group whose other lanes have weight and error 0
      float weight_rest[kLanes] = {};
      int8_t code_rest[kLanes];
      std::fill_n(code_rest, kLanes, static_cast<int8_t>(decoding.zero_point));
      std::copy(tile + i, tile + count, weight_rest);
      std::copy(codes + first + i, codes + first + count, code_rest);
      AddGroup(weight_rest, code_rest, divisor, decoding.scale, decoding.zero_point, &lanes);
    }
  }
  ErrorSums sums;
  sums.weight_squares = SumLanes(lanes.weight_squares);
  sums.error_squares = SumLanes(lanes.error_squares);
  sums.max_error = *std::max_element(lanes.max_error, lanes.max_error + kLanes);
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
