// A file compared with its source: nothing to find in what Convert wrote, everything that differs
// otherwise.
#include <gtest/gtest.h>

#include "libquant/plan.h"
#include "octavo/writer.h"
#include "tests/libquant/model_folder.h"

namespace octavo::quant {
namespace {

using format::Codec;
using format::CodeLayout;
using format::Finding;
using format::Method;
using testing::kGpt2;
using testing::kTiedLlama;
using testing::ModelFolder;

std::vector<Finding> Verify(const ModelFolder& model, const std::string& source) {
  const Result<std::vector<Finding>> findings =
      VerifyAgainst(model.File("m.8vo"), source, {.num_threads = 2});
  EXPECT_TRUE(findings.ok()) << findings.status().message();
  return findings.ok() ? *findings : std::vector<Finding>();
}

const Finding* FindSubject(const std::vector<Finding>& findings, const std::string& subject) {
  const auto it = std::ranges::find(findings, subject, &Finding::subject);
  return it == findings.end() ? nullptr : &*it;
}

void AddModel(ModelFolder* model) {
  model->Add("transformer.wte.weight", {50, 16});
  model->Add("transformer.h.0.mlp.c_fc.weight", {16, 70})
      .Add("transformer.h.0.mlp.c_fc.bias", {70});
  model->Add("transformer.h.0.mlp.c_proj.weight", {70, 16});
  model->AddBytes("lm_head.weight", {50, 16}, DType::kF16, model->Bytes("transformer.wte.weight"));
}

constexpr char kProfile[] =
    R"({"octavo_profile": 1, "modules": {"transformer.h.0.mlp.c_fc":
        {"in_features": 16, "features": [{"index": 3, "max_abs": 9}]}}})";

TEST(VerifyAgainst, FindsNothingInWhatConvertWrote) {
  ModelFolder model;
  AddModel(&model);
  model.Write(kGpt2);
  std::vector<ConvertOptions> cases(9);
  cases[1].method = Method::kTensorWise;
  cases[2].method = Method::kRowWise;
  cases[3].method = Method::kZeropointTensor;
  cases[4].method = Method::kZeropointVector;
  cases[5].layout = CodeLayout::kVnni16x4;
  cases[6].codec = Codec::kZstd;
  cases[7].max_shard_bytes = 1000;
  cases[8].keep_columns = kProfile;
  for (size_t i = 0; i < cases.size(); ++i) {
    cases[i].overwrite = true;
    ASSERT_TRUE(Convert(model.path(), model.File("m.8vo"), cases[i]).ok()) << i;
    for (const Finding& finding : Verify(model, model.path())) {
      ADD_FAILURE() << i << ": " << finding.subject << ": " << finding.status.message();
    }
  }
}

// Another source with one change; what is found must be that, the digest of the file, and nothing
// else.
void ExpectFinding(const std::string& tensor, size_t byte, const std::string& subject,
                   const std::string& part, size_t others = 0) {
  ModelFolder model;
  AddModel(&model);
  model.Write(kGpt2);
  ConvertOptions options;
  options.keep_columns = kProfile;
  ASSERT_TRUE(Convert(model.path(), model.File("m.8vo"), options).ok());
  model.Bytes(tensor)[byte] ^= std::byte{0x40};
  model.Write(kGpt2);
  const std::vector<Finding> findings = Verify(model, model.path());
  const Finding* finding = FindSubject(findings, subject);
  ASSERT_NE(finding, nullptr) << tensor;
  EXPECT_EQ(finding->status.code(), ErrorCode::kNotIntact);
  EXPECT_NE(finding->status.message().find(part), std::string::npos) << finding->status.message();
  EXPECT_NE(FindSubject(findings, "manifest"), nullptr);  // the digest of the source file
  EXPECT_EQ(findings.size(), 2 + others);
}

TEST(VerifyAgainst, NamesTheFirstIndexThatDiffers) {
  ExpectFinding("transformer.h.0.mlp.c_fc.bias", 2 * 33 + 1, "transformer.h.0.mlp.c_fc.bias",
                "[33] is 0x");
  // Source [k=5][n=9] is the code [9, 5]; its row's scale, sum and other codes change with it.
  ExpectFinding("transformer.h.0.mlp.c_proj.weight", 2 * (5 * 16 + 9) + 1,
                "transformer.h.0.mlp.c_proj.weight_absmax", "[9] is 0x", 2);
  ExpectFinding("transformer.h.0.mlp.c_fc.weight", 2 * (3 * 70 + 9) + 1,
                "transformer.h.0.mlp.c_fc.weight_kept", "[0, 9] is 0x", 3);
  ExpectFinding("lm_head.weight", 0, "lm_head", "tied to \"transformer.wte\"");
}

TEST(VerifyAgainst, FindsWhatIsOnOneSideOnly) {
  ModelFolder model;
  AddModel(&model);
  model.Write(kGpt2);
  ASSERT_TRUE(Convert(model.path(), model.File("m.8vo"), {}).ok());
  ModelFolder other;
  other.Add("new.weight", {2, 2}).Add("transformer.wte.weight", {50, 16});
  other.Add("transformer.h.0.mlp.c_proj.weight", {16, 70});  // turned around
  other.Write(kTiedLlama);
  other.dir().Write("model/tokenizer.json", "{}");
  const std::vector<Finding> findings = Verify(model, other.path());
  const auto message = [&](const std::string& subject) {
    const Finding* finding = FindSubject(findings, subject);
    return finding == nullptr ? "nothing about " + subject : finding->status.message();
  };
  EXPECT_EQ(message("new.weight"), "the source has it, the file does not");
  EXPECT_NE(message("transformer.h.0.mlp.c_fc").find("the source has no tensor"),
            std::string::npos);
  EXPECT_NE(message("transformer.h.0.mlp.c_proj").find("[16, 70]"), std::string::npos);
  EXPECT_EQ(message("tokenizer.json"), "the source has it, the file does not");
  EXPECT_NE(message("config.json").find("differs from the source's at byte"), std::string::npos);
  EXPECT_NE(message("transformer.wte.weight").find("[0, 0] is 0x"), std::string::npos);
}

TEST(VerifyAgainst, FailsWhereThereIsNothingToCompare) {
  ModelFolder model;
  AddModel(&model);
  model.Write(kGpt2);
  EXPECT_EQ(VerifyAgainst(model.File("m.8vo"), model.path(), {}).code(), ErrorCode::kNotFound);
  ASSERT_TRUE(Convert(model.path(), model.File("m.8vo"), {}).ok());
  EXPECT_EQ(VerifyAgainst(model.File("m.8vo"), model.File("none"), {}).code(),
            ErrorCode::kNotFound);
  ConvertOptions options;
  options.progress = [](const Progress&) { return false; };
  EXPECT_EQ(VerifyAgainst(model.File("m.8vo"), model.path(), options).code(),
            ErrorCode::kCancelled);
}

}  // namespace
}  // namespace octavo::quant
