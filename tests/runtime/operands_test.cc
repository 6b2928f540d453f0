// Linears whose operands are in the caller's memory: the same results as from a file, and every
// operand that is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/runtime/test_model.h"

namespace octavo {
namespace {

using testing::HasText;
using testing::LinearSpec;
using testing::ModelSpec;

reference::Matrix Activations(testing::Random& random, size_t tokens, size_t in_features) {
  reference::Matrix x(tokens, in_features);
  for (float& value : x.data) value = random.Normal(2.0f);
  return x;
}

// The operands of a linear as the mapping has them.
LinearOperands OperandsOf(const Model& model, const std::string& name) {
  const Linear linear = *model.linear(name);
  const format::Module& module = linear.module();
  const auto data = [&](const std::string& tensor) -> const void* {
    return tensor.empty() ? nullptr : model.tensor(tensor)->data();
  };
  const auto dtype = [&](const std::string& tensor) {
    return tensor.empty() ? DType::kF16 : model.reader().FindTensor(tensor)->dtype;
  };
  LinearOperands operands;
  operands.name = name;
  operands.in_features = linear.in_features();
  operands.out_features = linear.out_features();
  operands.codes = static_cast<const int8_t*>(data(module.scheme->codes));
  operands.scales = static_cast<const float*>(data(module.scheme->scales));
  operands.convention = module.scheme->convention;
  operands.full_range = module.scheme->full_range;
  operands.code_sum = static_cast<const int32_t*>(data(module.scheme->code_sum));
  operands.zero_point = static_cast<const int32_t*>(data(module.scheme->zero_point));
  operands.num_kept = linear.num_kept_columns();
  operands.kept_index = static_cast<const int32_t*>(data(module.kept_index));
  operands.kept_weight = data(module.kept_weight);
  operands.kept_dtype = dtype(module.kept_weight);
  operands.bias = data(module.bias);
  operands.bias_dtype = dtype(module.bias);
  operands.quantization = linear.quantization();
  return operands;
}

ModelSpec Kept(testing::Random& random) {
  ModelSpec spec;
  LinearSpec kept = testing::RandomLinear(random, "kept", 21, 50);
  kept.kept_index = {0, 3, 49};
  kept.kept_dtype = DType::kBF16;
  kept.biases = {std::vector<float>(21, 0.7f)};
  kept.bias_dtype = DType::kF32;
  spec.linears = {kept};
  return spec;
}

PreparedLinear MustPrepareOperands(const LinearOperands& operands) {
  const Result<Linear> linear = Linear::FromMemory(operands);
  EXPECT_TRUE(linear.ok()) << linear.status().message();
  Result<PreparedLinear> prepared = Prepare(*linear, kCpuDevice, {.check_digests = true});
  EXPECT_TRUE(prepared.ok()) << prepared.status().message();
  return std::move(*prepared);
}

TEST(Operands, MultiplyAsAFileDoes) {
  testing::Random random(testing::TestSeed());
  for (const auto method : {format::Method::kVectorWise, format::Method::kRowWise,
                            format::Method::kZeropointTensor, format::Method::kZeropointVector}) {
    ModelSpec spec = Kept(random);
    spec.quantization.method = method;
    if (method != format::Method::kVectorWise) spec.linears[0].kept_index.clear();
    const std::string path = testing::TestPath("operands.8vo");
    testing::WriteModel(path, spec);
    const Result<Model> model = Model::Open(path);
    ASSERT_TRUE(model.ok()) << model.status().message();
    LinearOperands operands = OperandsOf(*model, "kept");
    for (const bool with_sums : {true, false}) {
      SCOPED_TRACE(with_sums);
      if (!with_sums) operands.code_sum = nullptr;
      const PreparedLinear prepared = MustPrepareOperands(operands);
      testing::CheckForward(prepared, spec, spec.linears[0], 0, Activations(random, 5, 50),
                            DType::kF16, DType::kF32);
    }
  }
}

class OperandErrors : public ::testing::Test {
 protected:
  OperandErrors() {
    operands.in_features = 2;
    operands.out_features = 2;
    operands.codes = codes;
    operands.scales = scales;
    operands.code_sum = sums;
  }

  // Of FromMemory, else of Prepare.
  Status Error() const {
    const Result<Linear> linear = Linear::FromMemory(operands);
    if (!linear.ok()) return linear.status();
    return Prepare(*linear, kCpuDevice, {.check_digests = true}).status();
  }

  int8_t codes[4] = {1, 2, 3, -127};
  float scales[2] = {1, 2};
  int32_t sums[2] = {3, -124};
  int32_t kept[2] = {1, 1};
  uint16_t weights[4] = {};
  LinearOperands operands;
};

TEST_F(OperandErrors, NothingIsWrong) { EXPECT_TRUE(Error().ok()) << Error().message(); }

TEST_F(OperandErrors, NullArraysAndSizes) {
  operands.codes = nullptr;
  EXPECT_TRUE(HasText(Error(), "linear \"linear\": codes is null"));
  operands.codes = codes;
  operands.in_features = -1;
  EXPECT_TRUE(HasText(Error(), "below 0"));
  operands.in_features = int64_t{1} << 40;
  EXPECT_EQ(Error().code(), ErrorCode::kLimit);
  operands.in_features = 2;
  operands.num_kept = 3;
  EXPECT_TRUE(HasText(Error(), "3 kept columns of 2"));
}

TEST_F(OperandErrors, TypesAndAlignment) {
  operands.bias = weights;
  operands.bias_dtype = DType::kI8;
  EXPECT_TRUE(HasText(Error(), "bias has dtype number 2"));
  operands.bias_dtype = DType::kF16;
  operands.bias = reinterpret_cast<const char*>(weights) + 1;
  EXPECT_TRUE(HasText(Error(), "not aligned"));
}

TEST_F(OperandErrors, Values) {
  operands.quantization.threshold = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(HasText(Error(), "threshold"));
  operands.quantization.threshold = 6;
  scales[1] = -1;
  EXPECT_TRUE(HasText(Error(), "linear \"linear\": tensor \"scales\", index 1"));
  EXPECT_TRUE(HasText(Error(), "R26"));
  scales[1] = 2;
  sums[0] = 4;
  EXPECT_TRUE(HasText(Error(), "R28"));
  sums[0] = 3;
  codes[0] = -128;
  EXPECT_TRUE(HasText(Error(), "R27"));
}

TEST_F(OperandErrors, KeptColumnsAscend) {
  operands.num_kept = 2;
  operands.kept_index = kept;
  operands.kept_weight = weights;
  EXPECT_TRUE(HasText(Error(), "R29"));
}

TEST_F(OperandErrors, SlicesAreRefused) {
  const Result<Linear> linear = Linear::FromMemory(operands);
  ASSERT_TRUE(linear.ok());
  EXPECT_TRUE(HasText(linear->slice(0, 2, SliceAxis::kOutFeatures).status(), "in memory"));
}

}  // namespace
}  // namespace octavo
