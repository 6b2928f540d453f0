// Forward, Quantize and Multiply against the reference: types, options, odd sizes, shared
// activations.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/runtime/test_model.h"
#include "tests/testing/typed_matrix.h"

namespace octavo {
namespace {

using testing::LinearSpec;
using testing::ModelSpec;

constexpr DType kTypes[] = {DType::kF16, DType::kBF16, DType::kF32};

reference::Matrix Activations(testing::Random& random, size_t tokens, size_t in_features) {
  reference::Matrix x(tokens, in_features);
  for (float& value : x.data) value = random.Normal();
  for (size_t k = 1; k < in_features; k += 17) {
    for (size_t m = 0; m < tokens; ++m) x.at(m, k) *= random.Chance(0.5) ? 12.0f : 2.0f;
  }
  return x;
}

TEST(Forward, EveryTypeOptionAndOverride) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec;
  LinearSpec linear = testing::RandomLinear(random, "linear", 19, 83);
  linear.kept_index = {1, 40};
  linear.biases = {std::vector<float>(19)};
  for (float& value : linear.biases[0]) value = random.Normal();
  linear.bias_dtype = DType::kBF16;
  spec.linears.push_back(linear);
  const std::string path = testing::TestPath("options.8vo");
  testing::WriteModel(path, spec);
  const PreparedLinear prepared = testing::MustPrepare(path, "linear");
  const reference::Matrix x = Activations(random, 7, 83);
  for (const DType x_dtype : kTypes) {
    for (const DType y_dtype : kTypes) {
      for (const auto scope : {format::Scope::kBatch, format::Scope::kToken}) {
        for (const auto rule :
             {format::RowRule::kInlierColumns, format::RowRule::kBelowThreshold}) {
          for (const auto activations :
               {format::Activations::kAsymmetric, format::Activations::kSymmetric}) {
            for (const float threshold : {0.0f, 3.0f, 6.0f})
              testing::CheckForward(prepared, spec, linear, 0, x, x_dtype, y_dtype,
                                    {threshold, scope, rule, activations});
          }
        }
      }
    }
  }
}

TEST(Forward, TheFilesOptionsAreTheDefault) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec;
  spec.quantization.threshold = 2.5f;
  spec.quantization.scope = format::Scope::kToken;
  spec.quantization.row_rule = format::RowRule::kBelowThreshold;
  spec.quantization.activations = format::Activations::kSymmetric;
  spec.quantization.activations_via_fp16 = true;
  spec.quantization.weights_via_fp16 = true;
  spec.quantization.compat = format::Compat::kBitsandbytes;
  spec.linears.push_back(testing::RandomLinear(random, "linear", 11, 64));
  const std::string path = testing::TestPath("stated.8vo");
  testing::WriteModel(path, spec);
  const PreparedLinear prepared = testing::MustPrepare(path, "linear");
  reference::Matrix x = Activations(random, 9, 64);
  x.at(3, 5) = 2.4999f;  // an outlier entry only once it is rounded to fp16
  testing::CheckForward(prepared, spec, spec.linears[0], 0, x, DType::kF32, DType::kF32);

  testing::TypedMatrix typed(x, kernels::ElementType::kFloat32);
  const auto quantized = Quantize(prepared, {typed.data(), DType::kF32, 9, 64});
  ASSERT_TRUE(quantized.ok()) << quantized.status().message();
  const testing::ReferenceResult expected =
      testing::RunReference(spec, spec.linears[0], 0, typed.values(), {});
  EXPECT_EQ(*quantized->outlier_entries(),
            std::count(expected.rows.unquantized.begin(), expected.rows.unquantized.end(), true));
}

