// What an exported folder holds: every weight, recomputed here from the codes in plain loops.
#include "octavo/export.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <optional>

#include "octavo/manifest.h"
#include "tests/libquant/model_folder.h"

namespace octavo::quant {
namespace {

using format::SafetensorsFile;
using testing::Encode;
using testing::ModelFolder;
using testing::Output;

constexpr char kMixtral[] =
    R"({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "dtype": "bfloat16"})";

// The weights that a module stands for, in the source's type and orientation.
std::vector<std::byte> Dequantized(const Output& output, const format::Module& module) {
  const auto codes = testing::As<int8_t>(output.Read(module.scheme->codes));
  const auto scales = testing::As<float>(output.Read(module.scheme->scales));
  std::vector<int32_t> zero_points(scales.size(), 0);
  if (!module.scheme->zero_point.empty()) {
    zero_points = testing::As<int32_t>(output.Read(module.scheme->zero_point));
  }
  const bool is_step = module.scheme->convention == format::ScaleConvention::kStep;
  const uint64_t in = module.in_features, out = module.out_features;
  std::vector<float> weights(codes.size());
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t row = i / in, expert = row / out;
    const size_t at = module.transposed ? (expert * in + i % in) * out + row % out : i;
    weights[at] = static_cast<float>((codes[i] - zero_points[row]) *
                                     static_cast<double>(scales[row]) / (is_step ? 1.0 : 127.0));
  }
  return Encode(*module.source_dtype, weights);
}

class ExportTest : public ::testing::Test {
 protected:
  // Several chunks, a bias, a head that is tied, and a norm.
  void WriteLlama(DType dtype = DType::kF16) {
    model_->Add("model.embed_tokens.weight", {50, 333}, dtype);
    model_->Add("model.layers.0.mlp.up_proj.weight", {4001, 333}, dtype);
    model_->Add("model.layers.0.mlp.up_proj.bias", {4001}, dtype);
    model_->Add("model.layers.0.mlp.down_proj.weight", {65, 4001}, dtype);
    model_->Add("model.layers.0.input_layernorm.weight", {333}, dtype);
    model_->Write(testing::kTiedLlama);
  }
  std::string Convert(const ConvertOptions& options = {}) {
    const auto report = quant::Convert(model_->path(), model_->File("m.8vo"), options);
    EXPECT_TRUE(report.ok()) << report.status().message();
    return model_->File("m.8vo");
  }
  Result<ExportReport> Export(ExportFormat format, uint64_t max_shard_bytes = 0) {
    return quant::Export(model_->File("m.8vo"), model_->File("out"),
                         {.format = format, .max_shard_bytes = max_shard_bytes, .overwrite = true});
  }
  // Of model.safetensors.
  std::vector<std::byte> Read(const std::string& tensor) {
    const auto file = SafetensorsFile::Open(model_->File("out/model.safetensors"));
    if (!file.ok() || file->Find(tensor) == nullptr) {
      ADD_FAILURE() << tensor << ": " << file.status().message();
      return {};
    }
    return *file->Read(*file->Find(tensor));
  }
  std::vector<std::string> Names() {
    const auto file = SafetensorsFile::Open(model_->File("out/model.safetensors"));
    std::vector<std::string> names;
    for (const auto& entry : file->tensors()) names.push_back(entry.name);
    std::ranges::sort(names);
    return names;
  }
  void ExpectDequantized() {
    const Output output(model_->File("m.8vo"));
    ASSERT_TRUE(output.ok());
    for (const format::Module& module : output.reader().manifest().modules) {
      if (!module.scheme) continue;
      EXPECT_TRUE(Read(module.source_tensor) == Dequantized(output, module)) << module.name;
    }
  }

  std::optional<ModelFolder> model_{std::in_place};
};

TEST_F(ExportTest, SafetensorsHoldTheDequantizedWeightsAndTheRestAsItWas) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    SCOPED_TRACE(DTypeName(dtype));
    model_.emplace();
    WriteLlama(dtype);
    Convert();
    const auto report = Export(ExportFormat::kSafetensors);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->files, (std::vector<std::string>{"model.safetensors", "config.json"}));
    EXPECT_EQ(testing::FilesIn(model_->File("out")),
              (std::vector<std::string>{"config.json", "model.safetensors"}));
    const auto source = SafetensorsFile::Open(model_->path() + "/model.safetensors");
    EXPECT_EQ(Names().size(), source->tensors().size());
    ExpectDequantized();
    for (const std::string name : {"model.embed_tokens.weight", "model.layers.0.mlp.up_proj.bias",
                                   "model.layers.0.input_layernorm.weight"}) {
      EXPECT_TRUE(Read(name) == *source->Read(*source->Find(name))) << name;
    }
  }
}

TEST_F(ExportTest, TransposedWeightsAndExpertsGetTheirOrientationBack) {
  model_->Add("h.0.attn.c_attn.weight", {300, 5000});  // a Conv1D of several chunks
  model_->Write(testing::kGpt2);
  Convert();
  ASSERT_TRUE(Export(ExportFormat::kSafetensors).ok());
  ExpectDequantized();
}

