#include "tests/kernels/linear_case.h"

#include <gtest/gtest.h>

#include <bit>
#include <sstream>

#include "tests/testing/tolerance.h"

namespace octavo::kernels {
namespace {

using testing::TypedMatrix;

reference::Matrix RowOf(const std::vector<float>& values) {
  reference::Matrix row(values.empty() ? 0 : 1, values.size());
  row.data = values;
  return row;
}

reference::Matrix KeptWeight(const LinearCase& c) {
  reference::Matrix kept(c.kept_index.size(), c.w.rows);
  for (size_t j = 0; j < kept.rows; ++j) {
    for (size_t n = 0; n < kept.cols; ++n)
      kept.at(j, n) = c.w.at(n, static_cast<size_t>(c.kept_index[j]));
  }
  return kept;
}

bool IsZeropoint(reference::Method method) {
  return method == reference::Method::kZeropointTensor ||
         method == reference::Method::kZeropointVector;
}

bool MaskBit(const QuantizedActivations& q, size_t m, size_t k) {
  return ((q.outlier_mask[m * q.mask_stride + k / 64] >> (k % 64)) & 1u) != 0;
}

void CheckActivations(const QuantizedActivations& q, const reference::QuantizedRows& expected) {
  const bool symmetric = q.options.activations == Activations::kSymmetric;
  std::vector<bool> is_kept(expected.in_features);
  for (size_t j = 0; j < q.num_kept; ++j) is_kept[q.kept_index[j]] = true;
  for (size_t m = 0; m < expected.tokens; ++m) {
    ASSERT_EQ(std::bit_cast<uint32_t>(q.scale[m]), std::bit_cast<uint32_t>(expected.scale[m]))
        << "row " << m << ": s = " << q.scale[m] << ", expected " << expected.scale[m];
    ASSERT_EQ(q.zero_point[m], expected.zero_point[m]) << "row " << m;
    int32_t sum = 0;
    for (size_t k = 0; k < expected.in_features; ++k) {
      const uint8_t byte = q.codes[m * q.code_stride + k];
      const int32_t code = symmetric ? static_cast<int8_t>(byte) : byte;
      ASSERT_EQ(code, expected.codes[m * expected.in_features + k])
          << "row " << m << ", column " << k;
      ASSERT_EQ(MaskBit(q, m, k), expected.unquantized[m * expected.in_features + k] && !is_kept[k])
          << "row " << m << ", column " << k;
      sum += code;
    }
    ASSERT_EQ(q.code_sum[m], sum) << "row " << m;
    for (size_t k = expected.in_features; k % 64 != 0; ++k)
      ASSERT_EQ(q.codes[m * q.code_stride + k], 0);
  }
}

void CheckAcc(const CpuKernels& table, const QuantizedActivations& q, const LinearView& linear,
              const std::vector<int64_t>& expected) {
  const size_t bytes = MultiplyWorkspaceBytes(table, q.x.tokens, linear, SerialFor());
  testing::GuardedBuffer workspace(bytes, 64);
  std::vector<int64_t> acc(expected.size(), -1);
  ASSERT_EQ(Accumulate(table, q, linear, acc.data(), workspace.data(), bytes), KernelStatus::kOk);
  for (size_t i = 0; i < acc.size(); ++i) {
    ASSERT_EQ(acc[i], expected[i])
        << "acc[" << i / linear.out_features << "][" << i % linear.out_features << "]";
  }
}

void CheckOutputs(const reference::Matrix& y, ElementType type,
                  const std::vector<reference::ExactOutput>& exact) {
  for (size_t i = 0; i < exact.size(); ++i) {
    ASSERT_TRUE(testing::IsWithinBound(y.data[i], type, exact[i]))
        << "y[" << i / y.cols << "][" << i % y.cols
        << "]: " << testing::DescribeOutput(y.data[i], exact[i]);
  }
}

}  // namespace

std::string LinearCase::Describe() const {
  std::ostringstream text;
  text << "tokens " << x.rows << ", in " << x.cols << ", out " << w.rows << ", method "
       << static_cast<int>(method) << ", x " << testing::NameOf(x_type) << ", w "
       << testing::NameOf(w_type) << ", y " << testing::NameOf(y_type) << ", threshold "
       << options.threshold << ", scope " << (options.scope == Scope::kBatch ? "batch" : "token")
       << ", rule "
       << (options.row_rule == RowRule::kInlierColumns ? "inlier_columns" : "below_threshold")
       << ", " << (options.activations == Activations::kSymmetric ? "symmetric" : "asymmetric")
       << (options.range_over == RangeOver::kTensor ? ", over the tensor" : "")
       << (options.via_fp16 ? ", via fp16" : "") << ", kept " << kept_index.size() << " "
       << testing::NameOf(kept_type) << (bias.empty() ? ", no bias" : ", bias ")
       << (bias.empty() ? "" : testing::NameOf(bias_type)) << ", strides +" << x_extra_stride
       << " +" << y_extra_stride;
  return text.str();
}

PreparedCase::PreparedCase(const CpuKernels& table, const LinearCase& c)
    : case_(c),
      layout_(table.layout),
      options_(reference::OptionsOf(c.method, c.options)),
      x_(c.x, c.x_type, c.x_extra_stride),
      w_(c.w, c.w_type),
      kept_weight_(KeptWeight(c), c.kept_type),
      bias_(RowOf(c.bias), c.bias_type),
      x_values_(x_.values()),
      bias_values_(bias_.values().data),
      weights_(reference::QuantizeWeights(w_.values(), c.method)),
      kept_{c.kept_index, kept_weight_.values()} {
  for (size_t n = 0; n < c.w.rows; ++n) multiplier_.push_back(weights_.multiplier(n));
  packed_.resize(LayoutBytes(table.layout, c.w.rows, c.w.cols));
  PackCodes(table.layout, weights_.codes.data(), c.w.rows, c.w.cols, packed_.data());
}

ActivationView PreparedCase::x_view() {
  return {x_.data(), case_.x_type, case_.x.rows, case_.x.cols, x_.stride()};
}

LinearView PreparedCase::linear_view() {
  LinearView linear;
  linear.out_features = case_.w.rows;
  linear.in_features = case_.w.cols;
  linear.codes = packed_.data();
  linear.layout = layout_;
  linear.multiplier = multiplier_.data();
  linear.code_sum = weights_.code_sum.data();
  linear.zero_point = weights_.zero_point.empty() ? nullptr : weights_.zero_point.data();
  linear.num_kept = case_.kept_index.size();
  linear.kept_index = case_.kept_index.data();
  linear.kept_weight = kept_weight_.data();
  linear.kept_type = case_.kept_type;
  linear.bias = case_.bias.empty() ? nullptr : bias_.data();
  linear.bias_type = case_.bias_type;
  return linear;
}

void PreparedCase::CheckWeights(const CpuKernels& table) {
  const size_t out_features = case_.w.rows, in_features = case_.w.cols;
  std::vector<WeightRange> ranges;
  WeightRange all;
  for (size_t n = 0; n < out_features; ++n) {
    ranges.push_back(table.weight_range(w_.at(n, 0), case_.w_type, in_features));
    ASSERT_EQ(ranges[n].first_non_finite, SIZE_MAX);
    all.lo = std::min(all.lo, ranges[n].lo);
    all.hi = std::max(all.hi, ranges[n].hi);
  }
  const bool one_range = case_.method != reference::Method::kVectorWise &&
                         case_.method != reference::Method::kZeropointVector;
  for (size_t n = 0; n < out_features; ++n) {
    const WeightRange& range = one_range ? all : ranges[n];
    testing::GuardedBuffer codes(in_features);
    int8_t* const out = reinterpret_cast<int8_t*>(codes.data());
    int32_t sum = 0;
    if (IsZeropoint(case_.method)) {
      const ZeropointGrid grid = MakeZeropointGrid(range.lo, range.hi);
      ASSERT_EQ(grid.zero_point - 128, weights_.zero_point[n]);
      ASSERT_EQ(std::bit_cast<uint32_t>(grid.step), std::bit_cast<uint32_t>(weights_.step[n]));
      sum = table.encode_zeropoint(w_.at(n, 0), case_.w_type, in_features, grid, out);
    } else {
      const float absmax = StoredAbsmax(range.absmax());
      ASSERT_EQ(std::bit_cast<uint32_t>(absmax), std::bit_cast<uint32_t>(weights_.absmax[n]))
          << absmax;
      sum = table.encode_symmetric(w_.at(n, 0), case_.w_type, in_features, absmax, out);
    }
    for (size_t k = 0; k < in_features; ++k) {
      ASSERT_EQ(out[k], weights_.codes[n * in_features + k]) << "weight [" << n << "][" << k << "]";
    }
    ASSERT_EQ(sum, weights_.code_sum[n]) << "row " << n;
    ASSERT_TRUE(codes.Intact());
  }
}

QuantizedCase::QuantizedCase(const CpuKernels& table, PreparedCase& prepared,
                             const ParallelFor& parallel)
    : workspace_(QuantizeWorkspaceBytes(prepared.x().rows, prepared.x().cols, prepared.options()),
                 64) {
  const KernelStatus status =
      QuantizeActivations(table, prepared.x_view(), prepared.options(), prepared.kept().index,
                          parallel, workspace_.data(), workspace_.size(), &quantized_);
  EXPECT_EQ(status, KernelStatus::kOk);
}

TypedMatrix RunMultiply(const CpuKernels& table, PreparedCase& prepared,
                        const QuantizedActivations& q, ElementType y_type, size_t y_extra_stride,
                        const ParallelFor& parallel) {
  const LinearView linear = prepared.linear_view();
  TypedMatrix y(q.x.tokens, linear.out_features, y_type, y_extra_stride);
  const size_t bytes = MultiplyWorkspaceBytes(table, q.x.tokens, linear, parallel);
  testing::GuardedBuffer workspace(bytes, 64);
  const OutputView view{y.data(), y_type, y.stride()};
  EXPECT_EQ(Multiply(table, q, linear, view, parallel, workspace.data(), bytes), KernelStatus::kOk);
  EXPECT_TRUE(y.Intact());
  EXPECT_TRUE(workspace.Intact());
  return y;
}

void CheckAgainstReference(const CpuKernels& table, const LinearCase& linear_case) {
  SCOPED_TRACE(linear_case.Describe());
  PreparedCase prepared(table, linear_case);
  ASSERT_NO_FATAL_FAILURE(prepared.CheckWeights(table));

  const reference::QuantizedRows rows =
      reference::QuantizeActivations(prepared.x(), prepared.options(), linear_case.kept_index);
  const QuantizedCase quantized(table, prepared);
  ASSERT_TRUE(quantized.Intact());
  ASSERT_NO_FATAL_FAILURE(CheckActivations(*quantized, rows));
  ASSERT_NO_FATAL_FAILURE(CheckAcc(table, *quantized, prepared.linear_view(),
                                   reference::Accumulate(rows, prepared.weights())));

  const std::vector<reference::ExactOutput> exact = reference::MultiplyExactly(
      prepared.x(), rows, prepared.weights(), prepared.kept(), prepared.bias());
  TypedMatrix y =
      RunMultiply(table, prepared, *quantized, linear_case.y_type, linear_case.y_extra_stride);
  CheckOutputs(y.values(), linear_case.y_type, exact);

  reference::Matrix defined =
      reference::Multiply(prepared.x(), rows, prepared.weights(), prepared.kept(), prepared.bias());
  for (float& value : defined.data) value = testing::RoundTo(value, linear_case.y_type);
  CheckOutputs(defined, linear_case.y_type, exact);
}

void CheckAccAgainstReference(const CpuKernels& table, const LinearCase& linear_case) {
  SCOPED_TRACE(linear_case.Describe());
  PreparedCase prepared(table, linear_case);
  const reference::QuantizedRows rows =
      reference::QuantizeActivations(prepared.x(), prepared.options(), linear_case.kept_index);
  const QuantizedCase quantized(table, prepared);
  CheckAcc(table, *quantized, prepared.linear_view(),
           reference::Accumulate(rows, prepared.weights()));
}

reference::Matrix RandomMatrix(testing::Random& random, size_t rows, size_t cols, float deviation) {
  reference::Matrix matrix(rows, cols);
  for (float& value : matrix.data) value = random.Normal(deviation);
  return matrix;
}

reference::Matrix RandomActivations(testing::Random& random, size_t tokens, size_t in_features,
                                    double outlier_columns) {
  reference::Matrix x = RandomMatrix(random, tokens, in_features);
  for (size_t k = 0; k < in_features; ++k) {
    if (!random.Chance(outlier_columns)) continue;
    for (size_t m = 0; m < tokens; ++m) {
      if (random.Chance(0.5)) x.at(m, k) = random.Normal(20.0f);
    }
  }
  return x;
}

bool SpansRows(reference::Method method) {
  return method == reference::Method::kTensorWise || method == reference::Method::kZeropointTensor;
}

LinearCase RandomCase(testing::Random& random, size_t tokens, size_t in_features,
                      size_t out_features) {
  LinearCase c;
  c.x = RandomActivations(random, tokens, in_features, random.Chance(0.2) ? 1.0 : 0.05);
  c.w = RandomMatrix(random, out_features, in_features, std::exp2(random.Uniform(-12, 4)));
  c.method = random.Pick(kMethods);
  c.options.threshold = random.Pick(kThresholds);
  c.options.scope = SpansRows(c.method) ? Scope::kBatch : random.Pick(kScopes);
  c.options.row_rule = random.Pick(kRules);
  c.options.activations = random.Pick(kActivations);
  c.options.via_fp16 = random.Chance(0.2);
  c.x_type = random.Pick(kTypes);
  c.w_type = random.Pick(kTypes);
  c.y_type = random.Pick(kTypes);
  c.kept_type = random.Pick(kTypes);
  c.bias_type = random.Pick(kTypes);
  for (size_t k = 0; k < in_features; ++k) {
    if (random.Chance(0.1)) c.kept_index.push_back(static_cast<int32_t>(k));
  }
  if (random.Chance(0.5)) c.bias = RandomMatrix(random, 1, out_features).data;
  c.x_extra_stride = random.Below(4);
  c.y_extra_stride = random.Below(4);
  return c;
}

LinearCase RandomCase(testing::Random& random) {
  const size_t tokens = random.Pick(kSizes) % 24, in_features = random.Pick(kSizes),
               out_features = random.Pick(kSizes);
  return RandomCase(random, tokens, in_features, out_features);
}

LinearCase ExtremeCase(testing::Random& random, const ActivationOptions& options) {
  constexpr size_t kIn = 40;
  const float big = std::numeric_limits<float>::max();
  const float magnitudes[] = {0.0f,
                              1e-45f,
                              127.0f * 0x1p-126f,
                              254.0f * 0x1p-126f,
                              256.0f * 0x1p-126f,
                              1e-36f,
                              1e-30f,
                              1.0f,
                              7.0f,
                              1e30f,
                              big / 2,
                              big};
  LinearCase c;
  c.x = reference::Matrix(std::size(magnitudes), kIn);
  for (size_t m = 0; m < c.x.rows; ++m) {
    for (size_t k = 0; k < kIn; ++k) c.x.at(m, k) = random.Uniform(-1, 1) * magnitudes[m];
    c.x.at(m, m) = magnitudes[m];
    c.x.at(m, m + 1) = -magnitudes[m];
  }
  c.w = RandomMatrix(random, 7, kIn);
  for (size_t k = 0; k < kIn; ++k) {
    c.w.at(1, k) = 0.0f;
    c.w.at(2, k) *= 1e-37f;
    c.w.at(3, k) *= 5e37f;
    c.w.at(4, k) = k % 2 == 0 ? big : -big;
  }
  c.x_type = ElementType::kFloat32;
  c.w_type = ElementType::kFloat32;
  c.options = options;
  return c;
}

}  // namespace octavo::kernels
