// Two files compared: nothing where the model is the same, however it is stored; else each
// difference where it is, and its size.
#include "octavo/diff.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "octavo/repack.h"
#include "octavo/writer.h"
#include "tests/libquant/model_folder.h"

namespace octavo::quant {
namespace {

using format::Codec;
using format::CodeLayout;
using format::Reader;
using testing::kTiedLlama;
using testing::ModelFolder;

constexpr char kUp[] = "model.layers.0.mlp.up_proj";
constexpr char kDown[] = "model.layers.0.mlp.down_proj";
constexpr char kNorm[] = "model.layers.0.input_layernorm";

std::string Weight(const std::string& module) { return module + ".weight"; }

const ContentDifference* Find(const std::vector<ContentDifference>& contents,
                              const std::string& name) {
  const auto it = std::ranges::find(contents, name, &ContentDifference::name);
  return it == contents.end() ? nullptr : &*it;
}

const ValueDifference* FindValue(const ContentDifference& content, const std::string& what) {
  const auto it = std::ranges::find(content.values, what, &ValueDifference::what);
  return it == content.values.end() ? nullptr : &*it;
}

// "a | b", or "" where both have the same.
std::string Stated(const std::vector<Difference>& differences, const std::string& what) {
  const auto it = std::ranges::find(differences, what, &Difference::what);
  return it == differences.end() ? "" : it->a + " | " + it->b;
}

class DiffTest : public ::testing::Test {
 protected:
  DiffTest() {
    model_.Add("model.embed_tokens.weight", {50, 333});
    model_.Add(Weight(kUp), {4001, 333}).Add("model.layers.0.mlp.up_proj.bias", {4001});
    model_.Add(Weight(kDown), {65, 4001});
    model_.Add(Weight(kNorm), {333});
    model_.Write(kTiedLlama);
  }

  std::string Convert(const std::string& name, ConvertOptions options = {}) {
    options.overwrite = true;
    const auto report = quant::Convert(model_.path(), model_.File(name), options);
    EXPECT_TRUE(report.ok()) << report.status().message();
    return model_.File(name);
  }
  // The readers live as long as the test, as the report needs them to.
  Result<DiffReport> TryDiff(const std::string& a, const std::string& b,
                             const DiffOptions& options = {.num_threads = 2}) {
    Result<Reader> one = Reader::Open(model_.File(a)), other = Reader::Open(model_.File(b));
    if (!one.ok()) return one.status();
    if (!other.ok()) return other.status();
    readers_.push_back(std::move(one).value());
    readers_.push_back(std::move(other).value());
    const Reader& last = readers_.back();
    return Diff(*(&last - 1), last, options);
  }
  DiffReport Diffed(const std::string& a, const std::string& b,
                    const DiffOptions& options = {.num_threads = 2}) {
    Result<DiffReport> report = TryDiff(a, b, options);
    EXPECT_TRUE(report.ok()) << report.status().message();
    return report.ok() ? std::move(report).value() : DiffReport();
  }
  void FlipByte(const std::string& name, const std::string& tensor, uint64_t at) {
    const Reader reader = std::move(Reader::Open(model_.File(name))).value();
    const format::TensorEntry* entry = reader.FindTensor(tensor);
    if (entry == nullptr) entry = reader.FindAsset(tensor);
    const uint64_t offset = entry->offset + at;
    std::fstream file(model_.File(name), std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(static_cast<std::streamoff>(offset));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(byte ^ 0x10));
  }

  ModelFolder model_;

