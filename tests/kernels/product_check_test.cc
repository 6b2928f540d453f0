// octavo/product_check.h: right products pass, wrong ones are found, and rows that are not asked
// for still decide what an outlier column is.
#include "octavo/product_check.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/kernels/linear_case.h"

namespace octavo::kernels {
namespace {

constexpr size_t kTokens = 9, kIn = 70, kOut = 33;

std::vector<size_t> All(size_t count) {
  std::vector<size_t> all(count);
  std::iota(all.begin(), all.end(), size_t{0});
  return all;
}

class ProductCheckTest : public ::testing::Test {
 protected:
  ProductCheckTest() : random_(testing::TestSeed()) {
    case_.x = RandomActivations(random_, kTokens, kIn, 0.05);
    case_.w = RandomMatrix(random_, kOut, kIn);
    case_.y_type = ElementType::kFloat16;
    case_.kept_index = {3, 64};
  }

  // Multiplies with the portable kernels, whose layout is plain, and keeps everything.
  void Multiply() {
    const CpuKernels& table = *FindCpuKernels("portable", nullptr);
    prepared_.emplace(table, case_);
    const QuantizedCase quantized(table, *prepared_);
    y_.emplace(RunMultiply(table, *prepared_, *quantized, case_.y_type));
  }

  ProductCheck Check(const std::vector<size_t>& rows, const std::vector<size_t>& features) {
    return CheckProduct(prepared_->x_view(), prepared_->options(), prepared_->linear_view(),
                        prepared_->weights().absmax, {y_->data(), case_.y_type, y_->stride()}, rows,
                        features, {});
  }

  testing::Random random_;
  LinearCase case_;
  std::optional<PreparedCase> prepared_;
  std::optional<testing::TypedMatrix> y_;
};

TEST_F(ProductCheckTest, RightProductsPass) {
  for (const Scope scope : {Scope::kBatch, Scope::kToken}) {
    for (const RowRule rule : {RowRule::kInlierColumns, RowRule::kBelowThreshold}) {
      for (const Activations codes : {Activations::kAsymmetric, Activations::kSymmetric}) {
        case_.options.scope = scope;
        case_.options.row_rule = rule;
        case_.options.activations = codes;
        Multiply();
        const ProductCheck check = Check(All(kTokens), All(kOut));
        EXPECT_EQ(check.compared, kTokens * kOut);
        EXPECT_EQ(check.beyond_bound, 0u) << case_.Describe();
        EXPECT_GT(check.worst_share, 0);
        EXPECT_LE(check.worst_share, 1);
      }
    }
  }
}

TEST_F(ProductCheckTest, AWrongElementIsFoundAndNamed) {
  Multiply();
  auto* y = static_cast<uint16_t*>(y_->data());
  y[4 * y_->stride() + 7] ^= 4;  // four units in the last place
  const ProductCheck check = Check(All(kTokens), All(kOut));
  EXPECT_EQ(check.beyond_bound, 1u);
  EXPECT_EQ(check.worst_row, 4u);
  EXPECT_EQ(check.worst_feature, 7u);
  EXPECT_GT(check.worst_share, 1);
  EXPECT_EQ(Check({0, 8}, {0, 7, 32}).beyond_bound, 0u) << "not asked for, so not seen";
}

TEST_F(ProductCheckTest, NaNIsWrong) {
  Multiply();
  static_cast<uint16_t*>(y_->data())[0] = 0x7e00;
  const ProductCheck check = Check({0, 1}, {0, 1});
  EXPECT_EQ(check.beyond_bound, 1u);
  EXPECT_EQ(check.worst_row + check.worst_feature, 0u);
}

TEST_F(ProductCheckTest, OutliersOfOtherRowsCount) {
  for (size_t m = 0; m < kTokens; ++m) {
    for (size_t k = 0; k < kIn; ++k) case_.x.at(m, k) = random_.Uniform(-5, 5);
  }
  case_.x.at(8, 20) = 40;  // column 20 is unquantized in row 1 because of row 8
  Multiply();
  EXPECT_EQ(Check({1}, All(kOut)).beyond_bound, 0u);
  // The control: by the definition without row 8 these products are wrong.
  case_.options.threshold = 0;
  const ActivationOptions without = case_.options;
  const ProductCheck wrong = CheckProduct(
      prepared_->x_view(), without, prepared_->linear_view(), prepared_->weights().absmax,
      {y_->data(), case_.y_type, y_->stride()}, std::vector<size_t>{1}, All(kOut), {});
  EXPECT_GT(wrong.beyond_bound, 0u);
}

}  // namespace
}  // namespace octavo::kernels
