// Everything that a call can be given wrong is one clear error, and y stays untouched.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/runtime/test_model.h"

namespace octavo {
namespace {

using testing::HasText;

constexpr int64_t kTokens = 3, kIn = 32, kOut = 8;

class CallErrors : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    testing::Random random(7);
    testing::ModelSpec spec;
    spec.linears.push_back(testing::RandomLinear(random, "linear", kOut, kIn));
    testing::LinearSpec kept = testing::RandomLinear(random, "kept", kOut, kIn);
    kept.kept_index = {4};
    spec.linears.push_back(kept);
    spec.linears.push_back(testing::RandomLinear(random, "wider", kOut, kIn + 1));
    testing::WriteModel(testing::TestPath("calls.8vo"), spec);
    spec.quantization.method = format::Method::kRowWise;
    testing::WriteModel(testing::TestPath("row-wise.8vo"), spec);
  }

  ConstTensorView X() const { return {x_.data(), DType::kF32, kTokens, kIn}; }
  TensorView Y() { return {y_.data(), DType::kF32, kTokens, kOut}; }

  // The same error from Forward and from the call that it concerns, and no output.
  void Expect(ErrorCode code, const std::string& text, ConstTensorView x, TensorView y,
              const QuantizeOptions& options = {}, const Execution& execution = {}) {
    const Status status = Forward(linear_, x, y, options, execution);
    EXPECT_EQ(status.code(), code) << text;
    EXPECT_TRUE(HasText(status, text));
    EXPECT_TRUE(HasText(status, "linear \"linear\": "));
    for (const float value : y_) ASSERT_EQ(value, -7.0f) << text;
  }
  void ExpectInvalid(const std::string& text, ConstTensorView x, TensorView y) {
    Expect(ErrorCode::kInvalidArgument, text, x, y);
  }

  PreparedLinear linear_ = testing::MustPrepare(testing::TestPath("calls.8vo"), "linear");
  std::vector<float> x_ = std::vector<float>(kTokens * kIn, 1.0f);
  std::vector<float> y_ = std::vector<float>(kTokens * kOut, -7.0f);
};

TEST_F(CallErrors, Shapes) {
  ConstTensorView x = X();
  TensorView y = Y();
  x.columns = kIn - 1;
  ExpectInvalid("x has 31 columns; in_features is 32", x, y);
  x = X();
  x.rows = -1;
  ExpectInvalid("x has -1 rows", x, y);
  x = X();
  y.columns = kOut + 1;
  ExpectInvalid("y has 9 columns; out_features is 8", x, y);
  y = Y();
  y.rows = kTokens - 1;
  ExpectInvalid("y has 2 rows, x has 3", x, y);
}

TEST_F(CallErrors, Strides) {
  ConstTensorView x = X();
  TensorView y = Y();
  x.row_stride = kIn - 1;
  ExpectInvalid("x has row_stride 31, less than its 32 columns", x, y);
  x.row_stride = -kIn;
  ExpectInvalid("row_stride -32", x, y);
  x = X();
  y.row_stride = 0;
  ExpectInvalid("y has row_stride 0", x, y);
  // One row has no stride.
  x.rows = y.rows = 1;
  x.row_stride = -5;
  EXPECT_TRUE(Forward(linear_, x, y).ok());
}

TEST_F(CallErrors, ExtentsBeyondAnAddressSpace) {
  ConstTensorView x = X();
  x.rows = INT64_MAX;
  Expect(ErrorCode::kLimit, "address space", x, Y());
  x.rows = int64_t{1} << 57;  // times 128 bytes wraps to 0
  Expect(ErrorCode::kLimit, "address space", x, Y());
  x = X();
  x.row_stride = INT64_MAX;
  Expect(ErrorCode::kLimit, "address space", x, Y());
}

