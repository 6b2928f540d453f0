// Acc is exact for every in_features: below, at and above each limit of int32, with codes that are
// all extreme.
#include <gtest/gtest.h>

#include <vector>

#include "octavo/kernels.h"
#include "tests/kernels/tables.h"
#include "tests/testing/guarded_buffer.h"

namespace octavo::kernels {
namespace {

// Where an int32 sum of all-extreme products would overflow (docs/numerics.md, section 4).
constexpr size_t kLimits[] = {33025, 65793, 66311, 132104, 133144};

// Rows of x: all 1, all -1, alternating; codes as given per output feature. Compares acc and y with
// int64 sums.
class Depth : public EachTable {
 protected:
  struct Weights {
    std::vector<int8_t> even, odd;    // per output feature: the codes at even and odd k
    std::vector<int32_t> zero_point;  // empty: none
  };

  void Check(size_t in_features, Activations activations, const Weights& w);
};
OCTAVO_FOR_EACH_TABLE(Depth);

void Depth::Check(size_t in_features, Activations activations, const Weights& w) {
  const size_t out_features = w.even.size();
  std::vector<int8_t> codes(out_features * in_features);
  std::vector<int32_t> code_sum(out_features);
  for (size_t n = 0; n < out_features; ++n) {
    for (size_t k = 0; k < in_features; ++k) {
      codes[n * in_features + k] = k % 2 == 0 ? w.even[n] : w.odd[n];
      code_sum[n] += codes[n * in_features + k];
    }
  }
  std::vector<float> x(3 * in_features);
  for (size_t k = 0; k < in_features; ++k) {
    x[k] = 1.0f;
    x[in_features + k] = -1.0f;
    x[2 * in_features + k] = k % 2 == 0 ? 1.0f : -1.0f;
  }
  std::vector<int8_t> packed(LayoutBytes(table().layout, out_features, in_features));
  PackCodes(table().layout, codes.data(), out_features, in_features, packed.data());
  const std::vector<float> multiplier(out_features, 1.0f);

  LinearView linear;
  linear.out_features = out_features;
  linear.in_features = in_features;
  linear.codes = packed.data();
  linear.layout = table().layout;
  linear.multiplier = multiplier.data();
  linear.code_sum = code_sum.data();
  linear.zero_point = w.zero_point.empty() ? nullptr : w.zero_point.data();
  ActivationOptions options;
  options.activations = activations;
  const ActivationView view{x.data(), ElementType::kFloat32, 3, in_features, in_features};
  testing::GuardedBuffer quantize_workspace(QuantizeWorkspaceBytes(3, in_features, options), 64);
  QuantizedActivations q;
  ASSERT_EQ(QuantizeActivations(table(), view, options, {}, SerialFor(), quantize_workspace.data(),
                                quantize_workspace.size(), &q),
            KernelStatus::kOk);
  testing::GuardedBuffer workspace(MultiplyWorkspaceBytes(table(), 3, linear, SerialFor()), 64);
  std::vector<int64_t> acc(3 * out_features);
  ASSERT_EQ(Accumulate(table(), q, linear, acc.data(), workspace.data(), workspace.size()),
            KernelStatus::kOk);
  std::vector<float> y(acc.size());
  ASSERT_EQ(Multiply(table(), q, linear, {y.data(), ElementType::kFloat32, out_features},
                     SerialFor(), workspace.data(), workspace.size()),
            KernelStatus::kOk);

  for (size_t m = 0; m < 3; ++m) {
    for (size_t n = 0; n < out_features; ++n) {
      int64_t expected = 0;
      for (size_t k = 0; k < in_features; ++k) {
        const uint8_t byte = q.codes[m * q.code_stride + k];
        const int64_t code =
            activations == Activations::kSymmetric ? static_cast<int8_t>(byte) : byte;
        const int64_t weight =
            codes[n * in_features + k] - (w.zero_point.empty() ? 0 : w.zero_point[n]);
        expected += (code - q.zero_point[m]) * weight;
      }
      ASSERT_EQ(acc[m * out_features + n], expected)
          << "in_features " << in_features << ", row " << m << ", " << n;
      // No outliers, a = 1, no bias: y shows the one rounding of the whole sum.
      ASSERT_EQ(y[m * out_features + n], static_cast<float>(expected) * q.scale[m]) << in_features;
    }
  }
}

TEST_P(Depth, EveryLimitWithExtremeCodes) {
  const Weights plain{{127, -127, 127, -128, -128}, {127, -127, -127, -128, 127}, {}};
  const Weights zeropoint{{127, -128, 127, -128}, {127, -128, 127, 127}, {-128, 127, -128, -128}};
  for (const size_t limit : kLimits) {
    for (const size_t in_features : {limit - 1, limit, limit + 1}) {
      for (const Activations activations : {Activations::kSymmetric, Activations::kAsymmetric}) {
        ASSERT_NO_FATAL_FAILURE(Check(in_features, activations, plain));
        ASSERT_NO_FATAL_FAILURE(Check(in_features, activations, zeropoint));
      }
    }
  }
}

TEST_P(Depth, TheLongestRow) {
  ASSERT_NO_FATAL_FAILURE(Check(kMaxInFeatures, Activations::kAsymmetric, {{127}, {127}, {-128}}));
}

}  // namespace
}  // namespace octavo::kernels
