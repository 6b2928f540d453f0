// The tolerance itself: what it must let pass, and what it must not.
#include "tests/testing/tolerance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "octavo/half.h"

namespace octavo::testing {
namespace {

using kernels::ElementType;

constexpr float kInf = std::numeric_limits<float>::infinity();

reference::ExactOutput Exact(double y, double magnitude, size_t unquantized = 0) {
  return {y, magnitude, unquantized, false};
}

TEST(UlpAt, IsTheDistanceOfNeighbours) {
  EXPECT_EQ(UlpAt(ElementType::kFloat16, 1.0), 0x1p-10);
  EXPECT_EQ(UlpAt(ElementType::kFloat16, 2047.0), 1.0);
  EXPECT_EQ(UlpAt(ElementType::kFloat16, 0.0), 0x1p-24);
  EXPECT_EQ(UlpAt(ElementType::kFloat16, 0x1p-20), 0x1p-24);
  EXPECT_EQ(UlpAt(ElementType::kBFloat16, 1.0), 0x1p-7);
  EXPECT_EQ(UlpAt(ElementType::kBFloat16, 0.0), 0x1p-133);
  EXPECT_EQ(UlpAt(ElementType::kFloat32, 1.5), 0x1p-23);
  EXPECT_EQ(UlpAt(ElementType::kFloat32, 1e-45), 0x1p-149);
}

TEST(ErrorBound, IsTheFormula) {
  EXPECT_EQ(ErrorBound(Exact(0, 4)), 8 * 0x1p-24 * 4 + 4 * 0x1p-150);
  EXPECT_EQ(ErrorBound(Exact(0, 1, 3)), 11 * 0x1p-24 + 7 * 0x1p-150);
  EXPECT_EQ(ErrorBound(Exact(0, 1, 3), {2, 0x1p-23, false}), 14 * 0x1p-23 + 7 * 0x1p-150);
  EXPECT_EQ(ErrorBound(Exact(0, 1, 3), {1, 0x1p-24, true}), 38 * 0x1p-24 + 7 * 0x1p-150);
}

TEST(IsWithinBound, OneStepOfTheOutputTypeIsTooFar) {
  const reference::ExactOutput exact = Exact(1.0, 1.0);
  EXPECT_TRUE(IsWithinBound(1.0, ElementType::kFloat16, exact));
  EXPECT_FALSE(IsWithinBound(1.0 + 0x1p-10, ElementType::kFloat16, exact));
  EXPECT_FALSE(IsWithinBound(-1.0, ElementType::kFloat16, exact));
  EXPECT_TRUE(IsWithinBound(1.0 + 4 * 0x1p-23, ElementType::kFloat32, exact));
  EXPECT_FALSE(IsWithinBound(1.0 + 5 * 0x1p-23, ElementType::kFloat32, exact));
}

TEST(IsWithinBound, NanAndInfinitiesMatchExactly) {
  const double nan = std::nan("");
  EXPECT_FALSE(IsWithinBound(nan, ElementType::kFloat32, Exact(1, 1)));
  EXPECT_FALSE(IsWithinBound(kInf, ElementType::kFloat32, Exact(1, 1)));
  EXPECT_FALSE(IsWithinBound(1, ElementType::kFloat32, Exact(nan, 1)));
  EXPECT_FALSE(IsWithinBound(kInf, ElementType::kFloat32, Exact(nan, 1)));
  EXPECT_TRUE(IsWithinBound(nan, ElementType::kFloat32, Exact(nan, 1)));
  EXPECT_TRUE(IsWithinBound(-kInf, ElementType::kFloat32, Exact(-kInf, 1)));
  EXPECT_FALSE(IsWithinBound(kInf, ElementType::kFloat32, Exact(-kInf, 1)));
  EXPECT_FALSE(IsWithinBound(nan, ElementType::kFloat32, Exact(-kInf, 1)));
}

TEST(IsWithinBound, OverflowOfTheOutputTypeGivesInfinity) {
  EXPECT_TRUE(IsWithinBound(kInf, ElementType::kFloat16, Exact(65520, 65520)));
  EXPECT_FALSE(IsWithinBound(-kInf, ElementType::kFloat16, Exact(65520, 65520)));
  EXPECT_FALSE(IsWithinBound(kInf, ElementType::kFloat16, Exact(65504, 65504)));
  EXPECT_FALSE(IsWithinBound(65504, ElementType::kFloat16, Exact(70000, 70000)));
  EXPECT_EQ(FormatOf(ElementType::kFloat16).overflow, 65520.0);
  for (const ElementType type : {ElementType::kFloat16, ElementType::kBFloat16}) {
    const float overflow = static_cast<float>(FormatOf(type).overflow),
                below = std::nextafter(overflow, 0.0f);
    const bool half = type == ElementType::kFloat16;
    EXPECT_EQ(half ? kernels::FloatToHalf(overflow) : kernels::FloatToBFloat16(overflow),
              half ? 0x7c00 : 0x7f80);
    EXPECT_NE(half ? kernels::FloatToHalf(below) : kernels::FloatToBFloat16(below),
              half ? 0x7c00 : 0x7f80);
  }
}

TEST(IsWithinBound, FloatSumsThatOverflowMayBeNan) {
  reference::ExactOutput exact = Exact(1, 1e39);
  exact.may_overflow = true;
  EXPECT_TRUE(IsWithinBound(std::nan(""), ElementType::kFloat32, exact));
  EXPECT_TRUE(IsWithinBound(kInf, ElementType::kFloat32, exact));
}

}  // namespace
}  // namespace octavo::testing
