// The models that ship, converted with every method and compared with the definition, tensor by
// tensor.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/libquant/reference_check.h"

namespace octavo::quant {
namespace {

using format::Checkpoint;
using format::Method;
using octavo::testing::TempDir;
using testing::CheckAgainstReference;
using testing::Output;

constexpr char kGpt2Folder[] = OCTAVO_TEST_DATA "/models/gpt2-novels-outliers";
constexpr char kLlamaFolder[] = OCTAVO_TEST_DATA "/models/llama-novels";

std::string Convert(const TempDir& dir, const std::string& name, const std::string& source,
                    const ConvertOptions& options) {
  const Result<ConvertReport> report = quant::Convert(source, dir.File(name), options);
  EXPECT_TRUE(report.ok()) << report.status().message();
  return dir.Read(name);
}

class ConvertModel : public ::testing::TestWithParam<Method> {};

TEST_P(ConvertModel, GivesTheCodesOfTheDefinition) {
  const TempDir dir;
  ConvertOptions options;
  options.method = GetParam();
  options.num_threads = 2;
  for (const char* folder : {kGpt2Folder, kLlamaFolder}) {
    options.overwrite = true;
    Convert(dir, "m.8vo", folder, options);
    const Output output(dir.File("m.8vo"));
    ASSERT_TRUE(output.ok());
    const Result<Checkpoint> source = Checkpoint::Open(folder);
    ASSERT_TRUE(source.ok());
    EXPECT_EQ(CheckAgainstReference(output, *source), folder == kGpt2Folder ? 24u : 42u);
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, ConvertModel,
                         ::testing::Values(Method::kVectorWise, Method::kTensorWise,
                                           Method::kRowWise, Method::kZeropointTensor,
                                           Method::kZeropointVector),
                         [](const auto& parameter) {
                           std::string name(format::Name(parameter.param));
                           std::erase(name, '-');
                           return name;
                         });

TEST(Convert, DescribesGpt2) {
  const TempDir dir;
  const Result<ConvertReport> report = quant::Convert(kGpt2Folder, dir.File("m.8vo"), {});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->files, std::vector<std::string>{"m.8vo"});
  EXPECT_EQ(report->bytes_file, std::filesystem::file_size(dir.File("m.8vo")));
  const Output output(dir.File("m.8vo"));
  const format::Manifest& manifest = output.reader().manifest();
  EXPECT_EQ(manifest.source.model_type, "gpt2");
  EXPECT_TRUE(manifest.source.known_architecture);
  ASSERT_EQ(manifest.source.files.size(), 1u);
  EXPECT_EQ(manifest.source.files[0].name, "model.safetensors");
  EXPECT_EQ(output.module("lm_head").tied_to, "transformer.wte");
  EXPECT_EQ(output.module("lm_head").weight, "transformer.wte.weight");
  EXPECT_TRUE(output.module("transformer.h.0.attn.c_proj").transposed);
  EXPECT_NE(output.reader().FindAsset("config.json"), nullptr);
  EXPECT_NE(output.reader().FindAsset("tokenizer.json"), nullptr);
  EXPECT_GT(*output.module("transformer.h.3.mlp.c_fc").error->snr_db, 30.0);
}

TEST(Convert, PlansTheSizeItWrites) {
  const TempDir dir;
  for (const char* folder : {kGpt2Folder, kLlamaFolder}) {
    ConvertOptions options;
    options.overwrite = true;
    const Result<Checkpoint> source = Checkpoint::Open(folder);
    ASSERT_TRUE(source.ok());
    const Result<Plan> plan = PlanConversion(*source, options);
    ASSERT_TRUE(plan.ok());
    const Result<ConvertReport> report = quant::Convert(folder, dir.File("m.8vo"), options);
    ASSERT_TRUE(report.ok());
    EXPECT_GE(plan->bytes_file, report->bytes_file);
    EXPECT_LE(plan->bytes_file, report->bytes_file + report->bytes_file / 50);
    EXPECT_EQ(plan->bytes_source, report->bytes_source);
  }
}

TEST(Convert, GivesTheSameBytesForAnyThreadsAndKernels) {
  const TempDir dir;
  for (const char* folder : {kGpt2Folder, kLlamaFolder}) {
    ConvertOptions options;
    options.overwrite = true;
    options.num_threads = 1;
    const std::string expected = Convert(dir, "m.8vo", folder, options);
    ASSERT_FALSE(expected.empty());
    for (const int32_t threads : {1, 2, 7}) {
      options.num_threads = threads;
      EXPECT_EQ(Convert(dir, "m.8vo", folder, options), expected) << threads << " threads";
    }
    const char* before = getenv("OCTAVO_CPU");
    const std::string saved = before == nullptr ? "" : before;
    setenv("OCTAVO_CPU", "portable", 1);
    EXPECT_EQ(Convert(dir, "m.8vo", folder, options), expected) << "portable";
    if (before == nullptr) {
      unsetenv("OCTAVO_CPU");
    } else {
      setenv("OCTAVO_CPU", saved.c_str(), 1);
    }
  }
}

TEST(Convert, CompressesAndShards) {
  const TempDir dir;
  ConvertOptions options;
  options.codec = format::Codec::kZstd;
  Convert(dir, "z.8vo", kLlamaFolder, options);
  options.max_shard_bytes = 4 << 20;
  Convert(dir, "s.8vo", kGpt2Folder, options);
  const Result<Checkpoint> llama = Checkpoint::Open(kLlamaFolder);
  const Result<Checkpoint> gpt2 = Checkpoint::Open(kGpt2Folder);
  ASSERT_TRUE(llama.ok() && gpt2.ok());
  EXPECT_EQ(CheckAgainstReference(Output(dir.File("z.8vo")), *llama), 42u);
  const Output sharded(dir.File("s.8vo"));
  EXPECT_GT(sharded.reader().manifest().shards.size(), 1u);
  EXPECT_EQ(CheckAgainstReference(sharded, *gpt2), 24u);
}

TEST(Convert, PacksCodes) {
  const TempDir dir;
  ConvertOptions options;
  options.layout = format::CodeLayout::kVnni16x4;
  Convert(dir, "m.8vo", kLlamaFolder, options);
  const Result<Checkpoint> source = Checkpoint::Open(kLlamaFolder);
  EXPECT_EQ(CheckAgainstReference(Output(dir.File("m.8vo")), *source), 42u);
}

}  // namespace
}  // namespace octavo::quant
