// What the contract excludes is an error, not an accident.
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "octavo/kernels.h"
#include "tests/kernels/linear_case.h"
#include "tests/kernels/tables.h"

namespace octavo::kernels {
namespace {

class Arguments : public ::testing::Test {
 protected:
  Arguments() : workspace_(1 << 20, 64) {}

  KernelStatus Quantize(const ActivationView& x, const ActivationOptions& options,
                        std::vector<int32_t> kept = {}) {
    QuantizedActivations q;
    return QuantizeActivations(table_, x, options, kept, SerialFor(), workspace_.data(),
                               workspace_.size(), &q);
  }

  const CpuKernels& table_ = *FindCpuKernels("auto", nullptr);
  testing::GuardedBuffer workspace_;
  std::vector<float> data_ = std::vector<float>(64, 1.0f);
  ActivationView x_{data_.data(), ElementType::kFloat32, 4, 8, 8};
};

TEST_F(Arguments, Threshold) {
  ActivationOptions options;
  for (const float bad : {-1.0f, -1e-45f, std::numeric_limits<float>::quiet_NaN()}) {
    options.threshold = bad;
    EXPECT_EQ(Quantize(x_, options), KernelStatus::kInvalidArgument) << bad;
  }
  for (const float good : {0.0f, -0.0f, 1e-45f, std::numeric_limits<float>::infinity()}) {
    options.threshold = good;
    EXPECT_EQ(Quantize(x_, options), KernelStatus::kOk) << good;
  }
}

TEST_F(Arguments, OneRangeWithScopeToken) {
  ActivationOptions options;
  options.range_over = RangeOver::kTensor;
  EXPECT_EQ(Quantize(x_, options), KernelStatus::kOk);
  options.scope = Scope::kToken;
  EXPECT_EQ(Quantize(x_, options), KernelStatus::kInvalidArgument);
}

TEST_F(Arguments, UnknownEnumerators) {
  ActivationOptions options;
  options.scope = static_cast<Scope>(2);
  EXPECT_EQ(Quantize(x_, options), KernelStatus::kInvalidArgument);
  options = {};
  options.row_rule = static_cast<RowRule>(-1);
  EXPECT_EQ(Quantize(x_, options), KernelStatus::kInvalidArgument);
  options = {};
  options.activations = static_cast<Activations>(2);
  EXPECT_EQ(Quantize(x_, options), KernelStatus::kInvalidArgument);
  x_.type = static_cast<ElementType>(3);
  EXPECT_EQ(Quantize(x_, {}), KernelStatus::kInvalidArgument);
}

TEST_F(Arguments, ShapeOfX) {
  ActivationView x = x_;
  x.row_stride = 7;
  EXPECT_EQ(Quantize(x, {}), KernelStatus::kInvalidArgument);
  x.tokens = 1;  // the stride of a single row says nothing
  EXPECT_EQ(Quantize(x, {}), KernelStatus::kOk);
  x = x_;
  x.data = nullptr;
  EXPECT_EQ(Quantize(x, {}), KernelStatus::kInvalidArgument);
  x.tokens = 0;
  EXPECT_EQ(Quantize(x, {}), KernelStatus::kOk);
  x = {data_.data(), ElementType::kFloat32, 1, kMaxInFeatures + 1, kMaxInFeatures + 1};
  EXPECT_EQ(Quantize(x, {}), KernelStatus::kInvalidArgument);
}

TEST_F(Arguments, KeptIndex) {
  EXPECT_EQ(Quantize(x_, {}, {0, 3, 7}), KernelStatus::kOk);
  for (const std::vector<int32_t>& bad : {std::vector<int32_t>{-1}, {8}, {3, 3}, {4, 2}}) {
    EXPECT_EQ(Quantize(x_, {}, bad), KernelStatus::kInvalidArgument);
  }
}

TEST_F(Arguments, QuantizeWorkspace) {
  QuantizedActivations q;
  const size_t needed = QuantizeWorkspaceBytes(4, 8, {});
  const auto run = [&](void* memory, size_t bytes) {
    return QuantizeActivations(table_, x_, {}, {}, SerialFor(), memory, bytes, &q);
  };
  EXPECT_EQ(run(workspace_.data(), needed), KernelStatus::kOk);
  EXPECT_EQ(run(workspace_.data(), needed - 1), KernelStatus::kWorkspaceTooSmall);
  EXPECT_EQ(run(workspace_.data() + 4, needed), KernelStatus::kInvalidArgument);
  EXPECT_EQ(run(nullptr, needed), KernelStatus::kInvalidArgument);
  EXPECT_EQ(
      QuantizeActivations(table_, x_, {}, {}, SerialFor(), workspace_.data(), needed, nullptr),
      KernelStatus::kInvalidArgument);
  // More tokens than any memory holds: the query does not wrap around.
  EXPECT_EQ(QuantizeWorkspaceBytes(SIZE_MAX / 4, 1000, {}), SIZE_MAX);
  EXPECT_EQ(QuantizeWorkspaceBytes(SIZE_MAX - 1, 1, {}), SIZE_MAX);
}

class MultiplyArguments : public EachTable {};
OCTAVO_FOR_EACH_TABLE(MultiplyArguments);

TEST_P(MultiplyArguments, MustMatch) {
  testing::Random random(testing::TestSeed());
  LinearCase c;
  c.x = RandomActivations(random, 3, 20);
  c.w = RandomMatrix(random, 10, 20);
  c.kept_index = {2, 5};
  PreparedCase prepared(table(), c);
  const QuantizedCase quantized(table(), prepared);
  const LinearView good = prepared.linear_view();
  std::vector<float> y(30);
  std::vector<int64_t> acc(30);
  testing::GuardedBuffer workspace(MultiplyWorkspaceBytes(table(), 3, good, SerialFor()), 64);
  const OutputView out{y.data(), ElementType::kFloat32, 10};
  const auto run = [&](const LinearView& linear, const OutputView& view, size_t bytes) {
    const KernelStatus status =
        Multiply(table(), *quantized, linear, view, SerialFor(), workspace.data(), bytes);
    return status;
  };
  EXPECT_EQ(run(good, out, workspace.size()), KernelStatus::kOk);
  EXPECT_EQ(run(good, out, workspace.size() - 1), KernelStatus::kWorkspaceTooSmall);
  EXPECT_EQ(
      Accumulate(table(), *quantized, good, acc.data(), workspace.data(), workspace.size() - 1),
      KernelStatus::kWorkspaceTooSmall);
  EXPECT_EQ(Accumulate(table(), *quantized, good, nullptr, workspace.data(), workspace.size()),
            KernelStatus::kInvalidArgument);
  EXPECT_EQ(
      Multiply(table(), *quantized, good, out, SerialFor(), workspace.data() + 4, workspace.size()),
      KernelStatus::kInvalidArgument);

  std::vector<LinearView> bad(9, good);
  const int32_t other_kept[] = {2, 6};
  bad[0].in_features = 19;
  bad[1].layout =
      good.layout == WeightLayout::kPlain ? WeightLayout::kVnni16x4 : WeightLayout::kPlain;
  bad[2].num_kept = 1;
  bad[3].kept_index = other_kept;
  bad[4].kept_weight = nullptr;
  bad[5].codes = nullptr;
  bad[6].multiplier = nullptr;
  bad[7].code_sum = nullptr;
  bad[8].kept_type = static_cast<ElementType>(7);
  for (size_t i = 0; i < bad.size(); ++i) {
    EXPECT_EQ(run(bad[i], out, workspace.size()), KernelStatus::kInvalidArgument) << i;
    EXPECT_EQ(
        Accumulate(table(), *quantized, bad[i], acc.data(), workspace.data(), workspace.size()),
        KernelStatus::kInvalidArgument)
        << i;
  }
  EXPECT_EQ(run(good, {nullptr, ElementType::kFloat32, 10}, workspace.size()),
            KernelStatus::kInvalidArgument);
  EXPECT_EQ(run(good, {y.data(), ElementType::kFloat32, 9}, workspace.size()),
            KernelStatus::kInvalidArgument);
  EXPECT_EQ(run(good, {y.data(), static_cast<ElementType>(9), 10}, workspace.size()),
            KernelStatus::kInvalidArgument);
}

}  // namespace
}  // namespace octavo::kernels
