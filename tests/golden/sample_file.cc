#include "tests/golden/sample_file.h"

#include <algorithm>
#include <cstring>

namespace octavo::testing {
namespace {

using format::CodeLayout;
using format::Module;
using format::ModuleKind;
using format::ScaleConvention;

constexpr int8_t kMaxCode = 127;

template <typename T>
std::span<const std::byte> AsBytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

Shape PerRow(const SampleFile::Linear& linear) {
  return linear.experts > 0 ? Shape{linear.experts, linear.out_features}
                            : Shape{linear.out_features};
}

// docs/format.md, section 8: code (n, k) stands at [n / 16][k / 4][n % 16][k % 4].
std::vector<int8_t> Pack(const std::vector<int8_t>& plain, uint64_t out, uint64_t in) {
  const uint64_t groups = (in + 63) / 64 * 16;
  std::vector<int8_t> packed((out + 15) / 16 * groups * 64, 0);
  for (uint64_t n = 0; n < out; ++n) {
    for (uint64_t k = 0; k < in; ++k) {
      packed[((n / 16 * groups + k / 4) * 16 + n % 16) * 4 + k % 4] = plain[n * in + k];
    }
  }
  return packed;
}

}  // namespace

SampleFile::SampleFile(const std::string& path, const format::WriterOptions& options) {
  Result<format::Writer> writer = format::Writer::Create(path, options);
  status_ = writer.status();
  if (writer.ok()) writer_.push_back(std::move(writer).value());
  manifest_.converter = "octavo golden 1";
  manifest_.source.model_type = "gpt2";
  manifest_.source.architecture = "GPT2LMHeadModel";
  manifest_.source.known_architecture = true;
  manifest_.source.files = {{"model.safetensors", 1234, "0123456789abcdef0123456789abcdef", ""}};
}

// A linear congruential generator: the same numbers everywhere and for ever.
uint32_t SampleFile::NextRandom() {
  random_ = random_ * 6364136223846793005u + 1442695040888963407u;
  return static_cast<uint32_t>(random_ >> 33);
}

void SampleFile::Append(const std::string& name, DType dtype, const Shape& shape,
                        std::span<const std::byte> raw, uint64_t matrix_rows) {
  if (!status_.ok()) return;
  format::Writer& writer = writer_.front();
  const uint64_t row_bytes = shape.row_elements() * DTypeBytes(dtype);
  // Small chunks, so that small files have several.
  const uint64_t chunk_rows = std::max<uint64_t>(1, 24 / std::max<uint64_t>(1, row_bytes));
  const uint64_t large = raw.size() >= 65536 ? 1024 : 1;
  const Result<uint32_t> idx =
      writer.AddTensor(name, dtype, shape, matrix_rows, chunk_rows * large);
  Take(idx.status());
  std::vector<std::byte> buffer;
  for (uint64_t i = 0; status_.ok() && i < format::NumChunks(writer.tensor(*idx)); ++i) {
    const format::ChunkExtent extent = format::ChunkAt(writer.tensor(*idx), i);
    const auto chunk = writer.EncodeChunk(
        raw.subspan(extent.first_row * row_bytes, extent.rows * row_bytes), &buffer);
    Take(chunk.status());
    if (!chunk.ok()) return;
    const auto place = writer.PlaceChunk(*idx, *chunk);
    Take(place.status());
    if (place.ok()) Take(writer.WriteChunk(*place, chunk->data));
  }
  if (status_.ok()) Take(writer.FinishTensor(*idx));
}

void SampleFile::AppendBytes(const std::string& name, DType dtype, const Shape& shape) {
  std::vector<uint8_t> raw(*shape.NumElements() * DTypeBytes(dtype));
  const bool is_large = raw.size() >= 65536;  // kept compressible
  for (uint8_t& byte : raw) byte = is_large ? 0 : static_cast<uint8_t>(NextRandom() & 0x3f);
  Append(name, dtype, shape, AsBytes(raw));
}

std::vector<int8_t> SampleFile::Codes(const Linear& linear) {
  const uint64_t matrices = std::max<uint64_t>(1, linear.experts);
  std::vector<int8_t> codes(matrices * linear.out_features * linear.in_features);
  for (int8_t& code : codes) {
    code = static_cast<int8_t>(static_cast<int>(NextRandom() % 255) - kMaxCode);
  }
  if (linear.full_range && !codes.empty()) codes.back() = -128;
  if (linear.zero_row) std::fill_n(codes.begin(), linear.in_features, int8_t{0});
  return codes;
}

void SampleFile::AppendPerRow(const Linear& linear, const std::vector<int8_t>& codes,
                              Module* module) {
  const uint64_t rows = std::max<uint64_t>(1, linear.experts) * linear.out_features;
  std::vector<float> scales(rows);
  std::vector<int32_t> sums(rows, 0);
  std::vector<int32_t> zero_points(rows);
  for (uint64_t row = 0; row < rows; ++row) {
    scales[row] = static_cast<float>(NextRandom() % 1000 + 1) / 4096.0f;
    zero_points[row] = static_cast<int32_t>(NextRandom() % 256) - 128;
    for (uint64_t k = 0; k < linear.in_features; ++k)
      sums[row] += codes[row * linear.in_features + k];
  }
  if (linear.zero_row) scales[0] = 0;
  format::SchemeDescriptor& scheme = *module->scheme;
  const bool is_absmax = linear.convention == ScaleConvention::kAbsmax;
  scheme.scales = scheme.codes + (is_absmax ? "_absmax" : "_step");
  scheme.code_sum = scheme.codes + "_code_sum";
  Append(scheme.scales, DType::kF32, PerRow(linear), AsBytes(scales));
  Append(scheme.code_sum, DType::kI32, PerRow(linear), AsBytes(sums));
  if (linear.has_zero_point) {
    scheme.zero_point = scheme.codes + "_zero_point";
    Append(scheme.zero_point, DType::kI32, PerRow(linear), AsBytes(zero_points));
  }
  module->error =
      format::ModuleError{.snr_db = 43.21, .max_abs_error = 0.001953125, .saturated_share = 0.25};
  if (scales.empty()) return;
  module->error->absmax_min = std::ranges::min(scales);
  module->error->absmax_max = std::ranges::max(scales);
}

void SampleFile::AppendKept(const Linear& linear, Module* module) {
  std::vector<int32_t> index(linear.num_kept);
  for (uint64_t i = 0; i < linear.num_kept; ++i) index[i] = static_cast<int32_t>(2 * i + 1);
  module->kept_index = module->scheme->codes + "_kept_index";
  module->kept_weight = module->scheme->codes + "_kept";
  Append(module->kept_index, DType::kI32, Shape{linear.num_kept}, AsBytes(index));
  AppendBytes(module->kept_weight, DType::kF16, Shape{linear.num_kept, linear.out_features});
}

void SampleFile::AddLinear(const Linear& linear) {
  const uint64_t out = linear.out_features;
  const uint64_t in = linear.in_features;
  Module module;
  module.name = linear.name;
  module.kind = linear.experts > 0 ? ModuleKind::kExperts : ModuleKind::kLinear;
  module.quantized = true;
  module.reason = "linear of a transformer block";
  module.in_features = in;
  module.out_features = out;
  module.experts = linear.experts;
  module.source_tensor = linear.name + ".weight";
  module.source_dtype = DType::kF16;
  module.transposed = true;
  module.scheme.emplace();
  module.scheme->codes = linear.name + ".weight";
  module.scheme->layout = linear.layout;
  module.scheme->full_range = linear.full_range;
  module.scheme->convention = linear.convention;
  if (!writer_.empty())
    Take(writer_.front().BeginBundle(out * in * std::max<uint64_t>(1, linear.experts)));
  const std::vector<int8_t> codes = Codes(linear);
  if (linear.layout == CodeLayout::kVnni16x4) {
    Append(module.scheme->codes, DType::kI8, Shape{(out + 15) / 16, (in + 63) / 64 * 16, 16, 4},
           AsBytes(Pack(codes, out, in)));
  } else if (linear.experts > 0) {
    Append(module.scheme->codes, DType::kI8, Shape{linear.experts, out, in}, AsBytes(codes), out);
  } else {
    Append(module.scheme->codes, DType::kI8, Shape{out, in}, AsBytes(codes));
  }
  AppendPerRow(linear, codes, &module);
  if (linear.num_kept > 0) AppendKept(linear, &module);
  if (linear.has_bias) {
    module.bias = linear.name + ".bias";
    AppendBytes(module.bias, DType::kF16, PerRow(linear));
  }
  manifest_.modules.push_back(std::move(module));
}

void SampleFile::AddKept(const std::string& name, ModuleKind kind, DType dtype,
                         const Shape& shape) {
  Module module;
  module.name = name;
  module.kind = kind;
  module.reason = "not a linear of a block";
  module.weight = name + ".weight";
  module.source_tensor = module.weight;
  module.source_dtype = dtype;
  if (!writer_.empty()) Take(writer_.front().BeginBundle(*shape.NumElements() * DTypeBytes(dtype)));
  AppendBytes(module.weight, dtype, shape);
  manifest_.modules.push_back(std::move(module));
}

void SampleFile::AddTiedHead(const std::string& name, const std::string& tied_to) {
  Module module;
  module.name = name;
  module.kind = ModuleKind::kHead;
  module.reason = "output head, tied to the embedding";
  module.weight = tied_to + ".weight";
  module.tied_to = tied_to;
  module.in_features = 4;
  module.out_features = 8;
  manifest_.modules.push_back(std::move(module));
}

void SampleFile::AddAsset(const std::string& name, const std::string& content) {
  if (status_.ok()) Take(writer_.front().AppendAsset(name, std::as_bytes(std::span(content))));
}

Status SampleFile::Finish() {
  if (status_.ok()) Take(writer_.front().Finish(manifest_));
  return status_;
}

}  // namespace octavo::testing
