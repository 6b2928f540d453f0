// Conversion of small made-up models: ties, orientation, experts, kept columns, non-finite weights.
#include "octavo/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "format/file.h"
#include "tests/libquant/reference_check.h"

namespace octavo::quant {
namespace {

using format::Checkpoint;
using format::ModuleKind;
using testing::As;
using testing::CheckAgainstReference;
using testing::Decode;
using testing::Encode;
using testing::kGpt2;
using testing::kLlama;
using testing::kTiedLlama;
using testing::ModelFolder;
using testing::Output;

ConvertReport Convert(const ModelFolder& model, const ConvertOptions& options = {}) {
  ConvertOptions again = options;
  again.overwrite = true;
  const Result<ConvertReport> report = quant::Convert(model.path(), model.File("m.8vo"), again);
  EXPECT_TRUE(report.ok()) << report.status().message();
  return report.ok() ? *report : ConvertReport();
}

// Converts and compares everything with the definition; the number of quantized modules.
size_t ConvertAndCheck(const ModelFolder& model, const ConvertOptions& options = {}) {
  Convert(model, options);
  const Output output(model.File("m.8vo"));
  const Result<Checkpoint> source = Checkpoint::Open(model.path());
  if (!output.ok() || !source.ok()) return 0;
  return CheckAgainstReference(output, *source);
}

bool HasWarning(const ConvertReport& report, const std::string& part) {
  return std::ranges::any_of(report.warnings, [&](const std::string& warning) {
    return warning.find(part) != std::string::npos;
  });
}

TEST(Convert, TransposesGpt2InStripsOfOddSizes) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    ModelFolder model;
    model.Add("h.0.attn.c_proj.weight", {37, 37}, dtype);   // square: nothing but the type tells
    model.Add("h.0.mlp.c_fc.weight", {1000, 2501}, dtype);  // several chunks, the last one short
    model.Add("h.0.mlp.c_fc.bias", {2501}, dtype);
    model.Add("h.0.mlp.c_proj.weight", {3, 1}, dtype);
    model.Write(kGpt2);
    EXPECT_EQ(ConvertAndCheck(model), 3u);
    EXPECT_EQ(ConvertAndCheck(model, {.layout = format::CodeLayout::kVnni16x4}), 3u);
  }
}

TEST(Convert, KeepsATransposedWeightAsItIs) {
  ModelFolder model;
  model.Add("h.0.mlp.c_fc.weight", {8, 12}).Write(kGpt2);
  ConvertOptions options;
  options.policy.skip_modules = {"c_fc"};
  EXPECT_EQ(ConvertAndCheck(model, options), 0u);
  EXPECT_TRUE(Output(model.File("m.8vo")).module("h.0.mlp.c_fc").transposed);
}

TEST(Convert, TurnsExpertsAroundOneByOne) {
  for (const std::string type : {"qwen3_moe", "llama4_text"}) {
    for (const format::Method method : {format::Method::kVectorWise, format::Method::kTensorWise,
                                        format::Method::kZeropointTensor}) {
      ModelFolder model;
      model.Add("model.layers.0.mlp.experts.gate_up_proj", {3, 24, 24}, DType::kBF16);
      model.Add("model.layers.0.mlp.experts.gate_up_proj_bias", {3, 24}, DType::kBF16);
      model.Add("model.layers.0.mlp.experts.down_proj", {3, 700, 1100}, DType::kBF16);
      model.Add("model.layers.0.mlp.gate.weight", {3, 24}, DType::kBF16);
      model.Write(R"({"model_type": ")" + type + R"("})");
      ConvertOptions options;
      options.method = method;
      EXPECT_EQ(ConvertAndCheck(model, options), 2u);
      const Output output(model.File("m.8vo"));
      const format::Module& experts = output.module("model.layers.0.mlp.experts.down_proj");
      EXPECT_EQ(experts.kind, ModuleKind::kExperts);
      EXPECT_EQ(experts.experts, 3u);
      EXPECT_EQ(experts.in_features, type == "qwen3_moe" ? 1100u : 700u);
      EXPECT_GT(output.reader().FindTensor(experts.scheme->codes)->matrix_rows, 0u);
    }
  }
}

