// Opening, finding and mapping.
#include "octavo/model.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/runtime/test_model.h"

namespace octavo {
namespace {

using testing::HasText;

class ModelTest : public ::testing::Test {
 protected:
  ModelTest() {
    testing::Random random(testing::TestSeed());
    spec_.linears.push_back(testing::RandomLinear(random, "h.0.attn.c_attn", 24, 40));
    spec_.linears.push_back(testing::RandomLinear(random, "h.0.mlp.c_fc", 8, 40));
    testing::LinearSpec experts = testing::RandomLinear(random, "h.1.experts", 6, 10);
    experts.experts = true;
    experts.weights.push_back(testing::RandomLinear(random, "", 6, 10).weights[0]);
    spec_.linears.push_back(experts);
    path_ = testing::TestPath("model.8vo");
    testing::WriteModel(path_, spec_);
  }
  Model Open() {
    Result<Model> model = Model::Open(path_, {.verify = true, .num_threads = 2});
    EXPECT_TRUE(model.ok()) << model.status().message();
    return std::move(model).value();
  }

  testing::ModelSpec spec_;
  std::string path_;
};

TEST_F(ModelTest, MissingFileIsNotFound) {
  const Result<Model> model = Model::Open(testing::TestPath("absent.8vo"));
  EXPECT_EQ(model.code(), ErrorCode::kNotFound);
  EXPECT_TRUE(HasText(model.status(), "absent.8vo"));
}

TEST_F(ModelTest, ForeignBytesAreAnInvalidFile) {
  const std::string path = testing::TestPath("foreign.8vo");
  std::ofstream(path) << std::string(4096, 'x');
  EXPECT_EQ(Model::Open(path).code(), ErrorCode::kInvalidFile);
}

TEST_F(ModelTest, NegativeThreadsAreRefused) {
  EXPECT_EQ(Model::Open(path_, {.num_threads = -1}).code(), ErrorCode::kInvalidArgument);
}

TEST_F(ModelTest, VerifyFindsAFlippedPayloadBitThatOpenDoesNot) {
  const std::string path = testing::TestPath("flipped.8vo");
  std::filesystem::copy_file(path_, path, std::filesystem::copy_options::overwrite_existing);
  const uint64_t offset = Open().reader().FindTensor("h.0.attn.c_attn.weight")->offset;
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ 4));
  file.close();
  EXPECT_TRUE(Model::Open(path).ok());
  const Result<Model> verified = Model::Open(path, {.verify = true});
  EXPECT_EQ(verified.code(), ErrorCode::kNotIntact);
  EXPECT_TRUE(HasText(verified.status(), "h.0.attn.c_attn.weight"));
}

TEST_F(ModelTest, LinearSaysWhatItIs) {
  const Model model = Open();
  const Result<Linear> linear = model.linear("h.0.attn.c_attn");
  ASSERT_TRUE(linear.ok()) << linear.status().message();
  EXPECT_EQ(linear->name(), "h.0.attn.c_attn");
  EXPECT_EQ(linear->in_features(), 40);
  EXPECT_EQ(linear->out_features(), 24);
  EXPECT_FALSE(linear->has_bias());
  EXPECT_EQ(linear->num_kept_columns(), 0);
  EXPECT_EQ(linear->quantization().threshold, 6.0f);
}

TEST_F(ModelTest, UnknownNameSuggestsNearOnes) {
  const Model model = Open();
  for (const char* name : {"transformer.h.0.mlp.c_fc", "h.0.mlp.c_fc.weight", "h.0.mlp.c_fx"}) {
    const Result<Linear> linear = model.linear(name);
    EXPECT_EQ(linear.code(), ErrorCode::kNotFound) << name;
    EXPECT_TRUE(HasText(linear.status(), std::string("no module \"") + name + "\""));
    EXPECT_TRUE(HasText(linear.status(), "near: \"h.0.mlp.c_fc\""));
  }
  EXPECT_EQ(model.linear("something else").status().message(),
            path_ + ": no module \"something else\"");
  EXPECT_EQ(model.linear("").code(), ErrorCode::kNotFound);
}

TEST_F(ModelTest, WhatIsNotQuantizedSaysWhy) {
  const Result<Linear> linear = Open().linear("norm");
  EXPECT_EQ(linear.code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(HasText(linear.status(), "is not quantized: a norm stays in 16 bit"));
}

TEST_F(ModelTest, ExpertsAreCounted) {
  const Model model = Open();
  EXPECT_TRUE(model.linear("h.1.experts", 1).ok());
  const Result<Linear> beyond = model.linear("h.1.experts", 2);
  EXPECT_EQ(beyond.code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(HasText(beyond.status(), "2 matrices"));
  EXPECT_EQ(model.linear("h.1.experts", -1).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(model.linear("h.0.mlp.c_fc", 1).code(), ErrorCode::kInvalidArgument);
}

TEST_F(ModelTest, TensorsAreMappedAndAssetsCopied) {
  const Model model = Open();
  const Result<std::span<const std::byte>> norm = model.tensor("norm.weight");
  ASSERT_TRUE(norm.ok()) << norm.status().message();
  EXPECT_EQ(norm->size(), 16u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(norm->data()) % 64, 0u);
  EXPECT_EQ(model.tensor("norm.weigth").code(), ErrorCode::kNotFound);
  EXPECT_TRUE(HasText(model.tensor("norm.weigth").status(), "near: \"norm.weight\""));
  const Result<std::string> config = model.asset("config.json");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(*config, "{\"model_type\":\"test\"}");
  EXPECT_EQ(model.asset("tokenizer.json").code(), ErrorCode::kNotFound);
}

TEST_F(ModelTest, CompressedTensorsCannotBeMapped) {
  spec_.writer.codec = format::Codec::kZstd;
  testing::WriteModel(path_, spec_);
  const Model model = Open();
  const Result<std::span<const std::byte>> codes = model.tensor("h.0.mlp.c_fc.weight");
  EXPECT_EQ(codes.code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(HasText(codes.status(), "compressed"));
}

}  // namespace
}  // namespace octavo