 private:
  std::vector<Reader> readers_;
};

TEST_F(DiffTest, FindsNothingInTheSameModel) {
  Convert("a.8vo");
  Convert("b.8vo");
  for (const bool read_all : {false, true}) {
    const DiffReport report = Diffed("a.8vo", "b.8vo", {.read_all = read_all, .num_threads = 3});
    EXPECT_TRUE(report.equal());
    EXPECT_TRUE(report.modules.empty() && report.storage.empty() && report.origin.empty());
    EXPECT_EQ(report.modules_in_both, 5u);  // the tied head is one
  }
}

TEST_F(DiffTest, FormsOfStorageAreNoDifference) {
  ConvertOptions options;
  options.keep_columns = testing::kUpProjProfile;
  Convert("a.8vo", options);
  const struct {
    const char* what;
    const char* both;
    RepackOptions options;
  } cases[] = {{"layout", "plain | vnni16x4-1", {.layout = CodeLayout::kVnni16x4}},
               {"codec", "none | zstd", {.codec = Codec::kZstd}},
               {"shards", "0 | 3", {.max_shard_bytes = 400'000}}};
  for (const auto& form : cases) {
    RepackOptions repack = form.options;
    repack.overwrite = true;
    ASSERT_TRUE(Repack(model_.File("a.8vo"), model_.File("b.8vo"), repack).ok());
    const DiffReport report = Diffed("a.8vo", "b.8vo");
    EXPECT_TRUE(report.equal()) << form.what;
    EXPECT_TRUE(report.modules.empty()) << form.what;
    EXPECT_EQ(Stated(report.storage, form.what), form.both);
    EXPECT_EQ(report.storage.size(), 1u) << form.what;
  }
}

TEST_F(DiffTest, SettingsAreDifferencesAndOriginIsNot) {
  Convert("a.8vo");
  ConvertOptions options;
  options.threshold = 4.5f;
  options.scope = format::Scope::kToken;
  Convert("b.8vo", options);
  DiffReport report = Diffed("a.8vo", "b.8vo");
  EXPECT_FALSE(report.equal());
  EXPECT_EQ(Stated(report.settings, "threshold"), "6 | 4.5");
  EXPECT_EQ(Stated(report.settings, "scope"), "batch | token");
  EXPECT_EQ(report.settings.size(), 2u);
  EXPECT_TRUE(report.modules.empty());

  options = {};
  options.sha256 = true;
  Convert("b.8vo", options);
  report = Diffed("a.8vo", "b.8vo");
  EXPECT_TRUE(report.equal());
  EXPECT_NE(Stated(report.origin, "source file model.safetensors").find("sha256"),
            std::string::npos);

  const std::string renamed = model_.File("renamed.safetensors");
  std::filesystem::copy_file(model_.path() + "/model.safetensors", renamed);
  ASSERT_TRUE(quant::Convert(renamed, model_.File("c.8vo"), {}).ok());
  report = Diffed("a.8vo", "c.8vo");
  EXPECT_TRUE(Stated(report.origin, "source file model.safetensors").ends_with(" | "));
  EXPECT_TRUE(Stated(report.origin, "source file renamed.safetensors").starts_with(" | "));
}

TEST_F(DiffTest, CountsOtherCodesWhateverTheLayout) {
  Convert("a.8vo");
  // One weight moves by three steps, towards 0, so that the row's scale stays.
  const Reader a = std::move(Reader::Open(model_.File("a.8vo"))).value();
  const std::vector<float> scales =
      testing::As<float>(*a.ReadAll(*a.FindTensor(Weight(kUp) + "_absmax")));
  const std::vector<int8_t> codes = testing::As<int8_t>(*a.ReadAll(*a.FindTensor(Weight(kUp))));
  constexpr size_t kRow = 3999, kColumn = 5;
  std::vector<float> weights = testing::Decode(DType::kF16, model_.Bytes(Weight(kUp)));
  const int32_t code = codes[kRow * 333 + kColumn];
  const int32_t other = code > 0 ? code - 3 : code + 3;
  weights[kRow * 333 + kColumn] = static_cast<float>(other) * scales[kRow] / 127;
  model_.Bytes(Weight(kUp)) = testing::Encode(DType::kF16, weights);
  model_.Write(kTiedLlama);
  for (const CodeLayout layout : {CodeLayout::kPlain, CodeLayout::kVnni16x4}) {
    ConvertOptions options;
    options.layout = layout;
    Convert("b.8vo", options);
    const DiffReport report = Diffed("a.8vo", "b.8vo");
    EXPECT_EQ(report.differing_modules(), 1u);
    const ContentDifference* up = Find(report.modules, kUp);
    ASSERT_NE(up, nullptr);
    const ValueDifference* found = FindValue(*up, "codes");
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->elements, 4001u * 333);
    EXPECT_EQ(found->differing, 1u);
    EXPECT_EQ(found->largest, 3.0);
    const ValueDifference* weight = FindValue(*up, "weight");
    ASSERT_NE(weight, nullptr);
    EXPECT_EQ(weight->differing, 1u);
    EXPECT_NEAR(*weight->largest, 3 * scales[kRow] / 127, 1e-7);
    double squares = 0;
    for (size_t i = 0; i < codes.size(); ++i) {
      squares += std::pow(codes[i] * static_cast<double>(scales[i / 333]) / 127, 2);
    }
    EXPECT_NEAR(*weight->relative_error, *weight->largest / std::sqrt(squares), 1e-9);
    EXPECT_EQ(FindValue(*up, "scales"), nullptr);
    EXPECT_NE(FindValue(*up, "code_sum"), nullptr);
  }
}

TEST_F(DiffTest, CountsOtherScalesBiasesAndCopiedValues) {
  Convert("a.8vo");
  for (const std::string& name : {Weight(kDown), std::string(kUp) + ".bias", Weight(kNorm)}) {
    std::vector<float> values = testing::Decode(DType::kF16, model_.Bytes(name));
    // All of a row of down_proj doubled: the same codes, another scale.
    const size_t count = name == Weight(kDown) ? 4001 : 2;
    for (size_t i = 0; i < count; ++i) values[i] *= 2;
    model_.Bytes(name) = testing::Encode(DType::kF16, values);
  }
  model_.Write(kTiedLlama);
  Convert("b.8vo");
  const DiffReport report = Diffed("a.8vo", "b.8vo");
  EXPECT_EQ(report.differing_modules(), 3u);
  const ContentDifference* down = Find(report.modules, kDown);
  ASSERT_NE(down, nullptr);
  EXPECT_EQ(FindValue(*down, "codes"), nullptr);
  ASSERT_NE(FindValue(*down, "scales"), nullptr);
  EXPECT_EQ(FindValue(*down, "scales")->differing, 1u);
  ASSERT_NE(FindValue(*down, "weight"), nullptr);
  EXPECT_GT(FindValue(*down, "weight")->differing, 3500u);  // zero codes are zero
  EXPECT_NE(Stated(down->origin, "max_abs_error"), "");
  const ContentDifference* up = Find(report.modules, kUp);
  ASSERT_NE(up, nullptr);
  ASSERT_NE(FindValue(*up, "bias"), nullptr);
  EXPECT_EQ(FindValue(*up, "bias")->differing, 2u);
  EXPECT_EQ(up->values.size(), 1u);
  const ContentDifference* norm = Find(report.modules, kNorm);
  ASSERT_NE(norm, nullptr);
  ASSERT_NE(FindValue(*norm, "weight"), nullptr);
  EXPECT_EQ(FindValue(*norm, "weight")->differing, 2u);
  EXPECT_TRUE(norm->stated.empty());
}

TEST_F(DiffTest, KeptColumns) {
  ConvertOptions options;
  options.keep_columns = testing::kUpProjProfile;
  Convert("a.8vo");
  Convert("b.8vo", options);
  DiffReport report = Diffed("a.8vo", "b.8vo");
  EXPECT_EQ(report.differing_modules(), 1u);
  const ContentDifference* up = Find(report.modules, kUp);
  ASSERT_NE(up, nullptr);
  EXPECT_EQ(Stated(up->stated, "kept_columns"), "0 | 2");
  EXPECT_EQ(FindValue(*up, "codes"), nullptr);
  ASSERT_NE(FindValue(*up, "weight"), nullptr);
  EXPECT_LE(FindValue(*up, "weight")->differing, 2 * 4001u);
  EXPECT_GT(FindValue(*up, "weight")->differing, 4001u);

  options.keep_columns.replace(options.keep_columns.find("311"), 3, "312");
  Convert("a.8vo", options);
  report = Diffed("a.8vo", "b.8vo");
  up = Find(report.modules, kUp);
  ASSERT_NE(up, nullptr);
  EXPECT_TRUE(up->stated.empty());
  ASSERT_NE(FindValue(*up, "kept_index"), nullptr);
  EXPECT_EQ(FindValue(*up, "kept_index")->differing, 1u);
  EXPECT_FALSE(FindValue(*up, "kept_index")->relative_error);
  EXPECT_NE(FindValue(*up, "kept_weight"), nullptr);
}

TEST_F(DiffTest, Int8Against16Bit) {
  ConvertOptions options;
  options.policy.skip_modules = {"up_proj"};
  Convert("a.8vo", options);
  for (const CodeLayout layout : {CodeLayout::kPlain, CodeLayout::kVnni16x4}) {
    ConvertOptions packed;
    packed.layout = layout;
    Convert("b.8vo", packed);
    const DiffReport report = Diffed("a.8vo", "b.8vo");
    EXPECT_EQ(report.differing_modules(), 1u);
    const ContentDifference* up = Find(report.modules, kUp);
    ASSERT_NE(up, nullptr);
    EXPECT_EQ(Stated(up->stated, "weight"), "F16 [4001, 333] | int8");
    EXPECT_NE(Stated(up->origin, "reason"), "");
    ASSERT_EQ(up->values.size(), 1u);
    // The error that the conversion measured.
    EXPECT_NEAR(-20 * std::log10(*up->values[0].relative_error), *up->b->error->snr_db, 0.006);
    // Its code * scale is float32 here.
    EXPECT_NEAR(*up->values[0].largest, up->b->error->max_abs_error, 1e-7);
    const DiffReport back = Diffed("b.8vo", "a.8vo");
    EXPECT_EQ(Find(back.modules, kUp)->values[0].differing, up->values[0].differing);
  }
}

TEST(Diff, Int8AgainstATransposedWeight) {
  for (const Codec codec : {Codec::kNone, Codec::kZstd}) {
    ModelFolder model;
    model.Add("transformer.h.0.mlp.c_fc.weight", {37, 9001});
    model.Add("transformer.h.0.mlp.c_proj.weight", {9001, 700});
    model.Write(testing::kGpt2);
    ConvertOptions options;
    options.policy.skip_modules = {"h"};
    options.codec = codec;
    ASSERT_TRUE(Convert(model.path(), model.File("a.8vo"), options).ok());
    ASSERT_TRUE(Convert(model.path(), model.File("b.8vo"), {}).ok());
    const Reader a = std::move(Reader::Open(model.File("a.8vo"))).value();
    const Reader b = std::move(Reader::Open(model.File("b.8vo"))).value();
    const Result<DiffReport> report = Diff(a, b, {.num_threads = 2});
    ASSERT_TRUE(report.ok()) << report.status().message();
    ASSERT_EQ(report->modules.size(), 2u);
    for (const ContentDifference& module : report->modules) {
      ASSERT_EQ(module.values.size(), 1u) << module.name;
      EXPECT_NEAR(-20 * std::log10(*module.values[0].relative_error), *module.b->error->snr_db,
                  0.006);
    }
  }
}

TEST(Diff, StacksOfExperts) {
  for (const bool transposed : {false, true}) {
    ModelFolder model;
    const Shape up = transposed ? Shape{3, 32, 64} : Shape{3, 64, 32};
    const std::string name = "model.layers.0.mlp.experts.gate_up_proj";
    model.Add(name, up, DType::kBF16);
    model.Add("model.layers.0.mlp.experts.down_proj", {3, 32, 32}, DType::kBF16);
    model.Write(transposed ? R"({"model_type": "gpt_oss"})" : R"({"model_type": "qwen3_moe"})");
    ConvertOptions options;
    options.policy.skip_modules = {"experts"};
    ASSERT_TRUE(Convert(model.path(), model.File("a.8vo"), options).ok());
    ASSERT_TRUE(Convert(model.path(), model.File("b.8vo"), {}).ok());
    const Reader a = std::move(Reader::Open(model.File("a.8vo"))).value();
    const Reader b = std::move(Reader::Open(model.File("b.8vo"))).value();
    const Result<DiffReport> report = Diff(a, b, {});
    ASSERT_TRUE(report.ok()) << report.status().message();
    const ContentDifference* stack = Find(report->modules, name);
    ASSERT_NE(stack, nullptr);
    EXPECT_EQ(stack->b->transposed, transposed);
    ASSERT_EQ(stack->values.size(), 1u);
    EXPECT_EQ(stack->values[0].elements, 3u * 64 * 32);
    EXPECT_NEAR(-20 * std::log10(*stack->values[0].relative_error), *stack->b->error->snr_db,
                0.006);
  }
}

TEST_F(DiffTest, WhatIsOnOneSideOnlyAndOtherShapes) {
  Convert("a.8vo");
  ModelFolder other;
  other.Add("model.embed_tokens.weight", {51, 333});
  other.Add(Weight(kUp), {4001, 334}).Add("model.layers.0.mlp.up_proj.bias", {4001});
  other.Add("model.layers.1.mlp.up_proj.weight", {8, 333});
  other.Add(Weight(kNorm), {333}, DType::kBF16);
  other.Write(testing::kLlama);
  other.dir().Write("model/tokenizer.json", "{}");
  ASSERT_TRUE(quant::Convert(other.path(), model_.File("b.8vo"), {}).ok());
  const DiffReport report = Diffed("a.8vo", "b.8vo");
  EXPECT_FALSE(report.equal());
  const auto names = [](const std::vector<const format::Module*>& modules) {
    std::vector<std::string> found;
    for (const format::Module* module : modules) found.push_back(module->name);
    return found;
  };
  EXPECT_EQ(names(report.only_in_a), (std::vector<std::string>{kDown, "lm_head"}));
  EXPECT_EQ(names(report.only_in_b), std::vector<std::string>{"model.layers.1.mlp.up_proj"});
  const ContentDifference* up = Find(report.modules, kUp);
  ASSERT_NE(up, nullptr);
  EXPECT_EQ(Stated(up->stated, "in_features"), "333 | 334");
  EXPECT_EQ(FindValue(*up, "weight"), nullptr);
  EXPECT_NE(FindValue(*up, "bias"), nullptr);
  const ContentDifference* embedding = Find(report.modules, "model.embed_tokens");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(Stated(embedding->stated, "weight"), "F16 [50, 333] | F16 [51, 333]");
  const ContentDifference* norm = Find(report.modules, kNorm);
  ASSERT_NE(norm, nullptr);
  EXPECT_EQ(Stated(norm->stated, "weight"), "F16 [333] | BF16 [333]");
  EXPECT_NE(FindValue(*norm, "weight"), nullptr);
  ASSERT_EQ(report.assets.size(), 2u);
  EXPECT_EQ(report.assets[0].name, "config.json");
  EXPECT_TRUE(report.assets[0].bytes_a && report.assets[0].bytes_b);
  EXPECT_EQ(report.assets[1].name, "tokenizer.json");
  EXPECT_FALSE(report.assets[1].bytes_a);
  EXPECT_EQ(report.assets[1].bytes_b, 2u);
}

TEST_F(DiffTest, TiesAndOtherTypesOfEqualValues) {
  const std::vector<float> ones(333, 1);
  model_.Bytes(Weight(kNorm)) = testing::Encode(DType::kF16, ones);
  model_.Write(kTiedLlama);
  Convert("a.8vo");
  ModelFolder other;
  other.AddBytes("model.embed_tokens.weight", {50, 333}, DType::kF16,
                 model_.Bytes("model.embed_tokens.weight"));
  other.AddBytes(Weight(kUp), {4001, 333}, DType::kF16, model_.Bytes(Weight(kUp)));
  other.AddBytes("model.layers.0.mlp.up_proj.bias", {4001}, DType::kF16,
                 model_.Bytes("model.layers.0.mlp.up_proj.bias"));
  other.AddBytes(Weight(kDown), {65, 4001}, DType::kF16, model_.Bytes(Weight(kDown)));
  other.AddValues(Weight(kNorm), {333}, DType::kF32, ones);
  other.AddBytes("lm_head.weight", {50, 333}, DType::kF16,
                 model_.Bytes("model.embed_tokens.weight"));
  other.Write(testing::kLlama);
  ASSERT_TRUE(quant::Convert(other.path(), model_.File("b.8vo"), {}).ok());
  const DiffReport report = Diffed("a.8vo", "b.8vo");
  const ContentDifference* head = Find(report.modules, "lm_head");
  ASSERT_NE(head, nullptr);
  EXPECT_EQ(Stated(head->stated, "tied_to"), "model.embed_tokens | ");
  EXPECT_TRUE(head->values.empty());  // the same values by another way
  const ContentDifference* norm = Find(report.modules, kNorm);
  ASSERT_NE(norm, nullptr);
  EXPECT_EQ(Stated(norm->stated, "weight"), "F16 [333] | F32 [333]");
  EXPECT_TRUE(norm->values.empty());
  EXPECT_EQ(report.differing_modules(), 2u);

  other.Bytes("lm_head.weight")[3] ^= std::byte{0x40};
  other.Write(testing::kLlama);
  ASSERT_TRUE(quant::Convert(other.path(), model_.File("b.8vo"), {.overwrite = true}).ok());
  const DiffReport with_other_head = Diffed("a.8vo", "b.8vo");
  head = Find(with_other_head.modules, "lm_head");
  ASSERT_NE(head, nullptr);
  ASSERT_EQ(head->values.size(), 1u);
  EXPECT_EQ(head->values[0].differing, 1u);
}

// By the writer alone: what no conversion makes.
TEST_F(DiffTest, TensorsOfNoModuleAndTheOrderOfModules) {
  const auto write = [&](const std::string& file, const std::vector<std::string>& modules,
                         const std::vector<std::string>& tensors, int8_t value) {
    format::Writer writer = std::move(format::Writer::Create(model_.File(file), {})).value();
    const std::vector<std::byte> bytes(6, static_cast<std::byte>(value));
    for (const std::string& name : tensors) {
      ASSERT_TRUE(writer.AppendTensor(name, DType::kI8, Shape{2, 3}, bytes).ok());
    }
    format::Manifest manifest;
    for (const std::string& name : modules) manifest.modules.emplace_back().name = name;
    ASSERT_TRUE(writer.Finish(std::move(manifest)).ok());
  };
  write("a.8vo", {"x", "y", "z"}, {"one", "two", "three"}, 5);
  write("b.8vo", {"x", "z", "y"}, {"two", "one", "three"}, 5);
  DiffReport report = Diffed("a.8vo", "b.8vo");
  EXPECT_TRUE(report.equal());
  EXPECT_EQ(Stated(report.storage, "order"), "y | z");
  write("c.8vo", {"x", "y", "z"}, {"two", "four"}, -3);
  report = Diffed("a.8vo", "c.8vo");
  EXPECT_FALSE(report.equal());
  EXPECT_TRUE(report.modules.empty() && report.storage.empty());
  ASSERT_EQ(report.tensors.size(), 4u);
  const ContentDifference* two = Find(report.tensors, "two");
  ASSERT_NE(two, nullptr);
  EXPECT_TRUE(two->stated.empty());
  ASSERT_EQ(two->values.size(), 1u);
  EXPECT_EQ(two->values[0].differing, 6u);
  EXPECT_EQ(two->values[0].largest, 8.0);
  ASSERT_NE(Find(report.tensors, "three"), nullptr);
  EXPECT_EQ(Stated(Find(report.tensors, "three")->stated, "tensor"), "I8 [2, 3] | ");
  ASSERT_NE(Find(report.tensors, "four"), nullptr);
  EXPECT_EQ(Stated(Find(report.tensors, "four")->stated, "tensor"), " | I8 [2, 3]");
}

TEST_F(DiffTest, ValuesThatAreNoNumbers) {
  model_.Bytes(Weight(kNorm))[1] = std::byte{0x7c};  // infinite, or nearly so a NaN
  model_.Bytes(Weight(kNorm))[0] = std::byte{0};
  model_.Write(kTiedLlama);
  Convert("a.8vo");
  model_.Bytes(Weight(kNorm))[5] ^= std::byte{0x80};  // one sign, an infinity beside it
  model_.Write(kTiedLlama);
  Convert("b.8vo");
  DiffReport report = Diffed("a.8vo", "b.8vo");
  ASSERT_EQ(report.differing_modules(), 1u);
  const ValueDifference* weight = FindValue(report.modules[0], "weight");
  EXPECT_EQ(weight->differing, 1u);
  EXPECT_TRUE(weight->largest);
  EXPECT_FALSE(weight->relative_error);
  model_.Bytes(Weight(kNorm))[0] = std::byte{1};  // a NaN
  model_.Write(kTiedLlama);
  Convert("a.8vo");
  report = Diffed("a.8vo", "b.8vo");
  weight = FindValue(report.modules[0], "weight");
  EXPECT_EQ(weight->differing, 1u);
  EXPECT_FALSE(weight->largest);
}

TEST_F(DiffTest, ACorruptChunkIsFoundWhereItIsRead) {
  Convert("a.8vo");
  Convert("b.8vo");
  FlipByte("b.8vo", Weight(kUp), 700'000);
  EXPECT_TRUE(Diffed("a.8vo", "b.8vo").equal());  // the digests say so
  const Result<DiffReport> report = TryDiff("a.8vo", "b.8vo", {.read_all = true});
  EXPECT_EQ(report.code(), ErrorCode::kNotIntact);
  for (const std::string part : {"b.8vo", "up_proj.weight", "R23"}) {
    EXPECT_NE(report.status().message().find(part), std::string::npos) << report.status().message();
  }
  ASSERT_TRUE(Repack(model_.File("a.8vo"), model_.File("c.8vo"),
                     {.layout = CodeLayout::kVnni16x4, .codec = Codec::kZstd})
                  .ok());
  EXPECT_EQ(TryDiff("c.8vo", "b.8vo").code(), ErrorCode::kNotIntact);
  FlipByte("b.8vo", Weight(kUp), 700'000);  // back again
  EXPECT_TRUE(Diffed("a.8vo", "b.8vo", {.read_all = true}).equal());
  FlipByte("b.8vo", Weight(kNorm), 7);
  EXPECT_EQ(TryDiff("a.8vo", "b.8vo", {.read_all = true}).code(), ErrorCode::kNotIntact);
  FlipByte("b.8vo", Weight(kNorm), 7);
  FlipByte("b.8vo", "config.json", 1);
  EXPECT_EQ(TryDiff("a.8vo", "b.8vo", {.read_all = true}).code(), ErrorCode::kNotIntact);
  FlipByte("c.8vo", "model.embed_tokens.weight", 1000);
  EXPECT_EQ(TryDiff("a.8vo", "c.8vo").code(), ErrorCode::kNotIntact);
}

TEST_F(DiffTest, DoesNotDependOnTheThreadsAndCanBeCancelled) {
  Convert("a.8vo");
  ConvertOptions options;
  options.method = format::Method::kZeropointVector;
  options.layout = CodeLayout::kVnni16x4;
  Convert("b.8vo", options);
  const DiffReport one = Diffed("a.8vo", "b.8vo", {.num_threads = 1});
  const DiffReport many = Diffed("a.8vo", "b.8vo", {.num_threads = 7});
  ASSERT_EQ(one.modules.size(), many.modules.size());
  EXPECT_EQ(Stated(one.modules[0].stated, "convention"), "absmax | step");
  EXPECT_EQ(Stated(one.modules[0].stated, "full_range"), "false | true");
  for (size_t i = 0; i < one.modules.size(); ++i) {
    ASSERT_EQ(one.modules[i].values.size(), many.modules[i].values.size());
    for (size_t j = 0; j < one.modules[i].values.size(); ++j) {
      EXPECT_EQ(one.modules[i].values[j].relative_error, many.modules[i].values[j].relative_error);
      EXPECT_EQ(one.modules[i].values[j].differing, many.modules[i].values[j].differing);
    }
  }
  uint64_t done = 0, total = 1;
  DiffOptions diff_options;
  diff_options.progress = [&](const Progress& now) {
    done = now.bytes_done;
    total = now.bytes_total;
    return true;
  };
  Diffed("a.8vo", "b.8vo", diff_options);
  EXPECT_GT(total, 2u * 4001 * 333);
  EXPECT_EQ(done, total);
  diff_options.progress = [](const Progress&) { return false; };
  EXPECT_EQ(TryDiff("a.8vo", "b.8vo", diff_options).code(), ErrorCode::kCancelled);
}

}  // namespace
}  // namespace octavo::quant