TEST(Convert, StoresATiedHeadOnce) {
  ModelFolder model;
  model.Add("model.embed_tokens.weight", {50, 8}, DType::kBF16);
  model.Add("model.layers.0.mlp.up_proj.weight", {16, 8}, DType::kBF16);
  model.AddBytes("lm_head.weight", {50, 8}, DType::kBF16, model.Bytes("model.embed_tokens.weight"));
  model.Write(kTiedLlama);
  const ConvertReport report = Convert(model);
  const Output output(model.File("m.8vo"));
  EXPECT_EQ(output.module("lm_head").tied_to, "model.embed_tokens");
  EXPECT_EQ(output.module("lm_head").weight, "model.embed_tokens.weight");
  EXPECT_EQ(output.module("lm_head").source_tensor, "lm_head.weight");
  EXPECT_EQ(output.reader().FindTensor("lm_head.weight"), nullptr);
}

TEST(Convert, KeepsAHeadThatOnlyClaimsToBeTied) {
  ModelFolder model;
  model.Add("model.embed_tokens.weight", {50, 8}, DType::kBF16);
  model.AddBytes("lm_head.weight", {50, 8}, DType::kBF16, model.Bytes("model.embed_tokens.weight"));
  model.Bytes("lm_head.weight").back() ^= std::byte{1};
  model.Write(kTiedLlama);
  const ConvertReport report = Convert(model);
  EXPECT_TRUE(HasWarning(report, "\"lm_head.weight\" differs from \"model.embed_tokens.weight\""));
  const Output output(model.File("m.8vo"));
  EXPECT_EQ(output.module("lm_head").tied_to, "");
  EXPECT_EQ(output.Read("lm_head.weight"), model.Bytes("lm_head.weight"));
}

TEST(Convert, PutsATiedHeadsBiasInTheShardOfItsEmbedding) {
  ModelFolder model;
  model.Add("bert.embeddings.word_embeddings.weight", {600, 64});
  for (int layer = 0; layer < 4; ++layer) {
    model.Add("bert.encoder.layer." + std::to_string(layer) + ".intermediate.dense.weight",
              {512, 64});
  }
  model.Add("cls.predictions.decoder.bias", {600});
  model.Write(R"({"model_type": "bert", "architectures": ["BertForMaskedLM"]})");
  ConvertOptions options;
  options.max_shard_bytes = 100000;
  EXPECT_EQ(ConvertAndCheck(model, options), 4u);
  const Output output(model.File("m.8vo"));
  EXPECT_GT(output.reader().manifest().shards.size(), 2u);
  EXPECT_EQ(output.module("cls.predictions.decoder").bias, "cls.predictions.decoder.bias");
  EXPECT_EQ(output.reader().FindTensor("cls.predictions.decoder.bias")->shard,
            output.reader().FindTensor("bert.embeddings.word_embeddings.weight")->shard);
}

