// fp16 and bf16 conversions, exhaustively: the public ones against arithmetic in double, and those
// inside every table (which may be written differently) through a weight's range and a bias.
#include "octavo/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "tests/kernels/tables.h"
#include "tests/testing/guarded_buffer.h"
#include "tests/testing/typed_matrix.h"

namespace octavo::kernels {
namespace {

constexpr ElementType kNarrowTypes[] = {ElementType::kFloat16, ElementType::kBFloat16};

// The value of a 16-bit float from its fields.
double ValueOf(uint16_t bits, ElementType type) {
  const int fraction_bits = type == ElementType::kFloat16 ? 10 : 7;
  const int max_exponent = type == ElementType::kFloat16 ? 31 : 255;
  const int bias = type == ElementType::kFloat16 ? 15 : 127;
  const int exponent = (bits & 0x7fff) >> fraction_bits;
  const int fraction = bits & ((1 << fraction_bits) - 1);
  double value = 0;
  if (exponent == max_exponent) {
    value = fraction == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(fraction, 1 - bias - fraction_bits);
  } else {
    value = std::ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

float WidenPublic(uint16_t bits, ElementType type) {
  return type == ElementType::kFloat16 ? HalfToFloat(bits) : BFloat16ToFloat(bits);
}
uint16_t NarrowPublic(float value, ElementType type) {
  return type == ElementType::kFloat16 ? FloatToHalf(value) : FloatToBFloat16(value);
}

// Floats around every boundary of rounding: each 16-bit value, the middle to its neighbour, and one
// float beside.
std::vector<float> BoundaryValues(ElementType type) {
  std::vector<float> values;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = WidenPublic(static_cast<uint16_t>(bits), type);
    values.push_back(value);
    if (!std::isfinite(value)) continue;
    const uint16_t next_bits = static_cast<uint16_t>(bits + 1);
    const float next = WidenPublic(next_bits, type);
    // Past the largest number the neighbour would be the next power of two.
    const double step =
        std::isfinite(next)
            ? static_cast<double>(next) - value
            : static_cast<double>(value) - WidenPublic(static_cast<uint16_t>(bits - 1), type);
    const float middle = static_cast<float>(value + step / 2);
    values.insert(values.end(),
                  {middle, std::nextafter(middle, -INFINITY), std::nextafter(middle, INFINITY)});
  }
  for (const float value : {1e-45f, 1e-40f, 1e30f, 65519.99f, 65520.0f, 65535.0f, 3.4e38f}) {
    values.insert(values.end(), {value, -value});
  }
  return values;
}

// To nearest, half to even, by search among the neighbours in double.
uint16_t NarrowBySearch(float value, ElementType type) {
  const uint16_t infinity = type == ElementType::kFloat16 ? 0x7c00 : 0x7f80;
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::abs(static_cast<double>(value));
  uint16_t low = 0, high = infinity;  // the largest number not above, and the one after it
  while (high - low > 1) {
    const uint16_t middle = static_cast<uint16_t>((low + high) / 2);
    (ValueOf(middle, type) <= magnitude ? low : high) = middle;
  }
  if (std::isinf(value)) return sign | infinity;
  const double below = ValueOf(low, type);
  const double above = high == infinity ? 2 * below - ValueOf(static_cast<uint16_t>(low - 1), type)
                                        : ValueOf(high, type);
  const double middle = (below + above) / 2;
  const bool up = magnitude > middle || (magnitude == middle && (low & 1) != 0);
  return sign | (up ? high : low);
}

TEST(Half, WidensAllValues) {
  for (const ElementType type : kNarrowTypes) {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      const float value = WidenPublic(static_cast<uint16_t>(bits), type);
      const double expected = ValueOf(static_cast<uint16_t>(bits), type);
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(value)) << bits;
      } else {
        ASSERT_EQ(value, expected) << bits;
        ASSERT_EQ(std::signbit(value), std::signbit(expected)) << bits;
      }
    }
  }
}

TEST(Half, NarrowsToNearestEven) {
  for (const ElementType type : kNarrowTypes) {
    for (const float value : BoundaryValues(type)) {
      const uint16_t bits = NarrowPublic(value, type);
      if (std::isnan(value)) {
        ASSERT_TRUE(std::isnan(WidenPublic(bits, type))) << value;
      } else {
        ASSERT_EQ(bits, NarrowBySearch(value, type))
            << testing::NameOf(type) << " " << std::hexfloat << value;
      }
    }
  }
}

TEST(Half, KeepsNaN) {
  for (const uint32_t bits : {0x7f800001u, 0xff800001u, 0x7fc00000u, 0x7fffffffu, 0xffffffffu}) {
    const float nan = std::bit_cast<float>(bits);
    EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(nan)))) << bits;
    EXPECT_TRUE(std::isnan(BFloat16ToFloat(FloatToBFloat16(nan)))) << bits;
  }
}

class HalfInside : public EachTable {};
OCTAVO_FOR_EACH_TABLE(HalfInside);

TEST_P(HalfInside, WidensAllValues) {
  for (const ElementType type : kNarrowTypes) {
    for (uint32_t i = 0; i < 0x10000; ++i) {
      const uint16_t bits = static_cast<uint16_t>(i);
      const float value = WidenPublic(bits, type);
      const WeightRange range = table().weight_range(&bits, type, 1);
      ASSERT_EQ(range.first_non_finite, std::isfinite(value) ? SIZE_MAX : 0) << i;
      ASSERT_EQ(range.hi, value > 0 ? value : 0) << i;
      ASSERT_EQ(range.lo, value < 0 ? value : 0) << i;
    }
  }
}

// A linear without input features gives its bias, rounded once.
TEST_P(HalfInside, NarrowsLikeThePublicOnes) {
  for (const ElementType type : kNarrowTypes) {
    const std::vector<float> bias = BoundaryValues(type);
    const std::vector<float> multiplier(bias.size());
    const std::vector<int32_t> code_sum(bias.size());
    LinearView linear;
    linear.out_features = bias.size();
    linear.layout = table().layout;
    linear.multiplier = multiplier.data();
    linear.code_sum = code_sum.data();
    linear.bias = bias.data();
    linear.bias_type = ElementType::kFloat32;
    const ActivationView x{nullptr, ElementType::kFloat16, 1, 0, 0};
    testing::GuardedBuffer quantize_workspace(QuantizeWorkspaceBytes(1, 0, {}), 64);
    QuantizedActivations q;
    ASSERT_EQ(QuantizeActivations(table(), x, {}, {}, SerialFor(), quantize_workspace.data(),
                                  quantize_workspace.size(), &q),
              KernelStatus::kOk);
    testing::GuardedBuffer workspace(MultiplyWorkspaceBytes(table(), 1, linear, SerialFor()), 64);
    std::vector<uint16_t> y(bias.size());
    ASSERT_EQ(Multiply(table(), q, linear, {y.data(), type, y.size()}, SerialFor(),
                       workspace.data(), workspace.size()),
              KernelStatus::kOk);
    for (size_t n = 0; n < y.size(); ++n) {
      if (std::isnan(bias[n])) {
        ASSERT_TRUE(std::isnan(WidenPublic(y[n], type))) << n;
      } else if (bias[n] != 0) {  // 0 + (-0) is +0
        ASSERT_EQ(y[n], NarrowPublic(bias[n], type)) << std::hexfloat << bias[n];
      }
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