TEST(Forward, OverridesOnOtherMethods) {
  testing::Random random(testing::TestSeed());
  for (const format::Method method :
       {format::Method::kTensorWise, format::Method::kRowWise, format::Method::kZeropointTensor,
        format::Method::kZeropointVector}) {
    ModelSpec spec;
    spec.quantization.method = method;
    spec.linears.push_back(testing::RandomLinear(random, "linear", 13, 70));
    const std::string path = testing::TestPath("method.8vo");
    testing::WriteModel(path, spec);
    const PreparedLinear prepared = testing::MustPrepare(path, "linear");
    const reference::Matrix x = Activations(random, 5, 70);
    for (const auto activations :
         {format::Activations::kAsymmetric, format::Activations::kSymmetric}) {
      QuantizeOptions overrides;
      overrides.activations = activations;
      testing::CheckForward(prepared, spec, spec.linears[0], 0, x, DType::kF16, DType::kF32,
                            overrides);
    }
    QuantizeOptions token;
    token.scope = format::Scope::kToken;
    testing::TypedMatrix typed(x, kernels::ElementType::kFloat32);
    const auto quantized = Quantize(prepared, {typed.data(), DType::kF32, 5, 70}, token);
    const bool spans_rows =
        method == format::Method::kTensorWise || method == format::Method::kZeropointTensor;
    EXPECT_EQ(quantized.code(), spans_rows ? ErrorCode::kInvalidArgument : ErrorCode::kOk);
    if (spans_rows) {
      EXPECT_TRUE(testing::HasText(quantized.status(), "scope token with method"));
    }
  }
}

TEST(Forward, SizesThatAreMultiplesOfNothing) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec;
  const size_t sizes[][2] = {{1, 1}, {1, 64}, {65, 1}, {16, 63}, {17, 65}, {129, 127}, {3, 1031}};
  for (const auto& [out, in] : sizes)
    spec.linears.push_back(
        testing::RandomLinear(random, std::to_string(out) + "x" + std::to_string(in), out, in));
  const std::string path = testing::TestPath("sizes.8vo");
  testing::WriteModel(path, spec);
  for (const LinearSpec& linear : spec.linears) {
    const PreparedLinear prepared = testing::MustPrepare(path, linear.name);
    for (const size_t tokens : {0, 1, 2, 17, 65})
      testing::CheckForward(prepared, spec, linear, 0,
                            Activations(random, tokens, linear.weights[0].cols), DType::kF16,
                            DType::kF16);
  }
}

TEST(Forward, NonFiniteActivations) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec;
  spec.linears.push_back(testing::RandomLinear(random, "linear", 9, 33));
  const std::string path = testing::TestPath("nonfinite.8vo");
  testing::WriteModel(path, spec);
  const PreparedLinear prepared = testing::MustPrepare(path, "linear");
  reference::Matrix x = Activations(random, 6, 33);
  x.at(1, 4) = std::numeric_limits<float>::infinity();
  x.at(2, 4) = -std::numeric_limits<float>::infinity();
  x.at(4, 32) = std::numeric_limits<float>::quiet_NaN();
  for (const auto scope : {format::Scope::kBatch, format::Scope::kToken}) {
    QuantizeOptions overrides;
    overrides.scope = scope;
    for (const DType dtype : kTypes)
      testing::CheckForward(prepared, spec, spec.linears[0], 0, x, dtype, dtype, overrides);
  }
}

TEST(Forward, OneQuantizationServesSeveralLinears) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec;
  for (const char* name : {"q", "k", "v"})
    spec.linears.push_back(testing::RandomLinear(random, name, 20 + spec.linears.size(), 48));
  const std::string path = testing::TestPath("shared.8vo");
  testing::WriteModel(path, spec);
  testing::TypedMatrix x(Activations(random, 5, 48), kernels::ElementType::kFloat16);
  const ConstTensorView x_view{x.data(), DType::kF16, 5, 48};
  // The linear that quantized may be gone by the time of the product.
  const auto quantized = [&] { return Quantize(testing::MustPrepare(path, "q"), x_view); }();
  ASSERT_TRUE(quantized.ok()) << quantized.status().message();
  EXPECT_EQ(quantized->tokens(), 5);
  EXPECT_EQ(quantized->in_features(), 48);
  for (const LinearSpec& linear : spec.linears) {
    const PreparedLinear prepared = testing::MustPrepare(path, linear.name);
    const int64_t out = prepared.out_features();
    std::vector<float> one(static_cast<size_t>(5 * out)), two(one.size());
    ASSERT_TRUE(Multiply(*quantized, prepared, {one.data(), DType::kF32, 5, out}).ok());
    ASSERT_TRUE(Forward(prepared, x_view, {two.data(), DType::kF32, 5, out}).ok());
    EXPECT_EQ(std::memcmp(one.data(), two.data(), one.size() * sizeof(float)), 0) << linear.name;
  }
}