// With TSan this is where threads and the journal meet.
TEST(Convert, SavePointsAmongManyThreadsChangeNoByte) {
  ModelFolder model;
  for (int layer = 0; layer < 6; ++layer) {
    const std::string name = "model.layers." + std::to_string(layer);
    model.Add(name + ".mlp.up_proj.weight", {1100, 1024});  // several chunks
    model.Add(name + ".input_layernorm.weight", {1024});
  }
  model.Write(kLlama);
  const auto bytes = [&] {
    const Result<format::InputFile> file = format::InputFile::Open(model.File("m.8vo"));
    std::vector<std::byte> all(file.ok() ? file->size() : 0);
    EXPECT_TRUE(file.ok() && file->ReadAt(0, all).ok());
    return all;
  };
  Convert(model, {.num_threads = 1});
  const std::vector<std::byte> expected = bytes();
  Convert(model, {.save_interval_bytes = 100'000, .num_threads = 4});
  EXPECT_EQ(bytes(), expected);
}

TEST(Convert, CopiesEmptyAndOddTensors) {
  ModelFolder model;
  model.Add("empty.weight", {0, 8}).Add("model.layers.0.mlp.up_proj.weight", {0, 8});
  model.Add("scalar", {});
  model.AddBytes("ids", {3}, DType::kI64, std::vector<std::byte>(24, std::byte{7}));
  model.AddBytes("mask", {5}, DType::kBool, std::vector<std::byte>(5, std::byte{1}));
  model.Add("model.layers.0.mlp.down_proj.weight", {4, 8});
  model.Write(kLlama);
  EXPECT_EQ(ConvertAndCheck(model), 1u);
  EXPECT_EQ(ConvertAndCheck(model, {.codec = format::Codec::kZstd}), 1u);
}

TEST(Convert, RoundsThroughFp16OnlyIfAsked) {
  ModelFolder model;
  model.AddValues("a.weight", {2, 2}, DType::kF32, {1.0f, 0.3333333f, 1e-5f, 1e-9f}).Write("{}");
  EXPECT_EQ(ConvertAndCheck(model), 1u);
  EXPECT_EQ(As<float>(Output(model.File("m.8vo")).Read("a.weight_absmax"))[1], 1e-5f);
  EXPECT_EQ(ConvertAndCheck(model, {.via_fp16 = true}), 1u);
  EXPECT_EQ(As<float>(Output(model.File("m.8vo")).Read("a.weight_absmax"))[1],
            Decode(DType::kF16, Encode(DType::kF16, {1e-5f}))[0]);
}

TEST(Convert, RefusesWhatOverflowsInFp16) {
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    ModelFolder model;
    model.Add("ok.weight", {4, 4}, dtype);
    model.AddValues("a.weight", {2, 3}, dtype, {1, 2, 3, 4, 65536, 6}).Write("{}");
    EXPECT_EQ(ConvertAndCheck(model), 2u);
    for (const OnNonfinite mode : {OnNonfinite::kError, OnNonfinite::kSkip}) {
      const Result<ConvertReport> report = quant::Convert(model.path(), model.File("n.8vo"),
                                                          {.via_fp16 = true, .on_nonfinite = mode});
      EXPECT_EQ(report.code(), ErrorCode::kRefused);
      EXPECT_NE(report.status().message().find("\"a.weight\": 65536.000000 at [1, 1] overflows"),
                std::string::npos)
          << report.status().message();
    }
  }
}

TEST(Convert, NamesTheFirstNonFiniteWeightAsTheSourceStoresIt) {
  for (const char* config : {kLlama, kGpt2}) {  // GPT-2: transposed, another order of reading
    ModelFolder model;
    std::vector<float> values(20 * 30, 0.5f);
    values[7 * 30 + 3] = std::nanf("");
    values[9 * 30 + 1] = INFINITY;
    const std::string name =
        config == kGpt2 ? "h.0.mlp.c_fc.weight" : "model.layers.0.mlp.up_proj.weight";
    model.AddValues(name, {20, 30}, DType::kF16, values).Write(config);
    for (const format::Method method : {format::Method::kVectorWise, format::Method::kRowWise}) {
      ConvertOptions options;
      options.method = method;
      const Result<ConvertReport> report =
          quant::Convert(model.path(), model.File("m.8vo"), options);
      EXPECT_EQ(report.code(), ErrorCode::kRefused);
      EXPECT_NE(report.status().message().find("\"" + name + "\": NaN at [7, 3]"),
                std::string::npos)
          << report.status().message();
      EXPECT_EQ(testing::FilesIn(model.dir().path()), std::vector<std::string>{"model"});
    }
  }
}

TEST(Convert, KeepsModulesThatAreNotFiniteIfAsked) {
  for (const format::Method method : {format::Method::kVectorWise, format::Method::kTensorWise}) {
    ModelFolder model;
    std::vector<float> values(64, 1.0f);
    values[10] = -INFINITY;
    model.Add("model.layers.0.mlp.down_proj.weight", {16, 4});
    model.AddValues("model.layers.0.mlp.up_proj.weight", {8, 8}, DType::kF16, values);
    model.Add("model.layers.1.mlp.up_proj.weight", {16, 4}).Write(kLlama);
    ConvertOptions options;
    options.on_nonfinite = OnNonfinite::kSkip;
    options.method = method;
    const ConvertReport report = Convert(model, options);
    EXPECT_TRUE(HasWarning(report, "-infinity at [1, 2]"));
    const Output output(model.File("m.8vo"));
    const format::Module& kept = output.module("model.layers.0.mlp.up_proj");
    EXPECT_FALSE(kept.quantized);
    EXPECT_EQ(kept.reason, "not finite: -infinity at [1, 2]");
    const Result<Checkpoint> source = Checkpoint::Open(model.path());
    EXPECT_EQ(CheckAgainstReference(output, *source), 2u);
  }
}

constexpr char kProfile[] =
    R"({"octavo_profile": 1, "modules": {"model.layers.0.mlp.up_proj": {"in_features": 32,
        "features": [{"index": 30, "max_abs": 9}, {"index": 2, "max_abs": 8}]}}})";

