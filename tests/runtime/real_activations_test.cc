// The shipped model, converted, on its own captured activations: accumulators bit for bit, outputs
// within the bound.
#include <gtest/gtest.h>

#include <algorithm>

#include "octavo/convert.h"
#include "octavo/safetensors.h"
#include "runtime/state.h"
#include "tests/runtime/test_model.h"
#include "tests/testing/tolerance.h"
#include "tests/testing/typed_matrix.h"

namespace octavo {
namespace {

constexpr size_t kMaxTokens = 96;

class RealActivations : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    quant::ConvertOptions options;
    options.overwrite = true;
    const auto report = quant::Convert(OCTAVO_MODEL_DIR, Path(), options);
    ASSERT_TRUE(report.ok()) << report.status().message();
  }
  static std::string Path() { return testing::TestPath("real.8vo"); }
};

// The first rows of a captured tensor [..., in_features].
reference::Matrix FirstRows(const format::SafetensorsFile& file,
                            const format::SafetensorsEntry& entry, std::vector<std::byte>* raw) {
  *raw = *file.Read(entry);
  const size_t in = entry.shape.row_elements();
  const size_t tokens = std::min<size_t>(*entry.shape.NumRows(), kMaxTokens);
  const size_t element_bytes = DTypeBytes(entry.dtype);
  reference::Matrix x(tokens, in);
  for (size_t i = 0; i < x.data.size(); ++i)
    x.data[i] = testing::LoadElement(
        reinterpret_cast<const unsigned char*>(raw->data()) + i * element_bytes,
        testing::ToElement(entry.dtype));
  return x;
}

// What was prepared of a linear, in the reference's form.
reference::QuantizedWeights WeightsOf(const kernels::LinearView& view, const format::Reader& reader,
                                      const format::Module& module) {
  reference::QuantizedWeights weights;
  weights.out_features = view.out_features;
  weights.in_features = view.in_features;
  weights.codes.resize(view.out_features * view.in_features);
  kernels::UnpackCodes(view.layout, view.codes, view.out_features, view.in_features,
                       weights.codes.data());
  weights.code_sum.assign(view.code_sum, view.code_sum + view.out_features);
  const auto* absmax = reinterpret_cast<const float*>(
      reader.Bytes(*reader.FindTensor(module.scheme->scales)).data());
  weights.absmax.assign(absmax, absmax + view.out_features);
  return weights;
}

std::vector<float> BiasOf(const kernels::LinearView& view) {
  std::vector<float> bias;
  const auto* data = static_cast<const unsigned char*>(view.bias);
  for (size_t n = 0; data != nullptr && n < view.out_features; ++n)
    bias.push_back(
        testing::LoadElement(data + n * kernels::ElementBytes(view.bias_type), view.bias_type));
  return bias;
}

// acc of the runtime's own operands.
std::vector<int64_t> AccOf(const PreparedLinear& prepared, const QuantizedActivations& quantized) {
  const PreparedLinear::State& state = prepared.state();
  const size_t tokens = quantized.state().quantized.x.tokens;
  std::vector<int64_t> acc(tokens * state.view.out_features);
  const auto scratch = AlignedBuffer::Allocate(
      kernels::MultiplyWorkspaceBytes(*state.kernels, tokens, state.view, kernels::SerialFor()));
  EXPECT_EQ(kernels::Accumulate(*state.kernels, quantized.state().quantized, state.view, acc.data(),
                                scratch->span().data(), scratch->bytes()),
            kernels::KernelStatus::kOk);
  return acc;
}

void CheckLinear(const Model& model, const PreparedLinear& prepared, const reference::Matrix& x,
                 ConstTensorView x_view, const QuantizeOptions& options, size_t* outliers) {
  kernels::ActivationOptions reference_options;
  if (options.scope == format::Scope::kToken) reference_options.scope = kernels::Scope::kToken;
  if (options.activations == format::Activations::kSymmetric)
    reference_options.activations = kernels::Activations::kSymmetric;
  const kernels::LinearView& view = prepared.state().view;
  const auto weights = WeightsOf(view, model.reader(), prepared.linear().module());
  const auto rows = reference::QuantizeActivations(x, reference_options, {});
  *outliers += rows.outlier_columns.size();

  const auto quantized = Quantize(prepared, x_view, options);
  ASSERT_TRUE(quantized.ok()) << quantized.status().message();
  EXPECT_EQ(*quantized->outlier_columns(),
            std::vector<int64_t>(rows.outlier_columns.begin(), rows.outlier_columns.end()));
  EXPECT_EQ(AccOf(prepared, *quantized), reference::Accumulate(rows, weights));

  std::vector<uint16_t> y(x.rows * view.out_features);
  ASSERT_TRUE(
      Multiply(*quantized, prepared, {y.data(), DType::kF16, x_view.rows, prepared.out_features()})
          .ok());
  const auto expected = reference::MultiplyExactly(x, rows, weights, {}, BiasOf(view));
  for (size_t i = 0; i < y.size(); ++i) {
    const double value = kernels::HalfToFloat(y[i]);
    ASSERT_TRUE(testing::IsWithinBound(value, kernels::ElementType::kFloat16, expected[i]))
        << "index " << i << ": " << testing::DescribeOutput(value, expected[i]);
  }
}

TEST_F(RealActivations, EveryCapturedLinear) {
  const Result<Model> model = Model::Open(Path(), {.verify = true});
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto file = format::SafetensorsFile::Open(OCTAVO_MODEL_DIR "/activations.safetensors");
  ASSERT_TRUE(file.ok()) << file.status().message();
  size_t linears = 0, outliers = 0;
  for (const format::SafetensorsEntry& entry : file->tensors()) {
    const Result<Linear> linear = model->linear(entry.name);
    if (!linear.ok()) continue;
    SCOPED_TRACE(entry.name);
    ++linears;
    const Result<PreparedLinear> prepared = Prepare(*linear, kCpuDevice, {.check_digests = true});
    ASSERT_TRUE(prepared.ok()) << prepared.status().message();
    std::vector<std::byte> raw;
    const reference::Matrix x = FirstRows(*file, entry, &raw);
    const ConstTensorView view{raw.data(), entry.dtype, static_cast<int64_t>(x.rows),
                               static_cast<int64_t>(x.cols)};
    for (const auto scope : {format::Scope::kBatch, format::Scope::kToken}) {
      QuantizeOptions options;
      options.scope = scope;
      CheckLinear(*model, *prepared, x, view, options, &outliers);
    }
    QuantizeOptions symmetric;
    symmetric.activations = format::Activations::kSymmetric;
    CheckLinear(*model, *prepared, x, view, symmetric, &outliers);
  }
  EXPECT_GT(linears, 0u);
  EXPECT_GT(outliers, 0u) << "these activations were chosen for their outliers";
}

}  // namespace
}  // namespace octavo
