// Every golden file is a model that runs: each of its linears is prepared, checked and multiplied.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "tests/runtime/test_model.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

// A stored tensor as numbers, whatever its codec.
template <typename T>
std::vector<T> Read(const format::Reader& reader, const std::string& name) {
  const auto bytes = reader.ReadAll(*reader.FindTensor(name));
  EXPECT_TRUE(bytes.ok()) << bytes.status().message();
  std::vector<T> values(bytes->size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes->data(), bytes->size());
  return values;
}

// With one nonzero input 1 at column k and everything unquantized (a threshold below it), y is W's
// column k plus the bias. Threshold tiny: 1 is an outlier entry, so y[n] = code_less_zero_point * a
// + bias in plain float32 steps.
void CheckColumn(const PreparedLinear& prepared, const format::Reader& reader, int64_t expert) {
  const format::Module& module = prepared.linear().module();
  const format::SchemeDescriptor& scheme = *module.scheme;
  if (scheme.layout != format::CodeLayout::kPlain || !module.bias.empty() ||
      !module.kept_index.empty() || module.in_features == 0)
    return;
  const size_t out = module.out_features, in = module.in_features;
  const auto e = static_cast<size_t>(expert);
  const auto codes = Read<int8_t>(reader, scheme.codes);
  const auto scales = Read<float>(reader, scheme.scales);
  const auto points = scheme.zero_point.empty() ? std::vector<int32_t>(scales.size())
                                                : Read<int32_t>(reader, scheme.zero_point);
  const bool absmax = scheme.convention == format::ScaleConvention::kAbsmax;
  const size_t k = in / 2;
  std::vector<float> x(in), y(out);
  x[k] = 1;
  QuantizeOptions options;
  options.threshold = 0.5f;
  ASSERT_TRUE(Forward(prepared, {x.data(), DType::kF32, 1, static_cast<int64_t>(in)},
                      {y.data(), DType::kF32, 1, static_cast<int64_t>(out)}, options)
                  .ok());
  for (size_t n = 0; n < out; ++n) {
    const size_t row = e * out + n;
    const float a = absmax ? scales[row] / 127.0f : scales[row];
    EXPECT_EQ(y[n], static_cast<float>(codes[row * in + k] - points[row]) * a) << n;
  }
}

void CheckModule(const Model& model, const format::Module& module) {
  const uint64_t matrices = module.kind == format::ModuleKind::kExperts ? module.experts : 1;
  for (uint64_t e = 0; e < matrices; ++e) {
    SCOPED_TRACE(module.name + " " + std::to_string(e));
    const auto expert = static_cast<int64_t>(e);
    const Result<PreparedLinear> prepared =
        Prepare(*model.linear(module.name, expert), kCpuDevice, {.check_digests = true});
    ASSERT_TRUE(prepared.ok()) << prepared.status().message();
    CheckColumn(*prepared, model.reader(), expert);
    const int64_t in = prepared->in_features(), out = prepared->out_features();
    std::vector<float> x(static_cast<size_t>(3 * in)), y(static_cast<size_t>(3 * out), NAN);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 13) - 6.5f;
    const Status status =
        Forward(*prepared, {x.data(), DType::kF32, 3, in}, {y.data(), DType::kF32, 3, out});
    ASSERT_TRUE(status.ok()) << status.message();
    for (const float value : y) ASSERT_TRUE(std::isfinite(value));
  }
}

TEST(Golden, EveryValidFileRuns) {
  size_t files = 0, linears = 0;
  for (const auto& entry : fs::recursive_directory_iterator(OCTAVO_GOLDEN_DIR "/valid")) {
    if (entry.path().extension() != ".8vo") continue;
    SCOPED_TRACE(entry.path().string());
    const Result<Model> model = Model::Open(entry.path().string(), {.verify = true});
    ASSERT_TRUE(model.ok()) << model.status().message();
    ++files;
    for (const format::Module& module : model->manifest().modules) {
      if (!module.quantized) continue;
      ++linears;
      CheckModule(*model, module);
    }
  }
  EXPECT_GT(files, 0u);
  EXPECT_GT(linears, 0u);
}

// Rules of values (R26 to R29): whoever opens without verification still finds them with
// check_digests.
TEST(Golden, PrepareFindsInvalidValues) {
  const bool packs = kernels::SelectCpuKernels(nullptr)->layout != kernels::WeightLayout::kPlain;
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(OCTAVO_GOLDEN_DIR "/invalid")) {
    const std::string rule = entry.path().stem().string().substr(0, 3);
    if (rule < "R26" || rule > "R29") continue;
    // Padding of packed codes concerns only those who read it.
    if (!packs && entry.path().stem() == "R27_packed_padding") continue;
    SCOPED_TRACE(entry.path().string());
    ++files;
    const Result<Model> model = Model::Open(entry.path().string());
    ASSERT_TRUE(model.ok()) << model.status().message();
    bool found = false;
    for (const format::Module& module : model->manifest().modules) {
      if (!module.quantized) continue;
      const Status status =
          Prepare(*model->linear(module.name), kCpuDevice, {.check_digests = true}).status();
      if (status.ok()) continue;
      found = true;
      EXPECT_EQ(status.code(), ErrorCode::kInvalidFile);
      EXPECT_TRUE(testing::HasText(status, "(" + rule + ")"));
    }
    EXPECT_TRUE(found);
  }
  EXPECT_GE(files, 6u);
}

TEST(Golden, EveryInvalidFileIsRefused) {
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(OCTAVO_GOLDEN_DIR "/invalid")) {
    if (entry.path().extension() != ".8vo") continue;
    ++files;
    const Result<Model> model = Model::Open(entry.path().string(), {.verify = true});
    EXPECT_TRUE(model.code() == ErrorCode::kInvalidFile || model.code() == ErrorCode::kNotIntact ||
                model.code() == ErrorCode::kNewerFormat || model.code() == ErrorCode::kNotFound)
        << entry.path() << ": " << model.status().message();
  }
  EXPECT_GT(files, 0u);
}

}  // namespace
}  // namespace octavo
