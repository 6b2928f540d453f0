// What each golden file contains.
#include "tests/golden/sample_file.h"

namespace octavo::testing {
namespace {

using format::Codec;
using format::Method;
using format::ModuleKind;
using format::WriterOptions;

constexpr char kConfig[] = "{\"model_type\": \"gpt2\"}\n";

// A linear, an embedding, a norm, a scalar and a small file.
void AddSmallModel(SampleFile& file) {
  file.AddKept("wte", ModuleKind::kEmbedding, DType::kBF16, Shape{8, 4});
  file.AddLinear({.name = "h.0.mlp",
                  .out_features = 5,
                  .in_features = 12,
                  .has_bias = true,
                  .zero_row = true});
  file.AddKept("ln_f", ModuleKind::kNorm, DType::kF32, Shape{4});
  file.AddKept("scale", ModuleKind::kBuffer, DType::kF64, Shape{});
  file.AddAsset("config.json", kConfig);
}

Status WritePlain(const std::string& path) {
  SampleFile file(path);
  AddSmallModel(file);
  return file.Finish();
}

Status WriteZstd(const std::string& path) {
  SampleFile file(path, {.codec = Codec::kZstd});
  AddSmallModel(file);
  return file.Finish();
}

// A payload that starts at a page: 64 KiB raw, few stored.
Status WriteZstdPages(const std::string& path) {
  SampleFile file(path, {.codec = Codec::kZstd});
  file.AddKept("wpe", ModuleKind::kPosition, DType::kF32, Shape{1024, 16});
  file.AddKept("ln_f", ModuleKind::kNorm, DType::kF32, Shape{4});
  file.AddAsset("empty.txt", "");
  return file.Finish();
}

Status WriteSharded(const std::string& path) {
  SampleFile file(path, {.max_shard_bytes = 8000});
  AddSmallModel(file);
  file.AddTiedHead("lm_head", "wte");
  return file.Finish();
}

Status WriteKeptColumns(const std::string& path) {
  SampleFile file(path);
  file.AddLinear({.name = "h.0.mlp", .num_kept = 2});
  return file.Finish();
}

Status WriteTiedHead(const std::string& path) {
  SampleFile file(path);
  file.AddKept("wte", ModuleKind::kEmbedding, DType::kF16, Shape{8, 4});
  file.AddTiedHead("lm_head", "wte");
  return file.Finish();
}

Status WriteEmptyTensor(const std::string& path) {
  SampleFile file(path);
  file.AddKept("none", ModuleKind::kBuffer, DType::kF32, Shape{0});
  file.AddKept("no_columns", ModuleKind::kBuffer, DType::kI64, Shape{3, 0});
  file.AddKept("no_rows", ModuleKind::kBuffer, DType::kBool, Shape{0, 7, 2});
  file.AddLinear({.name = "h.0.mlp", .out_features = 0, .in_features = 4});
  file.AddLinear({.name = "h.1.mlp", .out_features = 3, .in_features = 0, .zero_row = true});
  file.AddKept("one", ModuleKind::kBuffer, DType::kU8, Shape{1});
  file.AddAsset("empty.txt", "");
  return file.Finish();
}

Status WriteExperts(const std::string& path) {
  SampleFile file(path);
  file.AddLinear({.name = "h.0.experts", .out_features = 5, .in_features = 8, .experts = 3});
  return file.Finish();
}

Status WriteFullRange(const std::string& path) {
  SampleFile file(path);
  file.AddLinear(
      {.name = "h.0.mlp", .full_range = true, .convention = format::ScaleConvention::kStep});
  return file.Finish();
}

Status WritePacked(const std::string& path) {
  SampleFile file(path);
  file.AddLinear({.name = "h.0.mlp",
                  .out_features = 17,
                  .in_features = 66,
                  .layout = format::CodeLayout::kVnni16x4});
  return file.Finish();
}

Status WriteComparisonMethod(const std::string& path) {
  SampleFile file(path);
  file.manifest().quantization.method = Method::kZeropointVector;
  file.AddLinear({.name = "h.0.mlp",
                  .full_range = true,
                  .convention = format::ScaleConvention::kStep,
                  .has_zero_point = true});
  return file.Finish();
}

Status WriteTensorWise(const std::string& path) {
  SampleFile file(path);
  file.manifest().quantization.method = Method::kTensorWise;
  file.manifest().quantization.activations = format::Activations::kSymmetric;
  file.AddLinear({.name = "h.0.mlp"});
  return file.Finish();
}

// Every dtype and rank.
Status WriteDTypes(const std::string& path) {
  SampleFile file(path);
  for (int32_t i = 0; i <= static_cast<int32_t>(DType::kF8E5M2); ++i) {
    const DType dtype = static_cast<DType>(i);
    const std::string name(DTypeName(dtype));
    file.AddKept(name + ".scalar", ModuleKind::kOther, dtype, Shape{});
    file.AddKept(name + ".matrix", ModuleKind::kOther, dtype, Shape{2, 3});
  }
  file.AddKept("rank8", ModuleKind::kOther, DType::kU8, Shape{1, 2, 1, 3, 1, 2, 1, 2});
  file.AddKept("naïve \"名\" \\ name", ModuleKind::kOther, DType::kU8, Shape{1});
  return file.Finish();
}

// The file of docs/format.md, section 11: one linear of 2 by 4 and nothing else.
Status WriteWorkedExample(const std::string& path) {
  SampleFile file(path);
  file.manifest().converter = "octavo";
  file.manifest().source = {};
  file.AddLinear({.name = "h.0", .out_features = 2, .in_features = 4});
  return file.Finish();
}

constexpr Sample kSamples[] = {
    {"comparison_method", WriteComparisonMethod},
    {"dtypes", WriteDTypes},
    {"empty_tensor", WriteEmptyTensor},
    {"experts", WriteExperts},
    {"full_range", WriteFullRange},
    {"kept_columns", WriteKeptColumns},
    {"packed", WritePacked},
    {"plain", WritePlain},
    {"sharded", WriteSharded},
    {"tensor_wise", WriteTensorWise},
    {"tied_head", WriteTiedHead},
    {"worked_example", WriteWorkedExample},
    {"zstd", WriteZstd},
    {"zstd_pages", WriteZstdPages},
};

}  // namespace

std::span<const Sample> Samples() { return kSamples; }

}  // namespace octavo::testing