TEST_F(CallErrors, DataAndTypes) {
  ConstTensorView x = X();
  x.dtype = DType::kI8;
  ExpectInvalid("x has dtype I8; expected F16, BF16 or F32", x, Y());
  TensorView y = Y();
  y.dtype = DType::kF64;
  ExpectInvalid("y has dtype F64", X(), y);
  x = X();
  x.dtype = static_cast<DType>(99);
  ExpectInvalid("x has dtype 99", x, Y());
  x = X();
  x.data = nullptr;
  ExpectInvalid("x has no data", x, Y());
  x.data = reinterpret_cast<const char*>(x_.data()) + 2;
  ExpectInvalid("x is not aligned to its elements of 4 bytes", x, Y());
}

TEST_F(CallErrors, Devices) {
  ConstTensorView x = X();
  x.device = {DeviceType::kCuda, 0};
  ExpectInvalid("x is on device cuda:0, the linear on cpu", x, Y());
  int stream = 0;
  Execution execution;
  execution.stream = &stream;
  Expect(ErrorCode::kInvalidArgument, "stream", X(), Y(), {}, execution);
}

TEST_F(CallErrors, Options) {
  for (const float threshold : {-1.0f, std::nanf("")}) {
    QuantizeOptions options;
    options.threshold = threshold;
    Expect(ErrorCode::kInvalidArgument, "threshold", X(), Y(), options);
  }
  QuantizeOptions options;
  options.row_rule = static_cast<format::RowRule>(5);
  Expect(ErrorCode::kInvalidArgument, "", X(), Y(), options);
}

TEST_F(CallErrors, Threads) {
  Execution execution;
  execution.parallel = kernels::SerialFor();
  execution.parallel.num_threads = 0;
  Expect(ErrorCode::kInvalidArgument, "num_threads is 0", X(), Y(), {}, execution);
}

TEST_F(CallErrors, Workspaces) {
  const size_t bytes = ForwardWorkspaceBytes(linear_, kTokens);
  std::vector<std::byte> memory(bytes + 128);
  const size_t skew = -reinterpret_cast<uintptr_t>(memory.data()) % 64;
  Execution execution;
  execution.workspace = {memory.data() + skew, bytes - 1};
  Expect(ErrorCode::kInvalidArgument, "the call needs " + std::to_string(bytes), X(), Y(), {},
         execution);
  execution.workspace = {memory.data() + skew + 1, bytes};
  Expect(ErrorCode::kInvalidArgument, "not aligned to 64 bytes", X(), Y(), {}, execution);
  execution.workspace = {memory.data() + skew, bytes};
  EXPECT_TRUE(Forward(linear_, X(), Y(), {}, execution).ok());
}

TEST_F(CallErrors, ActivationsOfAnotherLinear) {
  const std::string path = testing::TestPath("calls.8vo");
  const auto quantized = Quantize(linear_, X());
  ASSERT_TRUE(quantized.ok()) << quantized.status().message();
  const auto expect = [&](const PreparedLinear& other, const std::string& text) {
    const Status status = Multiply(*quantized, other, Y());
    EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
    EXPECT_TRUE(HasText(status, text));
  };
  expect(testing::MustPrepare(path, "kept"), "other kept columns");
  expect(testing::MustPrepare(path, "wider"), "quantized with 32 columns; in_features is 33");
  expect(testing::MustPrepare(testing::TestPath("row-wise.8vo"), "linear"), "another method");
  TensorView y = Y();
  y.rows = 2;
  EXPECT_TRUE(HasText(Multiply(*quantized, linear_, y), "y has 2 rows, x has 3"));
}

TEST_F(CallErrors, ImpossibleWorkspaces) {
  for (const int64_t tokens : {int64_t{-1}, INT64_MAX, int64_t{1} << 60}) {
    EXPECT_EQ(QuantizeWorkspaceBytes(linear_, tokens), SIZE_MAX) << tokens;
    EXPECT_EQ(ForwardWorkspaceBytes(linear_, tokens), SIZE_MAX) << tokens;
  }
  EXPECT_EQ(MultiplyWorkspaceBytes(linear_, -1), SIZE_MAX);
}

}  // namespace
}  // namespace octavo
