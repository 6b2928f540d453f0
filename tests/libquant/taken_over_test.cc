// Sources that are quantized already: int8 is taken over bit for bit and exported back, fp8 is
// dequantized while it is read, and the rest is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "octavo/export.h"
#include "octavo/policy.h"
#include "tests/libquant/model_folder.h"

namespace octavo::quant {
namespace {

using format::SafetensorsFile;
using format::ScaleConvention;
using testing::Encode;
using testing::ModelFolder;
using testing::Output;

constexpr char kBitsandbytes[] =
    R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": true, "dtype": "float16",
        "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true, "llm_int8_threshold": 5.5,
                                "llm_int8_skip_modules": ["o_proj"], "ours": 1}})";
constexpr char kCompressed[] =
    R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": true, "dtype": "bfloat16",
        "quantization_config": {"quant_method": "compressed-tensors", "format": "int-quantized", "ignore": ["lm_head"]}})";
const std::string kLayer = "model.layers.0.self_attn.";

// Any codes from `lowest` on; a row of zeros where the scale is 0.
std::vector<std::byte> Codes(uint64_t rows, uint64_t columns, int lowest,
                             uint64_t zero_row = UINT64_MAX) {
  std::vector<std::byte> codes(rows * columns);
  for (uint64_t i = 0; i < codes.size(); ++i) {
    const int code = static_cast<int>(i * 7919 % 251) % (127 - lowest + 1) + lowest;
    codes[i] = static_cast<std::byte>(i / columns == zero_row ? 0 : code);
  }
  return codes;
}

std::vector<float> Scales(uint64_t rows, float base, uint64_t zero_row = UINT64_MAX) {
  std::vector<float> scales(rows);
  for (uint64_t i = 0; i < rows; ++i)
    scales[i] = i == zero_row ? 0 : base * static_cast<float>(1 + i % 13);
  return scales;
}

class TakenOver : public ::testing::Test {
 protected:
  void AddPlain(DType dtype) {
    model_->Add("model.embed_tokens.weight", {40, 96}, dtype);
    model_->Add("model.layers.0.input_layernorm.weight", {96}, dtype);
    model_->Add(kLayer + "o_proj.weight", {96, 96}, dtype);  // a linear that stayed in 16 bit
  }
  void WriteBitsandbytes() {
    AddPlain(DType::kF16);
    model_->AddBytes(kLayer + "q_proj.weight", {700, 96}, DType::kI8, Codes(700, 96, -127, 3));
    model_->AddValues(kLayer + "q_proj.SCB", {700}, DType::kF32, Scales(700, 0.37f, 3));
    model_->AddBytes(kLayer + "q_proj.weight_format", {}, DType::kU8, {std::byte{0}});
    model_->Add(kLayer + "q_proj.bias", {700});
    model_->Write(kBitsandbytes);
  }
  void WriteCompressed(DType scale_dtype) {
    AddPlain(DType::kBF16);
    model_->AddBytes(kLayer + "q_proj.weight", {700, 96}, DType::kI8, Codes(700, 96, -128));
    model_->AddValues(kLayer + "q_proj.weight_scale", {700, 1}, scale_dtype, Scales(700, 0.0073f));
    model_->AddBytes(kLayer + "k_proj.weight", {50, 96}, DType::kI8, Codes(50, 96, -127));
    model_->AddValues(kLayer + "k_proj.weight_scale", {50, 1}, scale_dtype, Scales(50, 0.0073f));
    model_->Write(kCompressed);
  }
  Result<ConvertReport> Convert(ConvertOptions options = {}) {
    options.overwrite = true;
    return quant::Convert(model_->path(), model_->File("m.8vo"), options);
  }
  // The folder that an export makes has exactly the source's tensors.
  void ExpectRoundTrip(ExportFormat format) {
    const auto report =
        Export(model_->File("m.8vo"), model_->File("out"), {.format = format, .overwrite = true});
    ASSERT_TRUE(report.ok()) << report.status().message();
    const auto source = SafetensorsFile::Open(model_->path() + "/model.safetensors");
    const auto exported = SafetensorsFile::Open(model_->File("out/model.safetensors"));
    ASSERT_TRUE(source.ok() && exported.ok());
    EXPECT_EQ(source->tensors().size(), exported->tensors().size());
    for (const auto& tensor : source->tensors()) {
      const auto* other = exported->Find(tensor.name);
      ASSERT_NE(other, nullptr) << tensor.name;
      EXPECT_EQ(other->dtype, tensor.dtype) << tensor.name;
      EXPECT_EQ(other->shape, tensor.shape) << tensor.name;
      EXPECT_TRUE(*source->Read(tensor) == *exported->Read(*other)) << tensor.name;
    }
  }
  void ExpectVerified() {
    const auto findings = VerifyAgainst(model_->File("m.8vo"), model_->path(), {});
    ASSERT_TRUE(findings.ok()) << findings.status().message();
    for (const auto& finding : *findings)
      ADD_FAILURE() << finding.subject << ": " << finding.status.message();
  }

