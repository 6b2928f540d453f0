#include "tests/runtime/slices.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace octavo::testing {
namespace {

LinearSpec WithBias(Random& random, LinearSpec linear, DType dtype) {
  linear.bias_dtype = dtype;
  for (const reference::Matrix& w : linear.weights) {
    std::vector<float>& bias = linear.biases.emplace_back(w.rows);
    for (float& value : bias) value = random.Normal();
  }
  return linear;
}

std::vector<LinearSpec> EveryKind(Random& random) {
  std::vector<LinearSpec> linears;
  linears.push_back(RandomLinear(random, "plain", 70, 330));
  linears.push_back(WithBias(random, RandomLinear(random, "small", 3, 7), DType::kF32));
  linears.push_back(RandomLinear(random, "packed", 160, 384));
  linears.push_back(WithBias(random, RandomLinear(random, "packed_odd", 37, 83), DType::kF16));
  for (size_t i = 2; i < 4; ++i) linears[i].layout = format::CodeLayout::kVnni16x4;
  LinearSpec kept = WithBias(random, RandomLinear(random, "kept", 45, 150), DType::kBF16);
  kept.kept_index = {0, 3, 72, 80, 149};
  kept.kept_dtype = DType::kBF16;
  linears.push_back(kept);
  LinearSpec experts = RandomLinear(random, "experts", 18, 62);
  experts.experts = true;
  for (int e = 1; e < 3; ++e)
    experts.weights.push_back(RandomLinear(random, "", 18, 62).weights[0]);
  linears.push_back(WithBias(random, experts, DType::kF16));
  linears.push_back(RandomLinear(random, "chunks", 50, 140));
  linears.back().chunk_rows = 7;
  linears.push_back(RandomLinear(random, "packed_chunks", 64, 256));
  linears.back().layout = format::CodeLayout::kVnni16x4;
  linears.back().chunk_rows = 48;
  return linears;
}

// Weights that zstd makes smaller, so that frames are read and not stored rows.
void Thin(std::vector<LinearSpec>* linears) {
  for (LinearSpec& linear : *linears) {
    for (reference::Matrix& w : linear.weights) {
      for (size_t i = 0; i < w.data.size(); ++i) w.data[i] = i % 7 == 0 ? w.data[i] : 0.0f;
    }
  }
}

}  // namespace

std::vector<ModelSpec> SliceableModels(Random& random) {
  std::vector<ModelSpec> models(4);
  models[0].linears = EveryKind(random);
  models[1].linears = EveryKind(random);
  models[1].writer.codec = format::Codec::kZstd;
  Thin(&models[1].linears);
  models[2].quantization.method = format::Method::kZeropointVector;
  models[2].linears.push_back(RandomLinear(random, "zeropoint", 33, 130));
  models[3].quantization.method = format::Method::kTensorWise;
  models[3].quantization.activations_via_fp16 = true;
  models[3].linears.push_back(RandomLinear(random, "tensor_wise", 33, 130));
  return models;
}

reference::Matrix SliceActivations(Random& random, size_t tokens, size_t in_features) {
  reference::Matrix x(tokens, in_features);
  for (float& value : x.data) value = random.Normal();
  for (size_t k = 1; k < in_features; k += 17) {
    for (size_t m = 0; m < tokens; ++m) x.at(m, k) *= random.Chance(0.5) ? 12.0f : 2.0f;
  }
  return x;
}

Linear MustFind(const std::string& path, const std::string& name, int64_t expert) {
  Result<Model> model = Model::Open(path);
  if (!model.ok()) throw std::runtime_error(model.status().message());
  Result<Linear> linear = model->linear(name, expert);
  if (!linear.ok()) throw std::runtime_error(linear.status().message());
  return std::move(linear).value();
}

PreparedLinear MustPrepareSlice(const Linear& linear, int32_t rank, int32_t world, SliceAxis axis,
                                const PrepareOptions& options, Device device) {
  const Result<Linear> part = linear.slice(rank, world, axis);
  if (!part.ok()) throw std::runtime_error(part.status().message());
  Result<PreparedLinear> prepared = Prepare(*part, device, options);
  if (!prepared.ok()) throw std::runtime_error(prepared.status().message());
  return std::move(prepared).value();
}

LinearSpec CutRows(const LinearSpec& linear, const Slice& part) {
  LinearSpec cut = linear;
  for (reference::Matrix& w : cut.weights) {
    const auto row = [&](int64_t n) { return w.data.begin() + n * static_cast<int64_t>(w.cols); };
    reference::Matrix rows(static_cast<size_t>(part.features()), w.cols);
    std::copy(row(part.begin), row(part.end), rows.data.begin());
    w = std::move(rows);
  }
  for (std::vector<float>& bias : cut.biases)
    bias = std::vector<float>(bias.begin() + part.begin, bias.begin() + part.end);
  return cut;
}

}  // namespace octavo::testing
