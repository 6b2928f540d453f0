// The reference against the examples that docs/numerics.md, section 9, computes by hand.
#include "kernels/reference/llm_int8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace octavo::reference {
namespace {

using kernels::ActivationOptions;
using kernels::Activations;
using kernels::RangeOver;
using kernels::RowRule;
using kernels::Scope;

Matrix Rows(std::vector<std::vector<float>> rows) {
  Matrix matrix(rows.size(), rows.empty() ? 0 : rows[0].size());
  for (size_t r = 0; r < matrix.rows; ++r) {
    for (size_t c = 0; c < matrix.cols; ++c) matrix.at(r, c) = rows[r][c];
  }
  return matrix;
}

ActivationOptions Options(Scope scope, RowRule rule, Activations activations) {
  return {6.0f, scope, rule, activations, RangeOver::kRow, false};
}

const Matrix kW = Rows({{1.0f, -0.5f, 0.25f, 0.0f}});
const Matrix kX = Rows({{-1, 5, 2, 3}, {0.5f, 8, 1, -2}});

TEST(Example1, WeightsOfOneRow) {
  const QuantizedWeights w = QuantizeWeights(kW, Method::kVectorWise);
  EXPECT_EQ(w.absmax, std::vector<float>{1.0f});
  EXPECT_EQ(w.codes, (std::vector<int8_t>{127, -64, 32, 0}));
  EXPECT_EQ(w.code_sum, std::vector<int32_t>{95});
  EXPECT_EQ(w.multiplier(0), 1.0f / 127.0f);
}

TEST(Example2, AsymmetricRowWithoutOutliers) {
  const Matrix x = Rows({{-1, 0, 2, 3}});
  const auto rows = QuantizeActivations(
      x, Options(Scope::kBatch, RowRule::kInlierColumns, Activations::kAsymmetric), {});
  EXPECT_EQ(rows.zero_point, std::vector<int32_t>{64});
  EXPECT_EQ(rows.codes, (std::vector<int32_t>{0, 64, 192, 255}));
  EXPECT_EQ(rows.scale, std::vector<float>{4.0f / 255.0f});
  const QuantizedWeights w = QuantizeWeights(kW, Method::kVectorWise);
  EXPECT_EQ(Accumulate(rows, w), std::vector<int64_t>{-4032});
  EXPECT_NEAR(Multiply(x, rows, w, {}, {}).at(0, 0), -0.4980083, 1e-7);
}

TEST(Example3, OutlierColumnInScopeBatch) {
  const QuantizedWeights w = QuantizeWeights(kW, Method::kVectorWise);
  const auto paper = QuantizeActivations(
      kX, Options(Scope::kBatch, RowRule::kInlierColumns, Activations::kSymmetric), {});
  EXPECT_EQ(paper.outlier_columns, std::vector<int32_t>{1});
  EXPECT_EQ(paper.codes, (std::vector<int32_t>{-42, 0, 85, 127, 32, 0, 64, -127}));
  EXPECT_EQ(paper.scale, (std::vector<float>{3.0f / 127.0f, 2.0f / 127.0f}));
  EXPECT_EQ(Accumulate(paper, w), (std::vector<int64_t>{-2614, 6112}));
  const Matrix y = Multiply(kX, paper, w, {}, {});
  EXPECT_NEAR(y.at(0, 0), -3.0058900, 1e-6);
  EXPECT_NEAR(y.at(1, 0), -3.2736066, 1e-6);

  // bitsandbytes' rule: the 5 of row 0 counts for the range although its column is not quantized.
  const auto bnb = QuantizeActivations(
      kX, Options(Scope::kBatch, RowRule::kBelowThreshold, Activations::kSymmetric), {});
  EXPECT_EQ(bnb.scale, (std::vector<float>{5.0f / 127.0f, 2.0f / 127.0f}));
  EXPECT_EQ(bnb.codes, (std::vector<int32_t>{-25, 0, 51, 76, 32, 0, 64, -127}));
}

TEST(Example4, ScopeTokenLeavesTheOtherRowAlone) {
  const QuantizedWeights w = QuantizeWeights(kW, Method::kVectorWise);
  const auto rows = QuantizeActivations(
      kX, Options(Scope::kToken, RowRule::kInlierColumns, Activations::kSymmetric), {});
  EXPECT_EQ(rows.codes, (std::vector<int32_t>{-25, 127, 51, 76, 32, 0, 64, -127}));
  EXPECT_EQ(rows.unquantized,
            (std::vector<bool>{false, false, false, false, false, true, false, false}));
  EXPECT_EQ(Accumulate(rows, w), (std::vector<int64_t>{-9671, 6112}));
  EXPECT_NEAR(Multiply(kX, rows, w, {}, {}).at(0, 0), -2.9980159, 1e-6);
}

TEST(Example5, KeptColumnUsesItsOwnWeight) {
  const QuantizedWeights w = QuantizeWeights(kW, Method::kVectorWise);
  const KeptColumns kept{{1}, Rows({{-0.5f}})};
  const auto rows = QuantizeActivations(
      kX, Options(Scope::kToken, RowRule::kInlierColumns, Activations::kSymmetric), {1});
  EXPECT_TRUE(rows.outlier_columns.empty());
  EXPECT_EQ(rows.codes, (std::vector<int32_t>{-42, 0, 85, 127, 32, 0, 64, -127}));
  const Matrix y = Multiply(kX, rows, w, kept, {1.0f});
  EXPECT_NEAR(y.at(0, 0), -0.4862050 - 2.5 + 1, 1e-6);
  EXPECT_NEAR(y.at(1, 0), 0.7578895 - 4.0 + 1, 1e-6);
}

TEST(Example6, ZeropointWeights) {
  const QuantizedWeights w = QuantizeWeights(kW, Method::kZeropointVector);
  EXPECT_EQ(w.zero_point, std::vector<int32_t>{-43});
  EXPECT_EQ(w.codes, (std::vector<int8_t>{127, -128, -1, -43}));
  EXPECT_EQ(w.code_sum, std::vector<int32_t>{-45});
  EXPECT_EQ(w.step, std::vector<float>{1.5f / 255.0f});
  const auto rows = QuantizeActivations(
      Rows({{-1, 0, 2, 3}}),
      Options(Scope::kBatch, RowRule::kInlierColumns, Activations::kAsymmetric), {});
  // (0-64)*170 + 0*(-85) + (192-64)*42 + (255-64)*0
  EXPECT_EQ(Accumulate(rows, w), std::vector<int64_t>{-5504});
}

TEST(Example7, NonFiniteEntriesAreOutliersAtAnyThreshold) {
  const float inf = std::numeric_limits<float>::infinity();
  const Matrix x = Rows({{inf, 1, 2, 4}, {1, 1, 2, std::nanf("")}});
  ActivationOptions options =
      Options(Scope::kBatch, RowRule::kInlierColumns, Activations::kSymmetric);
  options.threshold = 0;
  const auto rows = QuantizeActivations(x, options, {});
  EXPECT_EQ(rows.outlier_columns, (std::vector<int32_t>{0, 3}));
  EXPECT_EQ(rows.scale, (std::vector<float>{2.0f / 127.0f, 2.0f / 127.0f}));
  const Matrix y = Multiply(x, rows, QuantizeWeights(kW, Method::kVectorWise), {}, {});
  EXPECT_EQ(y.at(0, 0), inf);           // inf * 127, and 4 * 0
  EXPECT_TRUE(std::isnan(y.at(1, 0)));  // NaN * 0 is NaN
}

TEST(Example8, ScalesThatWouldBeSubnormalAreZero) {
  const float limit = 127.0f * 0x1p-126f;
  const QuantizedWeights w = QuantizeWeights(
      Rows({{limit, -limit / 2}, {std::nextafter(limit, 0.0f), 0.0f}}), Method::kVectorWise);
  EXPECT_EQ(w.absmax, (std::vector<float>{limit, 0.0f}));
  EXPECT_EQ(w.codes, (std::vector<int8_t>{127, -64, 0, 0}));
}

TEST(Example9, RangeThatOverflowsIsHalved) {
  const float big = std::numeric_limits<float>::max();
  const ZeropointGrid grid = MakeZeropointGrid(-big, big);
  EXPECT_EQ(grid.step, big / 127.5f);
  EXPECT_EQ(grid.inverse_step, 127.5f / big);
  EXPECT_EQ(grid.zero_point, 128);  // 127.5 rounds to even
}

TEST(Methods, OneRangeOverAllRows) {
  const Matrix w = Rows({{1, -2}, {4, 3}});
  EXPECT_EQ(QuantizeWeights(w, Method::kTensorWise).absmax, (std::vector<float>{4, 4}));
  EXPECT_EQ(QuantizeWeights(w, Method::kRowWise).absmax, (std::vector<float>{4, 4}));
  EXPECT_EQ(QuantizeWeights(w, Method::kVectorWise).absmax, (std::vector<float>{2, 4}));
  const ActivationOptions base =
      Options(Scope::kBatch, RowRule::kInlierColumns, Activations::kSymmetric);
  const auto rows = QuantizeActivations(kX, OptionsOf(Method::kTensorWise, base), {});
  EXPECT_EQ(rows.scale, (std::vector<float>{3.0f / 127.0f, 3.0f / 127.0f}));
  EXPECT_EQ(OptionsOf(Method::kZeropointTensor, base).activations, Activations::kAsymmetric);
  EXPECT_EQ(OptionsOf(Method::kRowWise, base).range_over, RangeOver::kRow);
}

TEST(ViaFp16, RoundsWhatDetectionSeesAndNotTheProduct) {
  const float just_below = 5.999f;  // rounds to 6 in fp16
  const Matrix x = Rows({{just_below, 1, 2, 3}});
  ActivationOptions options =
      Options(Scope::kBatch, RowRule::kInlierColumns, Activations::kSymmetric);
  EXPECT_TRUE(QuantizeActivations(x, options, {}).outlier_columns.empty());
  options.via_fp16 = true;
  const auto rows = QuantizeActivations(x, options, {});
  EXPECT_EQ(rows.outlier_columns, std::vector<int32_t>{0});
  const QuantizedWeights w = QuantizeWeights(Rows({{1, 0, 0, 0}}), Method::kVectorWise);
  EXPECT_NEAR(Multiply(x, rows, w, {}, {}).at(0, 0), just_below, 1e-6);
}

}  // namespace
}  // namespace octavo::reference