TEST(Convert, StoresKeptColumnsInTheSourcesType) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    ModelFolder model;
    model.Add("model.layers.0.mlp.up_proj.weight", {4000, 32}, dtype);
    model.Add("model.layers.0.mlp.down_proj.weight", {32, 40}, dtype).Write(kLlama);
    ConvertOptions options;
    options.keep_columns = kProfile;
    EXPECT_EQ(ConvertAndCheck(model, options), 2u);
    const Output output(model.File("m.8vo"));
    const format::Module& module = output.module("model.layers.0.mlp.up_proj");
    EXPECT_EQ(As<int32_t>(output.Read(module.kept_index)), (std::vector<int32_t>{2, 30}));
    EXPECT_EQ(output.module("model.layers.0.mlp.down_proj").kept_index, "");
    const DType kept = output.reader().FindTensor(module.kept_weight)->dtype;
    if (dtype != DType::kF32) {
      EXPECT_EQ(kept, dtype);
    }
  }
}

TEST(Convert, StoresKeptFp32WeightsAsBf16WhereFp16Fails) {
  for (const float odd : {0.5f, 70000.0f, 1e-6f}) {
    ModelFolder model;
    std::vector<float> values(32 * 4, 0.25f);
    values[32 + 2] = odd;  // row 1, kept column 2
    values[5] = 1e-7f;     // not kept: of no importance
    model.AddValues("model.layers.0.mlp.up_proj.weight", {4, 32}, DType::kF32, values)
        .Write(kLlama);
    ConvertOptions options;
    options.keep_columns = kProfile;
    EXPECT_EQ(ConvertAndCheck(model, options), 1u);
    const Output output(model.File("m.8vo"));
    EXPECT_EQ(output.reader().FindTensor("model.layers.0.mlp.up_proj.weight_kept")->dtype,
              odd == 0.5f ? DType::kF16 : DType::kBF16)
        << odd;
  }
}

TEST(Convert, HashesTheSourceWhateverTheOrderOfItsTensors) {
  ModelFolder
      model;  // biases far from their weights, transposed weights, a tied head in the middle
  model.Add("h.0.mlp.c_fc.bias", {48}).Add("h.1.mlp.c_fc.bias", {48});
  model.Add("wte.weight", {50, 16});
  model.Add("h.1.mlp.c_fc.weight", {16, 48});
  model.AddBytes("lm_head.weight", {50, 16}, DType::kF16, model.Bytes("wte.weight"));
  model.Add("h.0.mlp.c_fc.weight", {16, 48}).Write(kGpt2);
  EXPECT_EQ(ConvertAndCheck(model), 2u);
  const std::string shuffled = Output(model.File("m.8vo")).reader().manifest().source.files[0].xxh3;

  ModelFolder plain;  // the same bytes as one tensor that is only copied
  const std::string file = model.dir().Read("model/model.safetensors");
  std::filesystem::copy_file(model.path() + "/model.safetensors",
                             plain.path() + "/model.safetensors");
  plain.dir().Write("model/config.json", R"({"model_type": "other"})");
  ConvertOptions options;
  options.policy.skip_modules = {"*"};
  EXPECT_EQ(ConvertAndCheck(plain, options), 0u);
  EXPECT_EQ(Output(plain.File("m.8vo")).reader().manifest().source.files[0].xxh3, shuffled);
}

}  // namespace
}  // namespace octavo::quant