TEST(Quantize, NamesOutlierColumnsAndCountsEntries) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec;
  LinearSpec linear = testing::RandomLinear(random, "linear", 4, 130);
  linear.kept_index = {7};
  spec.linears.push_back(linear);
  const std::string path = testing::TestPath("outliers.8vo");
  testing::WriteModel(path, spec);
  const PreparedLinear prepared = testing::MustPrepare(path, "linear");
  reference::Matrix x(3, 130);
  x.at(0, 7) = 100;  // a kept column is no outlier column
  x.at(0, 64) = 6;
  x.at(2, 64) = -7;
  x.at(1, 129) = 50;
  x.at(1, 63) = 5.99f;
  testing::TypedMatrix typed(x, kernels::ElementType::kFloat32);
  const ConstTensorView view{typed.data(), DType::kF32, 3, 130};
  const auto batch = Quantize(prepared, view);
  ASSERT_TRUE(batch.ok()) << batch.status().message();
  EXPECT_EQ(*batch->outlier_columns(), (std::vector<int64_t>{64, 129}));
  EXPECT_EQ(*batch->outlier_entries(), 6);
  QuantizeOptions token;
  token.scope = format::Scope::kToken;
  const auto entries = Quantize(prepared, view, token);
  EXPECT_EQ(*entries->outlier_columns(), (std::vector<int64_t>{64, 129}));
  EXPECT_EQ(*entries->outlier_entries(), 3);
  const auto none = Quantize(prepared, {nullptr, DType::kF32, 0, 130});
  EXPECT_TRUE(none->outlier_columns()->empty());
  EXPECT_EQ(*none->outlier_entries(), 0);
}

TEST(Forward, ScopeTokenRowsDoNotDependOnTheirNeighbours) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec;
  spec.linears.push_back(testing::RandomLinear(random, "linear", 77, 150));
  const std::string path = testing::TestPath("token.8vo");
  testing::WriteModel(path, spec);
  const PreparedLinear prepared = testing::MustPrepare(path, "linear");
  testing::TypedMatrix x(Activations(random, 513, 150), kernels::ElementType::kFloat16);
  QuantizeOptions token;
  token.scope = format::Scope::kToken;
  const auto rows = [&](size_t first, int64_t count) {
    std::vector<float> y(static_cast<size_t>(count) * 77);
    EXPECT_TRUE(Forward(prepared, {x.at(first, 0), DType::kF16, count, 150},
                        {y.data(), DType::kF32, count, 77}, token)
                    .ok());
    return y;
  };
  const std::vector<float> all = rows(0, 513);
  for (const int64_t count : {1, 2, 16, 17, 64}) {
    const std::vector<float> some = rows(100, count);
    EXPECT_EQ(std::memcmp(some.data(), all.data() + 100 * 77, some.size() * sizeof(float)), 0)
        << count;
  }
}

TEST(Forward, WithoutInFeaturesIsTheBias) {
  testing::Random random(testing::TestSeed());
  ModelSpec spec;
  LinearSpec linear = testing::RandomLinear(random, "linear", 5, 0);
  linear.biases = {{1, 2, 3, 4, 5}};
  spec.linears.push_back(linear);
  spec.linears.push_back(testing::RandomLinear(random, "nothing", 0, 8));
  const std::string path = testing::TestPath("empty.8vo");
  testing::WriteModel(path, spec);
  std::vector<float> y(10, -1);
  const PreparedLinear bias_only = testing::MustPrepare(path, "linear");
  ASSERT_TRUE(Forward(bias_only, {nullptr, DType::kF16, 2, 0}, {y.data(), DType::kF32, 2, 5}).ok());
  EXPECT_EQ(y, (std::vector<float>{1, 2, 3, 4, 5, 1, 2, 3, 4, 5}));
  const PreparedLinear nothing = testing::MustPrepare(path, "nothing");
  const std::vector<float> x(16, 1);
  EXPECT_TRUE(Forward(nothing, {x.data(), DType::kF32, 2, 8}, {nullptr, DType::kF32, 2, 0}).ok());
}

}  // namespace
}  // namespace octavo
