// The scalar formulas of docs/numerics.md, as every kernel of this folder computes them: one
// rounding for each written operation where a code or a scale depends on it.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cuda/operands.h"
#include "kernels/cuda/primitives.h"

namespace octavo::cuda {

OCTAVO_DEVICE uint32_t FloatBits(float value) {
  uint32_t bits = 0;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}
OCTAVO_DEVICE float BitsFloat(uint32_t bits) {
  float value = 0;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// Section 3. How a row's values become codes: rne(x * inverse_step) + zero_point, clamped.
struct RowGrid {
  float inverse_step = 0;
  float scale = 0;  // s
  int32_t zero_point = 0;
};

// lo = min(0, smallest), hi = max(0, largest) of the row's range.
OCTAVO_DEVICE RowGrid MakeRowGrid(float lo, float hi, bool symmetric) {
  RowGrid grid;
  if (symmetric) {
    const float absmax = hi > -lo ? hi : -lo;
    if (absmax < 127.0f * 0x1p-126f) return grid;  // every code is 0
    grid.inverse_step = MulRn(127.0f, DivRn(1.0f, absmax));
    grid.scale = DivRn(absmax, 127.0f);
    return grid;
  }
  float range = SubRn(hi, lo);
  float levels = 255.0f;
  if (range < 255.0f * 0x1p-126f) return grid;
  if (!(range <= 0x1.fffffep127f)) {  // hi - lo overflows
    range = SubRn(MulRn(hi, 0.5f), MulRn(lo, 0.5f));
    levels = 127.5f;
  }
  grid.inverse_step = DivRn(levels, range);
  grid.scale = DivRn(range, levels);
  grid.zero_point = RoundToInt(MulRn(-lo, grid.inverse_step));
  return grid;
}

// Section 3: an outlier entry is one that is not below the threshold, NaN included. Where only
// non-finite entries are outliers, operations.cc passes infinity.
OCTAVO_DEVICE bool IsOutlier(float seen, float threshold) {
  return !((seen < 0.0f ? -seen : seen) < threshold);
}

// X as detection and quantization see it.
OCTAVO_DEVICE float Seen(float value, bool via_fp16) {
  return via_fp16 ? HalfToFloat(FloatToHalf(value)) : value;
}

OCTAVO_DEVICE float LoadElement(const void* data, ElementType type, int64_t index) {
  if (type == ElementType::kFloat32) return static_cast<const float*>(data)[index];
  const uint16_t bits = static_cast<const uint16_t*>(data)[index];
  return type == ElementType::kFloat16 ? HalfToFloat(bits) : BFloat16ToFloat(bits);
}

OCTAVO_DEVICE void StoreElement(float value, void* data, ElementType type, int64_t index) {
  if (type == ElementType::kFloat32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<uint16_t*>(data)[index] =
        type == ElementType::kFloat16 ? FloatToHalf(value) : FloatToBFloat16(value);
  }
}

// a - b * c modulo 2^32.
OCTAVO_DEVICE int32_t LessProduct(int32_t a, int32_t b, int32_t c) {
  return static_cast<int32_t>(static_cast<uint32_t>(a) -
                              static_cast<uint32_t>(b) * static_cast<uint32_t>(c));
}

// Section 4, modulo 2^32: the product of codes less what the zero points of both sides add.
//   sum (u - z)(c - w) = sum u c - z sum c - w (sum u - in_features z)
OCTAVO_DEVICE int32_t CorrectedAcc(int32_t product, int32_t x_zero_point, int32_t x_code_sum,
                                   int32_t w_code_sum, int32_t w_zero_point, int32_t in_features) {
  const int32_t x_sum = LessProduct(x_code_sum, in_features, x_zero_point);
  return LessProduct(LessProduct(product, x_zero_point, w_code_sum), w_zero_point, x_sum);
}

// The first, second or third bf16 term of a float, by truncation: their sum is the value (below
// 2^-100 the third may be lost). What is not finite is in the first one alone.
OCTAVO_DEVICE uint16_t BFloat16Term(float value, int term) {
  const uint32_t bits = FloatBits(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) {
    if (term > 0) return 0;
    const bool is_nan = (bits & 0x007fffffu) != 0;
    return static_cast<uint16_t>((bits >> 16) | (is_nan ? 0x40u : 0u));
  }
  for (int i = 0; i < term; ++i) value = SubRn(value, BitsFloat(FloatBits(value) & 0xffff0000u));
  return static_cast<uint16_t>(FloatBits(value) >> 16);
}

}  // namespace octavo::cuda