  std::optional<ModelFolder> model_{std::in_place};
};

// What the file's own rules would refuse (R26), or what no threshold can be.
TEST_F(TakenOver, ScalesAndThresholdsThatNoFileMayHave) {
  std::vector<float> scales = Scales(700, 0.37f, 3);
  scales[3] = -0.0f;
  AddPlain(DType::kF16);
  model_->AddBytes(kLayer + "q_proj.weight", {700, 96}, DType::kI8, Codes(700, 96, -127, 3));
  model_->AddValues(kLayer + "q_proj.SCB", {700}, DType::kF32, scales);
  model_->Write(kBitsandbytes);
  auto report = Convert();
  EXPECT_EQ(report.code(), ErrorCode::kRefused);
  EXPECT_NE(report.status().message().find("the scale of row 3 is -0"), std::string::npos)
      << report.status().message();
  for (const char* threshold : {"-5", "1e99", "\"6.0\""}) {
    std::string config = kBitsandbytes;
    model_.emplace();
    AddPlain(DType::kF16);
    model_->Write(config.replace(config.find("5.5"), 3, threshold));
    report = Convert();
    EXPECT_EQ(report.code(), ErrorCode::kInvalidFile) << threshold;
    EXPECT_NE(report.status().message().find("llm_int8_threshold"), std::string::npos)
        << report.status().message();
  }
}

TEST_F(TakenOver, BitsandbytesComesAndGoesBitForBit) {
  WriteBitsandbytes();
  for (const ConvertOptions& options :
       {ConvertOptions{},
        ConvertOptions{.layout = format::CodeLayout::kVnni16x4, .num_threads = 3}}) {
    const auto report = Convert(options);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->manifest.quantization.threshold, 5.5f) << "that of the source";
    const Output output(model_->File("m.8vo"));
    const format::Module& module = output.module(kLayer + "q_proj");
    EXPECT_EQ(module.reason, "int8 in the source: codes and scales are taken over");
    EXPECT_EQ(module.scheme->convention, ScaleConvention::kAbsmax);
    EXPECT_FALSE(module.scheme->full_range);
    EXPECT_EQ(module.source_dtype, DType::kI8);
    EXPECT_FALSE(module.error->snr_db) << "exact";
    EXPECT_GT(module.error->saturated_share, 0);
    EXPECT_TRUE(output.Read(module.scheme->scales) == model_->Bytes(kLayer + "q_proj.SCB"));
    EXPECT_FALSE(output.module(kLayer + "o_proj").quantized) << "its author left it in 16 bit";
    EXPECT_EQ(output.reader().FindTensor(kLayer + "q_proj.weight_format"), nullptr);
    ExpectVerified();
    ExpectRoundTrip(ExportFormat::kBitsandbytes);
    // What else their configuration says stays.
    EXPECT_NE(model_->dir().Read("out/config.json").find("\"ours\": 1"), std::string::npos);
  }
}

TEST_F(TakenOver, CompressedTensorsComesAndGoesBitForBit) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    SCOPED_TRACE(DTypeName(dtype));
    model_.emplace();
    WriteCompressed(dtype);
    const auto report = Convert();
    ASSERT_TRUE(report.ok()) << report.status().message();
    const Output output(model_->File("m.8vo"));
    const format::Module& q = output.module(kLayer + "q_proj");
    EXPECT_EQ(q.scheme->convention, ScaleConvention::kStep);
    EXPECT_TRUE(q.scheme->full_range) << "it has -128";
    EXPECT_EQ(q.scheme->scales_source_dtype, dtype);
    EXPECT_FALSE(output.module(kLayer + "k_proj").scheme->full_range);
    EXPECT_EQ(testing::As<float>(output.Read(q.scheme->scales)),
              testing::Decode(dtype, model_->Bytes(kLayer + "q_proj.weight_scale")));
    ExpectVerified();
    ExpectRoundTrip(ExportFormat::kCompressedTensors);
  }
}