TEST_F(ExportTest, ExpertsAreDequantized) {
  model_->Add("model.layers.0.mlp.experts.gate_up_proj", {3, 64, 40}, DType::kBF16);
  model_->Add("model.layers.0.self_attn.q_proj.weight", {40, 40}, DType::kBF16);
  model_->Write(kMixtral);
  Convert();
  ASSERT_TRUE(Export(ExportFormat::kSafetensors).ok());
  ExpectDequantized();
  const auto report = Export(ExportFormat::kBitsandbytes);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->int8_modules, 1u);
  EXPECT_EQ(report->warnings,
            std::vector<std::string>{"1 module is written in 16 bit: it is a stack of experts"});
  const Output output(model_->File("m.8vo"));
  EXPECT_TRUE(Read("model.layers.0.mlp.experts.gate_up_proj") ==
              Dequantized(output, output.module("model.layers.0.mlp.experts.gate_up_proj")));
}

TEST_F(ExportTest, EveryFormOfTheFileGivesTheSameFolder) {
  WriteLlama();
  Convert();
  ASSERT_TRUE(Export(ExportFormat::kSafetensors).ok());
  const std::string plain = testing::BytesOf(model_->File("out/model.safetensors"));
  ASSERT_TRUE(Export(ExportFormat::kBitsandbytes).ok());
  const std::string codes = testing::BytesOf(model_->File("out/model.safetensors"));
  for (const ConvertOptions& options :
       {ConvertOptions{.layout = format::CodeLayout::kVnni16x4, .overwrite = true},
        ConvertOptions{
            .codec = format::Codec::kZstd, .max_shard_bytes = 400'000, .overwrite = true}}) {
    Convert(options);
    ASSERT_TRUE(Export(ExportFormat::kSafetensors).ok());
    EXPECT_TRUE(testing::BytesOf(model_->File("out/model.safetensors")) == plain);
    ASSERT_TRUE(Export(ExportFormat::kBitsandbytes).ok());
    EXPECT_TRUE(testing::BytesOf(model_->File("out/model.safetensors")) == codes);
  }
}

TEST_F(ExportTest, KeptColumnsHaveTheirExactWeights) {
  WriteLlama();
  Convert({.keep_columns = testing::kUpProjProfile});
  ASSERT_TRUE(Export(ExportFormat::kSafetensors).ok());
  const auto source = SafetensorsFile::Open(model_->path() + "/model.safetensors");
  const std::string name = "model.layers.0.mlp.up_proj.weight";
  const auto expected = testing::As<uint16_t>(*source->Read(*source->Find(name)));
  const auto found = testing::As<uint16_t>(Read(name));
  size_t different = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    if (i % 333 == 3 || i % 333 == 311) {
      ASSERT_EQ(found[i], expected[i]) << i;
    } else {
      different += found[i] != expected[i];
    }
  }
  EXPECT_GT(different, found.size() / 2);
  const auto report = Export(ExportFormat::kBitsandbytes);
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->warnings.size(), 1u);
  EXPECT_NE(report->warnings[0].find("kept columns"), std::string::npos);
}

TEST_F(ExportTest, ZeroPointsAreDequantizedAndRefusedWhereNothingElseIsInt8) {
  WriteLlama();
  Convert({.method = format::Method::kZeropointVector});
  ASSERT_TRUE(Export(ExportFormat::kSafetensors).ok());
  ExpectDequantized();
  const auto report = Export(ExportFormat::kBitsandbytes);
  EXPECT_EQ(report.code(), ErrorCode::kRefused);
  EXPECT_NE(report.status().message().find("2: it has zero points"), std::string::npos)
      << report.status().message();
}

TEST_F(ExportTest, BitsandbytesHasCodesAbsmaxAndFormat) {
  WriteLlama();
  Convert({.compat = format::Compat::kBitsandbytes});
  ASSERT_TRUE(Export(ExportFormat::kBitsandbytes).ok());
  const Output output(model_->File("m.8vo"));
  const std::string p = "model.layers.0.mlp.up_proj.";
  EXPECT_TRUE(Read(p + "weight") == output.Read(p + "weight"));
  EXPECT_TRUE(Read(p + "SCB") == output.Read(p + "weight_absmax"));
  EXPECT_EQ(Read(p + "weight_format"), std::vector<std::byte>{std::byte{0}});
  EXPECT_EQ(Names().size(), 5u + 2 * 2);
  const std::string config = testing::BytesOf(model_->File("out/config.json"));
  EXPECT_NE(config.find("\"quant_method\": \"bitsandbytes\""), std::string::npos) << config;
  EXPECT_NE(config.find("\"llm_int8_threshold\": 6.0"), std::string::npos) << config;
  EXPECT_NE(config.find("\"lm_head\""), std::string::npos) << "a tied head is a linear, too";
}

