#include <gtest/gtest.h>

#include "octavo/policy.h"

namespace octavo::quant {
namespace {

TEST(ParseModelConfig, ReadsWhatConversionNeeds) {
  const Result<ModelConfig> config = ParseModelConfig(
      R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel", "X"],
          "tie_word_embeddings": false, "quantization_config": null, "vocab_size": 5})");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->model_type, "gpt2");
  EXPECT_EQ(config->architecture, "GPT2LMHeadModel");
  EXPECT_EQ(config->tie_word_embeddings, std::optional(false));
  EXPECT_EQ(config->quant_method, "");
}

TEST(ParseModelConfig, TakesAnEmptyTextForNoConfig) {
  const Result<ModelConfig> config = ParseModelConfig("");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->model_type, "");
  EXPECT_EQ(config->tie_word_embeddings, std::nullopt);
}

TEST(ParseModelConfig, LooksForTheTieInTheTextModelToo) {
  const auto tie = [](const std::string& rest) {
    return ParseModelConfig(R"({"text_config": {"tie_word_embeddings": false})" + rest + "}")
        ->tie_word_embeddings;
  };
  EXPECT_EQ(tie(""), std::optional(false));
  EXPECT_EQ(tie(R"(, "tie_word_embeddings": true)"), std::optional(true));
}

TEST(ParseModelConfig, RecognizesQuantizedModels) {
  const auto method = [](const std::string& object) {
    return ParseModelConfig(R"({"quantization_config": )" + object + "}")->quant_method;
  };
  EXPECT_EQ(method(R"({"quant_method": "gptq"})"), "gptq");
  EXPECT_EQ(method(R"({"load_in_8bit": true})"), "bitsandbytes");
  EXPECT_EQ(method(R"({"bits": 4})"), "unknown");
  EXPECT_EQ(method("{}"), "");
}

TEST(ParseModelConfig, RefusesWhatIsNoConfig) {
  for (const std::string text :
       {"[]", "{", "{} {}", R"({"model_type": 3})", R"({"architectures": "A"})",
        R"({"architectures": [1]})", R"({"tie_word_embeddings": "yes"})",
        R"({"text_config": {"tie_word_embeddings": 1}})", R"({"quantization_config": "gptq"})",
        "{\"model_type\": \"\xff\"}"}) {
    EXPECT_EQ(ParseModelConfig(text).code(), ErrorCode::kInvalidFile) << text;
  }
  std::string deep = "{\"a\":";
  deep += std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_EQ(ParseModelConfig(deep).code(), ErrorCode::kInvalidFile);
}

}  // namespace
}  // namespace octavo::quant