TEST_F(TakenOver, AResumedConversionKnowsWhatItSaw) {
  WriteCompressed(DType::kBF16);
  const auto whole = Convert({.num_threads = 1});
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  const std::string expected = model_->dir().Read("m.8vo");
  ConvertOptions options{.save_interval_bytes = 1, .num_threads = 1};
  options.progress = [](const Progress& now) {  // the last tensor; -128 was seen before it
    return now.tensor == nullptr || now.tensor->find("k_proj") == std::string::npos;
  };
  EXPECT_EQ(Convert(options).code(), ErrorCode::kCancelled);
  const auto resumed = Convert({.resume = true, .save_interval_bytes = 1, .num_threads = 1});
  ASSERT_TRUE(resumed.ok()) << resumed.status().message();
  EXPECT_GT(resumed->bytes_resumed, 700u * 96);
  EXPECT_TRUE(model_->dir().Read("m.8vo") == expected);
}

TEST_F(TakenOver, DequantizesGpt2IntoItsOwnOrientation) {
  model_->AddBytes("h.0.attn.c_attn.weight", {90, 30}, DType::kI8, Codes(90, 30, -127));
  model_->AddValues("h.0.attn.c_attn.SCB", {90}, DType::kF32, Scales(90, 0.4f));
  model_->Write(R"({"model_type": "gpt2", "dtype": "float32"})");
  ASSERT_TRUE(Convert().ok());
  ASSERT_TRUE(Export(model_->File("m.8vo"), model_->File("out"), {}).ok());
  const auto exported = SafetensorsFile::Open(model_->File("out/model.safetensors"));
  const auto* weight = exported->Find("h.0.attn.c_attn.weight");
  EXPECT_EQ(weight->shape, (Shape{30, 90}));
  const auto values = testing::As<float>(*exported->Read(*weight));
  const auto codes = testing::As<int8_t>(model_->Bytes("h.0.attn.c_attn.weight"));
  EXPECT_EQ(values[7 * 90 + 11],
            static_cast<float>(codes[11 * 30 + 7] * static_cast<double>(0.4f * 12) / 127));
}

