// The weights' side of every table: ranges, non-finite values, rows at odd addresses, and the rules
// for scales.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/reference/llm_int8.h"
#include "tests/kernels/linear_case.h"
#include "tests/kernels/tables.h"

namespace octavo::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr ElementType kTypes[] = {ElementType::kFloat16, ElementType::kBFloat16,
                                  ElementType::kFloat32};

class Weights : public EachTable {};
OCTAVO_FOR_EACH_TABLE(Weights);

TEST_P(Weights, RangeNamesTheFirstNonFiniteValue) {
  for (const ElementType type : kTypes) {
    for (const size_t in_features : {1, 7, 64, 1000, 1537}) {
      for (const size_t position : {size_t{0}, in_features / 2, in_features - 1}) {
        for (const float bad : {kInf, -kInf, std::nanf("")}) {
          reference::Matrix row(1, in_features);
          for (size_t k = 0; k < in_features; ++k) row.at(0, k) = k % 2 == 0 ? 0.5f : -0.25f;
          row.at(0, position) = bad;
          row.at(0, in_features - 1) = bad;
          testing::TypedMatrix typed(row, type);
          const WeightRange range = table().weight_range(typed.data(), type, in_features);
          EXPECT_EQ(range.first_non_finite, position);
          if (bad == kInf) {
            EXPECT_EQ(range.hi, kInf);
          }
          if (bad == -kInf) {
            EXPECT_EQ(range.lo, -kInf);
          }
          if (std::isnan(bad)) {
            EXPECT_LE(range.absmax(), 0.5f);
          }
        }
      }
    }
  }
}

TEST_P(Weights, RangeIncludesZeroAndBothSigns) {
  const float positive[] = {3, 1, 2}, negative[] = {-3, -1, -2}, zeros[] = {0.0f, -0.0f, 0.0f};
  WeightRange range = table().weight_range(positive, ElementType::kFloat32, 3);
  EXPECT_EQ(range.lo, 0);
  EXPECT_EQ(range.hi, 3);
  range = table().weight_range(negative, ElementType::kFloat32, 3);
  EXPECT_EQ(range.lo, -3);
  EXPECT_EQ(range.hi, 0);
  EXPECT_EQ(range.absmax(), 3);
  range = table().weight_range(zeros, ElementType::kFloat32, 3);
  EXPECT_EQ(range.absmax(), 0);
  EXPECT_EQ(table().weight_range(nullptr, ElementType::kFloat16, 0).absmax(), 0);
}

// Rows of a mapped file start where the file's header ends.
TEST_P(Weights, RowsAtOddAddresses) {
  testing::Random random(testing::TestSeed());
  for (const ElementType type : kTypes) {
    const size_t in_features = 333, bytes = in_features * ElementBytes(type);
    testing::TypedMatrix typed(RandomMatrix(random, 1, in_features), type);
    testing::GuardedBuffer odd(bytes + 1);
    std::memcpy(odd.data() + 1, typed.data(), bytes);
    const WeightRange aligned = table().weight_range(typed.data(), type, in_features);
    const WeightRange range = table().weight_range(odd.data() + 1, type, in_features);
    EXPECT_EQ(range.lo, aligned.lo);
    EXPECT_EQ(range.hi, aligned.hi);
    std::vector<int8_t> expected(in_features), codes(in_features);
    table().encode_symmetric(typed.data(), type, in_features, aligned.absmax(), expected.data());
    table().encode_symmetric(odd.data() + 1, type, in_features, aligned.absmax(), codes.data());
    EXPECT_EQ(codes, expected);
  }
}

// Every fp16 weight against many scales: half of the ties and both clamps are among them.
TEST_P(Weights, EveryHalfValueIsEncodedAsDefined) {
  std::vector<uint16_t> row;
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    row.push_back(static_cast<uint16_t>(bits));
    row.push_back(static_cast<uint16_t>(bits | 0x8000));
  }
  for (const float largest : {65504.0f, 1.0f, 0.3f, 0.0123f, 6e-5f}) {
    std::vector<uint16_t> kept;
    for (const uint16_t bits : row) {
      if (std::abs(HalfToFloat(bits)) <= largest) kept.push_back(bits);
    }
    reference::Matrix w(1, kept.size());
    for (size_t k = 0; k < kept.size(); ++k) w.at(0, k) = HalfToFloat(kept[k]);
    const reference::QuantizedWeights expected =
        reference::QuantizeWeights(w, reference::Method::kVectorWise);
    std::vector<int8_t> codes(kept.size());
    const int32_t sum = table().encode_symmetric(kept.data(), ElementType::kFloat16, kept.size(),
                                                 expected.absmax[0], codes.data());
    ASSERT_EQ(codes, expected.codes);
    ASSERT_EQ(sum, expected.code_sum[0]);
  }
}

TEST(StoredAbsmax, IsZeroBelowTheLimit) {
  const float limit = 127.0f * 0x1p-126f;
  EXPECT_EQ(StoredAbsmax(limit), limit);
  EXPECT_EQ(StoredAbsmax(std::nextafter(limit, 0.0f)), 0.0f);
  EXPECT_EQ(StoredAbsmax(0.0f), 0.0f);
  EXPECT_EQ(StoredAbsmax(1e-45f), 0.0f);
  EXPECT_EQ(StoredAbsmax(3e38f), 3e38f);
  EXPECT_TRUE(std::isnormal(StoredAbsmax(limit) / 127.0f));
}

TEST(MakeZeropointGrid, IsTheReferences) {
  testing::Random random(testing::TestSeed());
  const float big = std::numeric_limits<float>::max(), limit = 255.0f * 0x1p-126f;
  std::vector<std::pair<float, float>> ranges = {{0, 0},
                                                 {0, limit},
                                                 {0, std::nextafter(limit, 0.0f)},
                                                 {-limit, 0},
                                                 {-limit / 2, limit / 2},
                                                 {-big, big},
                                                 {-big, 0},
                                                 {0, big},
                                                 {-big, big / 4},
                                                 {-1e-45f, 0},
                                                 {-big / 2, big},
                                                 {-0.0f, 0.0f},
                                                 {-1, 3},
                                                 {-big / 2, big / 2},
                                                 {0, 1e-45f}};
  for (int i = 0; i < 10000; ++i) {
    ranges.emplace_back(-std::exp2(random.Uniform(-127, 127)),
                        std::exp2(random.Uniform(-127, 127)));
  }
  for (const auto& [lo, hi] : ranges) {
    const ZeropointGrid grid = MakeZeropointGrid(lo, hi);
    const reference::ZeropointGrid expected = reference::MakeZeropointGrid(lo, hi);
    ASSERT_EQ(grid.inverse_step, expected.inverse_step) << lo << " " << hi;
    ASSERT_EQ(grid.step, expected.step) << lo << " " << hi;
    ASSERT_EQ(grid.zero_point, expected.zero_point) << lo << " " << hi;
    ASSERT_TRUE(grid.step == 0 || std::isnormal(grid.step)) << lo << " " << hi;
    ASSERT_TRUE(grid.zero_point >= 0 && grid.zero_point <= 255);
  }
}

}  // namespace
}  // namespace octavo::kernels
