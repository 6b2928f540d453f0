// A repacked file is, byte for byte, the one that a conversion with these options writes.
#include "octavo/repack.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "tests/libquant/model_folder.h"

namespace octavo::quant {
namespace {

using format::Codec;
using format::CodeLayout;
using testing::kTiedLlama;
using testing::ModelFolder;
using testing::Output;

// Several chunks, heights and widths that no layout divides, kept columns, experts, a bias, a tie.
void WriteModel(ModelFolder* model) {
  model->Add("model.embed_tokens.weight", {50, 333});
  model->Add("model.layers.0.mlp.up_proj.weight", {4001, 333});
  model->Add("model.layers.0.mlp.up_proj.bias", {4001});
  model->Add("model.layers.0.mlp.down_proj.weight", {65, 4001});
  model->Add("model.layers.0.input_layernorm.weight", {333});
  model->Write(kTiedLlama);
}

struct Form {
  CodeLayout layout = CodeLayout::kPlain;
  Codec codec = Codec::kNone;
  uint64_t max_shard_bytes = 0;
};
constexpr Form kForms[] = {{},
                           {CodeLayout::kVnni16x4, Codec::kNone, 0},
                           {CodeLayout::kPlain, Codec::kZstd, 0},
                           {CodeLayout::kPlain, Codec::kNone, 400'000},
                           {CodeLayout::kVnni16x4, Codec::kZstd, 400'000}};

class RepackTest : public ::testing::Test {
 protected:
  RepackTest() { WriteModel(&model_); }

  std::string Convert(const std::string& name, const Form& form) {
    ConvertOptions options;
    options.layout = form.layout;
    options.codec = form.codec;
    options.max_shard_bytes = form.max_shard_bytes;
    options.keep_columns = testing::kUpProjProfile;
    const auto report = quant::Convert(model_.path(), model_.File(name), options);
    EXPECT_TRUE(report.ok()) << report.status().message();
    return model_.File(name);
  }
  Result<RepackReport> Repack(const std::string& from, const std::string& to, const Form& form,
                              int32_t num_threads = 2) {
    return quant::Repack(model_.File(from), model_.File(to),
                         {.layout = form.layout,
                          .codec = form.codec,
                          .max_shard_bytes = form.max_shard_bytes,
                          .overwrite = true,
                          .num_threads = num_threads});
  }

  ModelFolder model_;
};

// The index names its shards after its own stem, so the folders differ and the names do not.
TEST_F(RepackTest, GivesTheFileOfAConversionWithTheSameOptions) {
  for (size_t i = 0; i < std::size(kForms); ++i) {
    const std::string folder = "form" + std::to_string(i);
    std::filesystem::create_directory(model_.File(folder));
    Convert(folder + "/m.8vo", kForms[i]);
  }
  for (size_t from = 0; from < std::size(kForms); ++from) {
    for (size_t to = 0; to < std::size(kForms); ++to) {
      SCOPED_TRACE("form " + std::to_string(from) + " to form " + std::to_string(to));
      const std::string folder = "repacked" + std::to_string(from) + std::to_string(to);
      std::filesystem::create_directory(model_.File(folder));
      const auto report =
          Repack("form" + std::to_string(from) + "/m.8vo", folder + "/m.8vo", kForms[to]);
      ASSERT_TRUE(report.ok()) << report.status().message();
      EXPECT_EQ(report->files.size() > 1, kForms[to].max_shard_bytes > 0);
      for (const std::string& file : report->files) {
        const std::string expected =
            testing::BytesOf(model_.File("form" + std::to_string(to) + "/" + file));
        ASSERT_FALSE(expected.empty()) << file;
        EXPECT_TRUE(testing::BytesOf(model_.File(folder + "/" + file)) == expected) << file;
      }
    }
  }
}

TEST_F(RepackTest, KeepsEachLayoutUnlessTold) {
  Convert("a.8vo", kForms[1]);
  const auto report = quant::Repack(model_.File("a.8vo"), model_.File("b.8vo"), {});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_TRUE(testing::BytesOf(model_.File("a.8vo")) == testing::BytesOf(model_.File("b.8vo")));
}

TEST_F(RepackTest, DoesNotDependOnTheThreads) {
  Convert("a.8vo", kForms[0]);
  ASSERT_TRUE(Repack("a.8vo", "b.8vo", kForms[4], 1).ok());
  ASSERT_TRUE(Repack("a.8vo", "c.8vo", kForms[4], 7).ok());
  const Output one(model_.File("b.8vo")), many(model_.File("c.8vo"));
  ASSERT_TRUE(one.ok() && many.ok());
  EXPECT_EQ(one.reader().manifest().shards.size(), many.reader().manifest().shards.size());
  for (size_t i = 0; i < one.reader().manifest().shards.size(); ++i) {
    EXPECT_EQ(one.reader().manifest().shards[i].manifest_xxh3,
              many.reader().manifest().shards[i].manifest_xxh3);
  }
}

TEST_F(RepackTest, RefusesAFileThatIsNotIntactAndLeavesNothing) {
  const std::string path = Convert("a.8vo", kForms[0]);
  const format::Reader reader = std::move(format::Reader::Open(path)).value();
  const uint64_t offset = reader.FindTensor("model.layers.0.mlp.up_proj.weight")->offset;
  {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(offset + 700'000));
    file.put('\x55');
  }
  const auto report = Repack("a.8vo", "b.8vo", kForms[1]);
  EXPECT_EQ(report.status().code(), ErrorCode::kNotIntact);
  EXPECT_NE(report.status().message().find("up_proj.weight"), std::string::npos)
      << report.status().message();
  EXPECT_FALSE(std::filesystem::exists(model_.File("b.8vo")));
}

TEST_F(RepackTest, RefusesToWriteOverWhatItReads) {
  Convert("a.8vo", kForms[3]);
  const auto report = Repack("a.8vo", "a.8vo", kForms[0]);
  EXPECT_EQ(report.status().code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(Output(model_.File("a.8vo")).ok());
}

TEST_F(RepackTest, KeepsExpertsPlain) {
  ModelFolder model;
  model.Add("model.layers.0.mlp.experts.gate_up_proj", {3, 64, 32}, DType::kBF16);
  model.Add("model.layers.0.mlp.experts.down_proj", {3, 32, 32}, DType::kBF16);
  model.Write(R"({"model_type": "qwen3_moe"})");
  ASSERT_TRUE(quant::Convert(model.path(), model.File("a.8vo"), {}).ok());
  const auto report = quant::Repack(model.File("a.8vo"), model.File("b.8vo"),
                                    {.layout = CodeLayout::kVnni16x4, .codec = Codec::kZstd});
  ASSERT_TRUE(report.ok()) << report.status().message();
  const Output before(model.File("a.8vo")), after(model.File("b.8vo"));
  ASSERT_TRUE(before.ok() && after.ok());
  for (const format::TensorEntry& tensor : before.reader().manifest().tensors) {
    EXPECT_TRUE(before.Read(tensor.name) == after.Read(tensor.name)) << tensor.name;
  }
}

}  // namespace
}  // namespace octavo::quant