TEST_F(TakenOver, IsExactOrRefused) {
  WriteBitsandbytes();
  EXPECT_EQ(Convert({.method = format::Method::kRowWise}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(Convert({.keep_columns = R"({"octavo_profile": 1, "modules": {}})"}).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(Convert({.policy = {.skip_modules = {"q_proj"}}}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(Convert({.threshold = 3.0f})->manifest.quantization.threshold, 3.0f);
}

TEST_F(TakenOver, RefusesScalesThatNoFileMayHold) {
  for (const float bad : {-1.0f, NAN, INFINITY, 1e-37f}) {
    ModelFolder model;
    model.AddBytes(kLayer + "q_proj.weight", {4, 8}, DType::kI8, Codes(4, 8, -127));
    model.AddValues(kLayer + "q_proj.SCB", {4}, DType::kF32, {1, 2, bad, 1});
    const auto report = quant::Convert(model.Write(testing::kLlama), model.File("m.8vo"), {});
    EXPECT_EQ(report.code(), ErrorCode::kRefused) << bad;
    EXPECT_NE(report.status().message().find("row 2"), std::string::npos)
        << report.status().message();
  }
  ModelFolder model;
  model.AddBytes(kLayer + "q_proj.weight", {4, 8}, DType::kI8, Codes(4, 8, -127));
  model.AddValues(kLayer + "q_proj.SCB", {4}, DType::kF32, {1, 0, 1, 1});
  const auto report = quant::Convert(model.Write(testing::kLlama), model.File("m.8vo"), {});
  EXPECT_EQ(report.code(), ErrorCode::kRefused) << "codes under a scale of 0";
}

TEST_F(TakenOver, RefusesOldLayouts) {
  model_->AddBytes(kLayer + "q_proj.weight", {4, 8}, DType::kI8, Codes(4, 8, -127));
  model_->AddValues(kLayer + "q_proj.SCB", {4}, DType::kF32, {1, 2, 3, 1});
  model_->AddBytes(kLayer + "q_proj.weight_format", {}, DType::kU8, {std::byte{2}});
  model_->Write(testing::kLlama);
  const auto report = Convert();
  EXPECT_EQ(report.code(), ErrorCode::kRefused);
  EXPECT_NE(report.status().message().find("old GPU"), std::string::npos)
      << report.status().message();
}

struct Refusal {
  const char* why;
  DType weight;
  const char* scales;
  DType dtype;
  Shape shape;
};

TEST_F(TakenOver, RefusesWhatItCannotHold) {
  const Refusal cases[] = {
      {"one for each row", DType::kI8, "weight_scale", DType::kBF16, {4, 2}},  // groups
      {"one for each row", DType::kI8, "weight_scale", DType::kBF16, {1}},     // one for all
      {"zero points", DType::kI8, "weight_zero_point", DType::kI8, {4, 1}},
      {"packed", DType::kI32, "weight_packed", DType::kI32, {4, 2}},
      {"packed GPTQ", DType::kI32, "qweight", DType::kI32, {4, 2}},
      {"4-bit", DType::kU8, "quant_map", DType::kF32, {16}},
      {"no scales beside it", DType::kI8, "bias", DType::kF32, {4}},
      {"fixed scales of its activations", DType::kI8, "input_scale", DType::kF32, {1}},
      {"F32 [4]", DType::kI8, "SCB", DType::kF16, {4}},
      {"cannot be taken over", DType::kF8E5M2, "weight_scale", DType::kF32, {1}},
      {"no scales beside it", DType::kF8E4M3, "bias", DType::kF32, {4}},
      {"128 x 128", DType::kF8E4M3, "weight_scale_inv", DType::kF32, {2, 2}},
      {"not there", DType::kF16, "weight_scale_inv", DType::kF32, {1, 1}},
  };
  for (const Refusal& refusal : cases) {
    ModelFolder model;
    model.AddBytes("a.weight", {4, 8}, refusal.weight,
                   std::vector<std::byte>(32 * DTypeBytes(refusal.weight)));
    model.AddBytes(
        std::string("a.") + refusal.scales, refusal.shape, refusal.dtype,
        std::vector<std::byte>(*refusal.shape.NumElements() * DTypeBytes(refusal.dtype)));
    const auto report = quant::Convert(model.Write(testing::kLlama), model.File("m.8vo"), {});
    EXPECT_EQ(report.code(), ErrorCode::kRefused) << refusal.why;
    EXPECT_NE(report.status().message().find(refusal.why), std::string::npos)
        << report.status().message();
  }
  ModelFolder rotated;
  rotated.AddBytes("a.weight", {4, 8}, DType::kI8, Codes(4, 8, -127));
  rotated.AddValues("a.weight_scale", {4, 1}, DType::kF32, {1, 1, 1, 1});
  const auto report =
      quant::Convert(rotated.Write(R"({"quantization_config": {"quant_method": "compressed-tensors",
                                                "transform_config": {"config_groups": {"R1": {}}}}})"),
                     rotated.File("m.8vo"), {});
  EXPECT_NE(report.status().message().find("rotates"), std::string::npos)
      << report.status().message();
}

// ---- fp8
// -------------------------------------------------------------------------------------------------

float Fp8(uint8_t bits) {
  const int exponent = bits >> 3 & 15;
  const float magnitude = exponent == 0
                              ? static_cast<float>(bits & 7) * 0x1p-9f
                              : std::ldexp(1.0f + static_cast<float>(bits & 7) / 8, exponent - 7);
  return (bits & 128) != 0 ? -magnitude : magnitude;
}

std::vector<std::byte> Fp8Codes(uint64_t count) {
  std::vector<std::byte> codes(count);
  for (uint64_t i = 0; i < count; ++i) {
    const auto bits = static_cast<uint8_t>(i * 7919 >> 3);
    codes[i] = static_cast<std::byte>((bits & 127) == 127 ? bits - 1 : bits);
  }
  return codes;
}

// Rows, columns and blocks that do not divide each other, several chunks.
constexpr uint64_t kRows = 5000, kColumns = 300;

TEST(Fp8Source, IsConvertedAsTheWeightsItStandsFor) {
  struct Case {
    const char* name;
    DType dtype;
    Shape shape;
  };
  const Case cases[] = {{"weight_scale_inv", DType::kF32, {40, 3}},
                        {"weight_scale_inv", DType::kBF16, {40, 3}},
                        {"weight_scale", DType::kBF16, {kRows, 1}},
                        {"weight_scale", DType::kF32, {1}},
                        {"weight_scale", DType::kF32, {}}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name + c.shape.ToString());
    const uint64_t num_scales = *c.shape.NumElements();
    const std::vector<std::byte> scale_bytes = Encode(c.dtype, Scales(num_scales, 0.0031f));
    const std::vector<float> scales = testing::Decode(c.dtype, scale_bytes);
    const std::vector<std::byte> codes = Fp8Codes(kRows * kColumns);
    std::vector<float> weights(codes.size());
    for (uint64_t i = 0; i < codes.size(); ++i) {
      const uint64_t row = i / kColumns, column = i % kColumns;
      const uint64_t block = num_scales == 1       ? 0
                             : num_scales == kRows ? row
                                                   : row / 128 * 3 + column / 128;
      weights[i] = Fp8(static_cast<uint8_t>(codes[i])) * scales[block];
    }
    ModelFolder fp8, plain;
    fp8.AddBytes(kLayer + "q_proj.weight", {kRows, kColumns}, DType::kF8E4M3, codes);
    fp8.AddBytes(kLayer + "q_proj." + c.name, c.shape, c.dtype, scale_bytes);
    plain.AddValues(kLayer + "q_proj.weight", {kRows, kColumns}, DType::kF32, weights);
    for (ModelFolder* model : {&fp8, &plain}) {
      const auto report = quant::Convert(model->Write(testing::kLlama), model->File("m.8vo"), {});
      ASSERT_TRUE(report.ok()) << report.status().message();
    }
    const Output a(fp8.File("m.8vo")), b(plain.File("m.8vo"));
    for (const std::string name : {"weight", "weight_absmax", "weight_code_sum"}) {
      EXPECT_TRUE(a.Read(kLayer + "q_proj." + name) == b.Read(kLayer + "q_proj." + name)) << name;
    }
    EXPECT_EQ(a.module(kLayer + "q_proj").error->snr_db, b.module(kLayer + "q_proj").error->snr_db);
    EXPECT_EQ(a.reader().manifest().tensors.size(), 3u);
    const auto findings = VerifyAgainst(fp8.File("m.8vo"), fp8.path(), {});
    ASSERT_TRUE(findings.ok()) << findings.status().message();
    EXPECT_TRUE(findings->empty()) << findings->front().status.message();
  }
}

TEST(Fp8Source, WhatIsNotQuantizedBecomesBFloat16) {
  ModelFolder model;
  model.AddBytes(kLayer + "q_proj.weight", {130, 300}, DType::kF8E4M3, Fp8Codes(130 * 300));
  model.AddValues(kLayer + "q_proj.weight_scale_inv", {2, 3}, DType::kF32, Scales(6, 0.0031f));
  model.AddBytes(kLayer + "k_proj.weight", {4, 8}, DType::kF8E4M3, Fp8Codes(32));
  model.AddValues(kLayer + "k_proj.weight_scale", {1}, DType::kF32, {0.5f});
  model.Write(testing::kLlama);
  const auto report =
      quant::Convert(model.path(), model.File("m.8vo"), {.policy = {.skip_modules = {"q_proj"}}});
  ASSERT_TRUE(report.ok()) << report.status().message();
  const Output output(model.File("m.8vo"));
  EXPECT_EQ(output.reader().FindTensor(kLayer + "q_proj.weight")->dtype, DType::kBF16);
  const auto found = testing::Decode(DType::kBF16, output.Read(kLayer + "q_proj.weight"));
  const auto codes = Fp8Codes(130 * 300);
  for (const uint64_t i : {uint64_t{0}, uint64_t{5 * 300 + 290}, uint64_t{129 * 300 + 127}}) {
    const float scale = 0.0031f * static_cast<float>(1 + i / 300 / 128 * 3 + i % 300 / 128);
    const float weight = Fp8(static_cast<uint8_t>(codes[i])) * scale;
    EXPECT_EQ(found[i], testing::Decode(DType::kBF16, Encode(DType::kBF16, {weight}))[0]) << i;
  }
  const auto findings = VerifyAgainst(model.File("m.8vo"), model.path(), {});
  EXPECT_TRUE(findings.ok() && findings->empty());
}

TEST(Fp8Source, NaNIsRefusedOrSkipped) {
  ModelFolder model;
  std::vector<std::byte> codes = Fp8Codes(32);
  codes[9] = std::byte{0x7f};
  model.AddBytes(kLayer + "q_proj.weight", {4, 8}, DType::kF8E4M3, codes);
  model.AddValues(kLayer + "q_proj.weight_scale", {1}, DType::kF32, {0.5f});
  model.Write(testing::kLlama);
  const auto report = quant::Convert(model.path(), model.File("m.8vo"), {});
  EXPECT_EQ(report.code(), ErrorCode::kRefused);
  EXPECT_NE(report.status().message().find("q_proj.weight"), std::string::npos)
      << report.status().message();
}

}  // namespace
}  // namespace octavo::quant
