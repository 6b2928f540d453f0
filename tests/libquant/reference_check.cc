#include "tests/libquant/reference_check.h"

#include <algorithm>
#include <cmath>

#include "kernels/reference/llm_int8.h"

namespace octavo::quant::testing {
namespace {

using format::Checkpoint;
using format::Method;
using format::Module;

std::vector<std::byte> SourceBytes(const Checkpoint& source, const std::string& name) {
  const format::SourceTensor* tensor = source.Find(name);
  if (tensor == nullptr) {
    ADD_FAILURE() << "the source has no " << name;
    return {};
  }
  std::vector<std::byte> bytes(tensor->bytes);
  EXPECT_TRUE(source.ReadAt(tensor->file, tensor->offset, bytes).ok());
  return bytes;
}

// The expert's weight as [out_features][in_features].
reference::Matrix Weight(const Module& module, const std::vector<float>& values, size_t expert) {
  reference::Matrix matrix(module.out_features, module.in_features);
  const size_t first = expert * matrix.data.size();
  for (size_t n = 0; n < matrix.rows; ++n) {
    for (size_t k = 0; k < matrix.cols; ++k) {
      matrix.at(n, k) =
          values[first + (module.transposed ? k * matrix.rows + n : n * matrix.cols + k)];
    }
  }
  return matrix;
}

reference::Method ToReference(Method method) {
  switch (method) {
    case Method::kTensorWise:
      return reference::Method::kTensorWise;
    case Method::kRowWise:
      return reference::Method::kRowWise;
    case Method::kZeropointTensor:
      return reference::Method::kZeropointTensor;
    case Method::kZeropointVector:
      return reference::Method::kZeropointVector;
    default:
      return reference::Method::kVectorWise;
  }
}

std::vector<int8_t> PlainCodes(const Output& output, const Module& module) {
  std::vector<int8_t> codes = As<int8_t>(output.Read(module.scheme->codes));
  if (module.scheme->layout == format::CodeLayout::kPlain) return codes;
  std::vector<int8_t> plain(module.out_features * module.in_features);
  kernels::UnpackCodes(kernels::WeightLayout::kVnni16x4, codes.data(), module.out_features,
                       module.in_features, plain.data());
  return plain;
}

struct Stored {
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> code_sum;
  std::vector<int32_t> zero_point;
};

struct Sums {
  double weight_squares = 0;
  double error_squares = 0;
  double max_error = 0;
};

void AddErrors(const reference::Matrix& exact, const reference::QuantizedWeights& expected,
               const Stored& stored, size_t first_row, bool is_step, Sums* sums) {
  for (size_t n = 0; n < exact.rows; ++n) {
    const double scale = double{stored.scales[first_row + n]} / (is_step ? 1.0 : 127.0);
    for (size_t k = 0; k < exact.cols; ++k) {
      const double error = exact.at(n, k) - expected.code_less_zero_point(n, k) * scale;
      sums->weight_squares += double{exact.at(n, k)} * exact.at(n, k);
      sums->error_squares += error * error;
      sums->max_error = std::max(sums->max_error, std::fabs(error));
    }
  }
}

void CheckMetrics(const Module& module, const Sums& sums) {
  ASSERT_TRUE(module.error);
  if (sums.error_squares == 0) {
    EXPECT_EQ(module.error->snr_db, std::nullopt);
  } else {
    ASSERT_TRUE(module.error->snr_db) << module.name;
    EXPECT_NEAR(*module.error->snr_db, 10 * std::log10(sums.weight_squares / sums.error_squares),
                0.005001);
  }
  EXPECT_NEAR(module.error->max_abs_error, sums.max_error, 1e-9 * (sums.max_error + 1e-9));
}

void CheckQuantized(const Output& output, const Checkpoint& source, const Module& module) {
  const format::Quantization& quantization = output.reader().manifest().quantization;
  const DType dtype = source.Find(module.source_tensor)->dtype;
  const std::vector<float> exact = Decode(dtype, SourceBytes(source, module.source_tensor));
  std::vector<float> values = exact;
  if (quantization.weights_via_fp16) values = Decode(DType::kF16, Encode(DType::kF16, exact));
  const bool is_step = module.scheme->convention == format::ScaleConvention::kStep;
  Stored stored{PlainCodes(output, module),
                As<float>(output.Read(module.scheme->scales)),
                As<int32_t>(output.Read(module.scheme->code_sum)),
                {}};
  if (is_step) stored.zero_point = As<int32_t>(output.Read(module.scheme->zero_point));
  const size_t experts = module.kind == format::ModuleKind::kExperts ? module.experts : 1;
  Sums sums;
  for (size_t expert = 0; expert < experts; ++expert) {
    const reference::QuantizedWeights expected = reference::QuantizeWeights(
        Weight(module, values, expert), ToReference(quantization.method));
    const size_t first_row = expert * module.out_features;
    const auto is_equal = [](const auto& all, size_t first, const auto& part) {
      return all.size() >= first + part.size() &&
             std::equal(part.begin(), part.end(), all.begin() + static_cast<std::ptrdiff_t>(first));
    };
    ASSERT_TRUE(is_equal(stored.codes, first_row * module.in_features, expected.codes))
        << module.name;
    ASSERT_TRUE(is_equal(stored.scales, first_row, is_step ? expected.step : expected.absmax))
        << module.name;
    ASSERT_TRUE(is_equal(stored.code_sum, first_row, expected.code_sum)) << module.name;
    if (is_step) {
      ASSERT_TRUE(is_equal(stored.zero_point, first_row, expected.zero_point)) << module.name;
    }
    AddErrors(Weight(module, exact, expert), expected, stored, first_row, is_step, &sums);
  }
  EXPECT_EQ(stored.codes.size(), experts * module.out_features * module.in_features);
  EXPECT_EQ(stored.scales.size(), experts * module.out_features);
  CheckMetrics(module, sums);
}

void CheckKept(const Output& output, const Checkpoint& source, const Module& module) {
  const format::TensorEntry* entry = output.reader().FindTensor(module.kept_weight);
  const std::vector<int32_t> index = As<int32_t>(output.Read(module.kept_index));
  const std::vector<float> kept = Decode(entry->dtype, output.Read(module.kept_weight));
  const DType dtype = source.Find(module.source_tensor)->dtype;
  const reference::Matrix weight =
      Weight(module, Decode(dtype, SourceBytes(source, module.source_tensor)), 0);
  ASSERT_EQ(kept.size(), index.size() * module.out_features);
  for (size_t i = 0; i < index.size(); ++i) {
    for (size_t n = 0; n < module.out_features; ++n) {
      const float value = weight.at(n, static_cast<size_t>(index[i]));
      ASSERT_EQ(kept[i * module.out_features + n],
                Decode(entry->dtype, Encode(entry->dtype, {value}))[0])
          << module.name;
    }
  }
}

}  // namespace

size_t CheckAgainstReference(const Output& output, const Checkpoint& source) {
  size_t quantized = 0;
  for (const Module& module : output.reader().manifest().modules) {
    std::vector<std::string> copied = module.tensors;
    if (!module.bias.empty()) copied.push_back(module.bias);
    if (module.tied_to.empty() && !module.weight.empty()) copied.push_back(module.weight);
    for (const std::string& name : copied) {
      EXPECT_EQ(output.Read(name), SourceBytes(source, name)) << name;
    }
    if (!module.quantized) continue;
    ++quantized;
    CheckQuantized(output, source, module);
    if (!module.kept_index.empty()) CheckKept(output, source, module);
  }
  return quantized;
}

}  // namespace octavo::quant::testing