TEST_F(ExportTest, CompressedTensorsHasSteps) {
  WriteLlama();
  Convert();
  ASSERT_TRUE(Export(ExportFormat::kCompressedTensors).ok());
  const Output output(model_->File("m.8vo"));
  const std::string p = "model.layers.0.mlp.down_proj.";
  EXPECT_TRUE(Read(p + "weight") == output.Read(p + "weight"));
  const auto absmax = testing::As<float>(output.Read(p + "weight_absmax"));
  const auto steps = testing::As<float>(Read(p + "weight_scale"));
  ASSERT_EQ(steps.size(), absmax.size());
  for (size_t i = 0; i < steps.size(); ++i) EXPECT_EQ(steps[i], absmax[i] / 127.0f);
  const auto file = SafetensorsFile::Open(model_->File("out/model.safetensors"));
  EXPECT_EQ(file->Find(p + "weight_scale")->shape, (Shape{65, 1}));
}

TEST_F(ExportTest, TransformersHasAllButTheSums) {
  WriteLlama();
  Convert({.keep_columns = testing::kUpProjProfile, .layout = format::CodeLayout::kVnni16x4});
  const auto report = Export(ExportFormat::kTransformers);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_TRUE(report->warnings.empty());
  EXPECT_EQ(report->int8_modules, 2u);
  const std::string p = "model.layers.0.mlp.up_proj.";
  EXPECT_EQ(Names(), (std::vector<std::string>{
                         "model.embed_tokens.weight", "model.layers.0.input_layernorm.weight",
                         "model.layers.0.mlp.down_proj.weight",
                         "model.layers.0.mlp.down_proj.weight_absmax", p + "bias", p + "weight",
                         p + "weight_absmax", p + "weight_kept", p + "weight_kept_index"}));
  const Output output(model_->File("m.8vo"));
  for (const std::string name : {"bias", "weight_absmax", "weight_kept", "weight_kept_index"}) {
    EXPECT_TRUE(Read(p + name) == output.Read(p + name)) << name;
  }
  const std::vector<std::byte> codes = Read(p + "weight");
  Convert({.overwrite = true});
  EXPECT_TRUE(codes == Output(model_->File("m.8vo")).Read(p + "weight")) << "plain codes";
  const std::string config = testing::BytesOf(model_->File("out/config.json"));
  EXPECT_NE(config.find("\"quant_method\": \"octavo\""), std::string::npos) << config;
  EXPECT_NE(config.find("\"row_rule\": \"inlier_columns\""), std::string::npos) << config;
}

TEST_F(ExportTest, TransformersTakesZeroPoints) {
  WriteLlama();
  Convert({.method = format::Method::kZeropointVector});
  ASSERT_TRUE(Export(ExportFormat::kTransformers).ok());
  const Output output(model_->File("m.8vo"));
  for (const std::string name : {"weight_step", "weight_zero_point"}) {
    const std::string tensor = "model.layers.0.mlp.down_proj." + name;
    EXPECT_TRUE(Read(tensor) == output.Read(tensor)) << name;
  }
  EXPECT_NE(testing::BytesOf(model_->File("out/config.json")).find("\"full_range\": true"),
            std::string::npos);
}

TEST_F(ExportTest, ShardsAndTheirIndex) {
  WriteLlama();
  Convert();
  const auto report = Export(ExportFormat::kBitsandbytes, 300'000);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(
      report->files,
      (std::vector<std::string>{
          "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
          "model-00003-of-00003.safetensors", "model.safetensors.index.json", "config.json"}));
  // Our own reader compares the index with the shards.
  const auto checkpoint = format::Checkpoint::Open(model_->File("out"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_TRUE(checkpoint->warnings().empty()) << checkpoint->warnings()[0];
  const auto file_of = [&](const char* name) { return checkpoint->Find(name)->file; };
  EXPECT_EQ(file_of("model.layers.0.mlp.up_proj.weight"),
            file_of("model.layers.0.mlp.up_proj.SCB"));
}

TEST_F(ExportTest, ABrokenChunkLeavesNothingBehind) {
  WriteLlama();
  const std::string file = Convert();
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(200'000);
  stream.put('\x55').put('\x55').put('\x55');
  stream.close();
  EXPECT_EQ(Export(ExportFormat::kSafetensors).code(), ErrorCode::kNotIntact);
  EXPECT_EQ(testing::FilesIn(model_->dir().path()), (std::vector<std::string>{"m.8vo", "model"}));
}

TEST_F(ExportTest, CanBeCancelled) {
  WriteLlama();
  Convert();
  const auto report = quant::Export(model_->File("m.8vo"), model_->File("out"),
                                    {.progress = [](const Progress&) { return false; }});
  EXPECT_EQ(report.code(), ErrorCode::kCancelled);
  EXPECT_EQ(testing::FilesIn(model_->dir().path()), (std::vector<std::string>{"m.8vo", "model"}));
}

TEST_F(ExportTest, NeedsAConfigurationForInt8) {
  WriteLlama();
  std::filesystem::remove(model_->path() + "/config.json");
  Convert();
  EXPECT_EQ(Export(ExportFormat::kBitsandbytes).code(), ErrorCode::kRefused);
  EXPECT_TRUE(Export(ExportFormat::kSafetensors).ok());
}

}  // namespace
}  // namespace octavo::quant
