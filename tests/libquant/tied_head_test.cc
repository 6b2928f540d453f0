// Heads that are tied, missing, or stored twice.
#include <gtest/gtest.h>

#include "tests/libquant/policy_cases.h"

namespace octavo::quant {
namespace {

using testing::Config;
using testing::Find;
using testing::HasWarning;
using testing::Names;

Names Llama(const std::string& prefix, bool has_head) {
  Names names;
  names.Add(prefix + "embed_tokens.weight", {100, 16});
  names.Add(prefix + "layers.0.mlp.up_proj.weight", {40, 16});
  if (has_head) names.Add("lm_head.weight", {100, 16});
  return names;
}

Policy Decide(const Names& names, const std::string& type, const std::string& architecture,
              std::optional<bool> tie) {
  ModelConfig config = Config(type, architecture);
  config.tie_word_embeddings = tie;
  Result<Policy> policy = DecideModules(names.tensors(), config, {});
  EXPECT_TRUE(policy.ok()) << policy.status().message();
  return policy.ok() ? *policy : Policy();
}

TEST(TieHead, AddsAMissingHead) {
  for (const std::string prefix : {"model.", ""}) {
    const Policy policy = Decide(Llama(prefix, false), "llama", "LlamaForCausalLM", true);
    const Decision* head = Find(policy, "lm_head");
    ASSERT_NE(head, nullptr);
    EXPECT_EQ(head->action, Action::kTie);
    EXPECT_EQ(head->tied_to, prefix + "embed_tokens");
    EXPECT_EQ(head->weight, "");
    EXPECT_EQ(head->in_features, 16u);
    EXPECT_EQ(head->out_features, 100u);
  }
}

TEST(TieHead, FollowsTheFamilyWhereConfigJsonIsSilent) {
  Names gpt2;
  gpt2.Add("wte.weight", {100, 16});
  EXPECT_NE(Find(Decide(gpt2, "gpt2", "GPT2LMHeadModel", std::nullopt), "lm_head"), nullptr);
  EXPECT_NE(
      Find(Decide(Llama("", false), "smollm3", "SmolLM3ForCausalLM", std::nullopt), "lm_head"),
      nullptr);
  const Policy llama = Decide(Llama("", false), "llama", "LlamaForCausalLM", std::nullopt);
  EXPECT_EQ(Find(llama, "lm_head"), nullptr);
  EXPECT_TRUE(HasWarning(llama, "no output head"));
}

TEST(TieHead, MarksAStoredHeadForComparison) {
  const Policy policy = Decide(Llama("model.", true), "llama", "LlamaForCausalLM", true);
  EXPECT_EQ(Find(policy, "lm_head")->action, Action::kTie);
  EXPECT_EQ(Find(policy, "lm_head")->weight, "lm_head.weight");
}

TEST(TieHead, LeavesAnUntiedHeadAlone) {
  const Policy policy = Decide(Llama("model.", true), "llama", "LlamaForCausalLM", false);
  EXPECT_EQ(Find(policy, "lm_head")->action, Action::kKeep);
  EXPECT_EQ(Find(policy, "lm_head")->tied_to, "");
}

TEST(TieHead, KeepsAHeadOfAnotherShape) {
  Names names = Llama("model.", false);
  names.Add("lm_head.weight", {101, 16});
  const Policy policy = Decide(names, "llama", "LlamaForCausalLM", true);
  EXPECT_EQ(Find(policy, "lm_head")->action, Action::kKeep);
  EXPECT_TRUE(HasWarning(policy, "differs"));
}

TEST(TieHead, InventsNoHeadForAModelWithoutOne) {
  EXPECT_EQ(Find(Decide(Llama("", false), "llama", "LlamaModel", true), "lm_head"), nullptr);
  Names bert;
  bert.Add("embeddings.word_embeddings.weight", {100, 16});
  EXPECT_EQ(Decide(bert, "bert", "BertModel", std::nullopt).decisions.size(), 1u);
  EXPECT_EQ(Decide(bert, "bert", "", std::nullopt).decisions.size(), 1u);
}

TEST(TieHead, TiesAnUnknownTypeIfConfigJsonOrTheClassSaysSo) {
  EXPECT_EQ(Find(Decide(Llama("", false), "newcomer", "", std::nullopt), "lm_head"), nullptr);
  EXPECT_EQ(Find(Decide(Llama("", false), "newcomer", "NewModel", std::nullopt), "lm_head"),
            nullptr);
  for (const std::optional<bool> tie : {std::optional<bool>(true), std::optional<bool>()}) {
    const Policy policy = Decide(Llama("", false), "newcomer", "NewForCausalLM", tie);
    EXPECT_EQ(Find(policy, "lm_head")->tied_to, "embed_tokens");
  }
  EXPECT_EQ(Find(Decide(Llama("", false), "newcomer", "NewForCausalLM", false), "lm_head"),
            nullptr);
}

TEST(TieHead, InventsNoHeadBesideAnUnknownTypesOwn) {
  Names names = Llama("", false);
  names.Add("embed_out.weight", {100, 16});
  const Policy policy = Decide(names, "newcomer", "NewForCausalLM", std::nullopt);
  EXPECT_EQ(Find(policy, "lm_head"), nullptr);
  EXPECT_EQ(Find(policy, "embed_out")->kind, format::ModuleKind::kHead);
}

TEST(TieHead, WarnsIfTwoEmbeddingsCouldBeMeant) {
  Names names = Llama("a.", false);
  names.Add("b.embed_tokens.weight", {100, 16});
  const Policy policy = Decide(names, "llama", "LlamaForCausalLM", true);
  EXPECT_EQ(Find(policy, "lm_head"), nullptr);
  EXPECT_TRUE(HasWarning(policy, "no single token embedding"));
}

}  // namespace
}  // namespace octavo::quant
