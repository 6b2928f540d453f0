// The policy's table and traps, from names and shapes alone.
#include <gtest/gtest.h>

#include "tests/libquant/policy_cases.h"

namespace octavo::quant {
namespace {

using format::ModuleKind;
using testing::Config;
using testing::Find;
using testing::HasWarning;
using testing::Names;

Policy Decide(const Names& names, const ModelConfig& config, const PolicyOptions& options = {}) {
  Result<Policy> policy = DecideModules(names.tensors(), config, options);
  EXPECT_TRUE(policy.ok()) << policy.status().message();
  return policy.ok() ? *policy : Policy();
}

Names Gpt2(const std::string& prefix) {
  Names names;
  names.Add(prefix + "wte.weight", {100, 16}).Add(prefix + "wpe.weight", {32, 16});
  names.Add(prefix + "h.0.ln_1.weight", {16}).Add(prefix + "h.0.ln_1.bias", {16});
  names.Add(prefix + "h.0.attn.bias", {1, 1, 32, 32}, DType::kF32);
  names.Add(prefix + "h.0.attn.masked_bias", {}, DType::kF32);
  names.Add(prefix + "h.0.attn.c_attn.weight", {16, 48});
  names.Add(prefix + "h.0.attn.c_attn.bias", {48});
  names.Add(prefix + "h.0.attn.c_proj.weight", {16, 16});
  names.Add(prefix + "h.0.attn.c_proj.bias", {16});
  names.Add(prefix + "h.0.mlp.c_fc.weight", {16, 64})
      .Add(prefix + "h.0.mlp.c_proj.weight", {64, 16});
  names.Add(prefix + "ln_f.weight", {16}).Add(prefix + "ln_f.bias", {16});
  return names;
}

TEST(DecideModules, TransposesGpt2AndReadsItsBias) {
  for (const std::string prefix : {"transformer.", ""}) {
    const Policy policy = Decide(Gpt2(prefix), Config("gpt2", "GPT2LMHeadModel"));
    const Decision* linear = Find(policy, prefix + "h.0.attn.c_attn");
    ASSERT_NE(linear, nullptr);
    EXPECT_EQ(linear->action, Action::kQuantize);
    EXPECT_EQ(linear->kind, ModuleKind::kLinear);
    EXPECT_TRUE(linear->transposed);
    EXPECT_EQ(linear->in_features, 16u);
    EXPECT_EQ(linear->out_features, 48u);
    EXPECT_EQ(linear->bias, prefix + "h.0.attn.c_attn.bias");
    EXPECT_EQ(linear->reason, "linear of a GPT-2 block");
  }
}

TEST(DecideModules, TransposesASquareConv1dToo) {
  const Policy policy = Decide(Gpt2(""), Config("gpt2"));
  EXPECT_TRUE(Find(policy, "h.0.attn.c_proj")->transposed);
  EXPECT_EQ(Find(policy, "h.0.attn.c_proj")->action, Action::kQuantize);
}

TEST(DecideModules, DoesNotTransposeTheSameNamesOfAnotherModelType) {
  Names names;
  names.Add("h.0.mlp.c_fc.weight", {64, 16}).Add("h.0.mlp.c_fc.bias", {64});
  for (const std::string type : {"gpt_neo", "newcomer"}) {
    const Policy policy = Decide(names, Config(type));
    const Decision* linear = Find(policy, "h.0.mlp.c_fc");
    EXPECT_FALSE(linear->transposed) << type;
    EXPECT_EQ(linear->in_features, 16u);
    EXPECT_EQ(linear->action, Action::kQuantize);
    EXPECT_EQ(HasWarning(policy, "\"newcomer\" is not in the table"), type == "newcomer");
  }
}

TEST(DecideModules, TakesMaskBuffersForBuffers) {
  const Policy policy = Decide(Gpt2(""), Config("gpt2"));
  const Decision* attention = Find(policy, "h.0.attn");
  ASSERT_NE(attention, nullptr);
  EXPECT_EQ(attention->kind, ModuleKind::kBuffer);
  EXPECT_EQ(attention->action, Action::kKeep);
  EXPECT_EQ(attention->bias, "");
  EXPECT_EQ(attention->tensors,
            (std::vector<std::string>{"h.0.attn.bias", "h.0.attn.masked_bias"}));
}

TEST(DecideModules, KeepsEmbeddingsPositionsAndNorms) {
  const Policy policy = Decide(Gpt2("transformer."), Config("gpt2"));
  EXPECT_EQ(Find(policy, "transformer.wte")->kind, ModuleKind::kEmbedding);
  EXPECT_EQ(Find(policy, "transformer.wpe")->kind, ModuleKind::kPosition);
  EXPECT_EQ(Find(policy, "transformer.ln_f")->kind, ModuleKind::kNorm);
  EXPECT_EQ(Find(policy, "transformer.ln_f")->bias, "transformer.ln_f.bias");
  for (const char* name : {"transformer.wte", "transformer.wpe", "transformer.ln_f"}) {
    EXPECT_EQ(Find(policy, name)->action, Action::kKeep) << name;
    EXPECT_EQ(Find(policy, name)->out_features, 0u) << name;
  }
}

TEST(DecideModules, KeepsALinearWhoseBiasDoesNotFitAndWarns) {
  Names names;
  names.Add("h.0.mlp.c_fc.weight", {64, 16}).Add("h.0.mlp.c_fc.bias", {64});  // not Conv1D's order
  const Policy policy = Decide(names, Config("gpt2"));
  EXPECT_EQ(Find(policy, "h.0.mlp.c_fc")->action, Action::kKeep);
  EXPECT_TRUE(HasWarning(policy, "its bias has shape [64]"));
}

// A Conv1D family outside the table: its square weights look like ordinary linears, and are not.
TEST(DecideModules, KeepsWhatMayBeTransposedInAnUnknownType) {
  const Policy policy = Decide(Gpt2(""), Config("newcomer"));
  const Decision* fused = Find(policy, "h.0.attn.c_attn");
  EXPECT_EQ(fused->action, Action::kKeep);
  EXPECT_TRUE(fused->transposed);
  EXPECT_EQ(fused->in_features, 16u);
  EXPECT_EQ(fused->out_features, 48u);
  EXPECT_EQ(fused->bias, "h.0.attn.c_attn.bias");
  for (const char* name : {"h.0.attn.c_proj", "h.0.mlp.c_fc", "h.0.mlp.c_proj"}) {
    EXPECT_EQ(Find(policy, name)->action, Action::kKeep) << name;
  }
  EXPECT_TRUE(
      HasWarning(policy, "1 modules are stored as [in_features, out_features], and 3 more"));
}

TEST(DecideModules, QuantizesLlamaBlocksAndKeepsTheHead) {
  for (const std::string type : {"llama", "mistral", "qwen2", "qwen3", "smollm3"}) {
    Names names;
    names.Add("model.embed_tokens.weight", {100, 16}, DType::kBF16);
    names.Add("model.layers.0.self_attn.q_proj.weight", {16, 16}, DType::kBF16);
    names.Add("model.layers.0.self_attn.q_norm.weight", {8}, DType::kBF16);
    names.Add("model.layers.0.self_attn.rotary_emb.inv_freq", {4}, DType::kF32);
    names.Add("model.layers.0.mlp.down_proj.weight", {16, 40}, DType::kBF16);
    names.Add("lm_head.weight", {100, 16}, DType::kBF16);
    ModelConfig config = Config(type, "LlamaForCausalLM");
    config.tie_word_embeddings = false;
    const Policy policy = Decide(names, config);
    EXPECT_EQ(Find(policy, "model.layers.0.self_attn.q_proj")->action, Action::kQuantize) << type;
    EXPECT_FALSE(Find(policy, "model.layers.0.self_attn.q_proj")->transposed);
    EXPECT_EQ(Find(policy, "model.layers.0.mlp.down_proj")->in_features, 40u);
    EXPECT_EQ(Find(policy, "model.layers.0.self_attn.q_norm")->kind, ModuleKind::kNorm);
    EXPECT_EQ(Find(policy, "model.layers.0.self_attn.rotary_emb")->kind, ModuleKind::kBuffer);
    const Decision* head = Find(policy, "lm_head");
    EXPECT_EQ(head->action, Action::kKeep);
    EXPECT_EQ(head->kind, ModuleKind::kHead);
    EXPECT_EQ(head->out_features, 100u);
  }
}

TEST(DecideModules, DecidesBert) {
  for (const std::string prefix : {"bert.", ""}) {
    Names names;
    names.Add(prefix + "embeddings.position_ids", {1, 32}, DType::kI64);
    names.Add(prefix + "embeddings.word_embeddings.weight", {100, 16});
    names.Add(prefix + "embeddings.position_embeddings.weight", {32, 16});
    names.Add(prefix + "embeddings.token_type_embeddings.weight", {2, 16});
    names.Add(prefix + "embeddings.LayerNorm.gamma", {16});
    names.Add(prefix + "embeddings.LayerNorm.beta", {16});
    names.Add(prefix + "encoder.layer.0.attention.self.query.weight", {16, 16});
    names.Add(prefix + "encoder.layer.0.attention.output.dense.weight", {16, 16});
    names.Add(prefix + "encoder.layer.0.intermediate.dense.weight", {64, 16});
    names.Add(prefix + "encoder.layer.0.output.dense.weight", {16, 64});
    names.Add(prefix + "pooler.dense.weight", {16, 16});
    names.Add("cls.predictions.bias", {100});
    names.Add("cls.predictions.transform.dense.weight", {16, 16});
    names.Add("cls.predictions.decoder.bias", {100});
    names.Add("cls.seq_relationship.weight", {2, 16});
    const Policy policy = Decide(names, Config("bert", "BertForPreTraining"));
    for (const char* linear :
         {"attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense"}) {
      EXPECT_EQ(Find(policy, prefix + "encoder.layer.0." + linear)->action, Action::kQuantize)
          << linear;
    }
    EXPECT_EQ(Find(policy, prefix + "embeddings")->kind, ModuleKind::kBuffer);
    EXPECT_EQ(Find(policy, prefix + "embeddings.LayerNorm")->kind, ModuleKind::kNorm);
    EXPECT_EQ(Find(policy, prefix + "embeddings.position_embeddings")->kind, ModuleKind::kPosition);
    EXPECT_EQ(Find(policy, prefix + "embeddings.token_type_embeddings")->kind,
              ModuleKind::kEmbedding);
    EXPECT_EQ(Find(policy, prefix + "pooler.dense")->action, Action::kKeep);
    EXPECT_EQ(Find(policy, prefix + "pooler.dense")->kind, ModuleKind::kLinear);
    EXPECT_EQ(Find(policy, "cls.predictions.transform.dense")->action, Action::kKeep);
    EXPECT_EQ(Find(policy, "cls.seq_relationship")->kind, ModuleKind::kHead);
    const Decision* decoder = Find(policy, "cls.predictions.decoder");
    EXPECT_EQ(decoder->action, Action::kTie);
    EXPECT_EQ(decoder->tied_to, prefix + "embeddings.word_embeddings");
    EXPECT_EQ(decoder->bias, "cls.predictions.decoder.bias");
  }
}

TEST(DecideModules, KeepsTheOneSensitiveLinearOfT5) {
  Names names;
  names.Add("shared.weight", {100, 16});
  names.Add("encoder.block.0.layer.0.SelfAttention.q.weight", {16, 16});
  names.Add("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", {32, 4});
  names.Add("encoder.block.0.layer.1.DenseReluDense.wi.weight", {32, 16});
  names.Add("encoder.block.0.layer.1.DenseReluDense.wo.weight", {16, 32});
  const Policy policy = Decide(names, Config("t5", "T5ForConditionalGeneration"));
  const std::string block = "encoder.block.0.layer.";
  EXPECT_EQ(Find(policy, block + "0.SelfAttention.q")->action, Action::kQuantize);
  EXPECT_EQ(Find(policy, block + "1.DenseReluDense.wi")->action, Action::kQuantize);
  EXPECT_EQ(Find(policy, block + "1.DenseReluDense.wo")->action, Action::kKeep);
  EXPECT_NE(Find(policy, block + "1.DenseReluDense.wo")->reason.find("overflows"),
            std::string::npos);
  EXPECT_EQ(Find(policy, block + "0.SelfAttention.relative_attention_bias")->kind,
            ModuleKind::kPosition);
  EXPECT_EQ(Find(policy, "lm_head")->tied_to, "shared");
}

TEST(DecideModules, KeepsAllOfATowerThatTheTableNames) {
  Names names;
  names.Add("vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", {32, 16});
  names.Add("language_model.model.layers.0.mlp.up_proj.weight", {32, 16});
  const Policy policy = Decide(names, Config("gemma3"));
  EXPECT_EQ(Find(policy, "vision_tower.vision_model.encoder.layers.0.mlp.fc1")->action,
            Action::kKeep);
  EXPECT_EQ(Find(policy, "language_model.model.layers.0.mlp.up_proj")->action, Action::kQuantize);
}

TEST(DecideModules, UsesTheGeneralRulesForAnUnknownType) {
  Names names;
  names.Add("tok_embeddings.weight", {100, 16});
  names.Add("layers.0.attention.wq.weight", {16, 16});
  names.Add("layers.0.moe.gate.weight", {4, 16});
  names.Add("layers.0.ffn.router.layer.weight", {4, 16});
  names.Add("transformer.shared.weight", {100, 16});
  names.Add("embed_tokens.3.weight", {100, 16});
  names.Add("text.segment_emb.weight", {2, 16});
  names.Add("decoder.mask_tokens.weight", {4, 16});
  names.Add("quantizers.0.codebook.weight", {64, 16});
  names.Add("layers.0.attention.relative_attention_bias.weight", {8, 4});
  names.Add("layers.0.conv1d.weight", {16, 4});
  names.Add("layers.0.patch.weight", {16, 3, 4, 4});
  names.Add("layers.0.A_log", {16, 4});
  names.Add("layers.0.ids.weight", {16, 4}, DType::kI64);
  names.Add("layers.0.wide.weight", {16, 4}, DType::kF64);
  names.Add("output.weight", {100, 16});
  const Policy policy = Decide(names, Config(""));
  EXPECT_EQ(policy.architecture, nullptr);
  EXPECT_TRUE(HasWarning(policy, "the general rules decided"));
  EXPECT_EQ(Find(policy, "layers.0.attention.wq")->action, Action::kQuantize);
  EXPECT_EQ(Find(policy, "layers.0.attention.wq")->reason, "linear, by the general rules");
  EXPECT_EQ(Find(policy, "layers.0.moe.gate")->kind, ModuleKind::kRouter);
  EXPECT_EQ(Find(policy, "layers.0.ffn.router.layer")->kind, ModuleKind::kRouter);
  for (const char* name : {"embed_tokens.3", "transformer.shared", "text.segment_emb",
                           "decoder.mask_tokens", "quantizers.0.codebook"}) {
    EXPECT_EQ(Find(policy, name)->kind, ModuleKind::kEmbedding) << name;
  }
  EXPECT_EQ(Find(policy, "layers.0.attention.relative_attention_bias")->kind,
            ModuleKind::kPosition);
  EXPECT_EQ(Find(policy, "layers.0.conv1d")->kind, ModuleKind::kConvolution);
  EXPECT_EQ(Find(policy, "layers.0.patch")->kind, ModuleKind::kConvolution);
  EXPECT_EQ(Find(policy, "output")->kind, ModuleKind::kHead);
  for (const Decision& decision : policy.decisions) {
    EXPECT_EQ(decision.action == Action::kQuantize, decision.module == "layers.0.attention.wq")
        << decision.module;
  }
}

TEST(DecideModules, TakesExpertsOnlyWhereTheTableKnowsTheirOrientation) {
  Names names;
  names.Add("model.layers.0.mlp.experts.gate_up_proj", {4, 16, 16});
  names.Add("model.layers.0.mlp.experts.gate_up_proj_bias", {4, 16});
  names.Add("model.layers.0.mlp.experts.down_proj", {4, 16, 8});
  names.Add("model.layers.0.mlp.gate.weight", {4, 16});
  const std::string module = "model.layers.0.mlp.experts.gate_up_proj";

  const Policy qwen = Decide(names, Config("qwen3_moe"));
  EXPECT_EQ(Find(qwen, module)->action, Action::kQuantize);
  EXPECT_EQ(Find(qwen, module)->kind, ModuleKind::kExperts);
  EXPECT_FALSE(Find(qwen, module)->transposed);
  EXPECT_EQ(Find(qwen, module)->experts, 4u);
  EXPECT_EQ(Find(qwen, module)->bias, module + "_bias");
  EXPECT_EQ(Find(qwen, "model.layers.0.mlp.experts.down_proj")->in_features, 8u);
  EXPECT_EQ(Find(qwen, "model.layers.0.mlp.gate")->kind, ModuleKind::kRouter);

  const Policy llama4 = Decide(names, Config("llama4_text"));
  EXPECT_TRUE(Find(llama4, module)->transposed);
  EXPECT_EQ(Find(llama4, "model.layers.0.mlp.experts.down_proj")->in_features, 16u);

  const Policy unknown = Decide(names, Config("somebody_s_moe"));
  EXPECT_EQ(Find(unknown, module)->action, Action::kKeep);
  EXPECT_NE(Find(unknown, module)->reason.find("orientation"), std::string::npos);
}

TEST(DecideModules, TakesExpertsThatAreCalledWeight) {
  Names names;
  const std::string module = "model.layers.0.block_sparse_moe.input_linear";
  names.Add(module + ".weight", {4, 32, 16});
  const Policy granite = Decide(names, Config("granitemoe"));
  EXPECT_EQ(Find(granite, module)->action, Action::kQuantize);
  EXPECT_EQ(Find(granite, module)->kind, ModuleKind::kExperts);
  EXPECT_EQ(Find(granite, module)->experts, 4u);
  EXPECT_EQ(Find(granite, module)->in_features, 16u);
  EXPECT_EQ(Find(Decide(names, Config("newcomer")), module)->action, Action::kKeep);
}

TEST(DecideModules, AddsSkipPatternsToTheDefaults) {
  PolicyOptions options;
  options.skip_modules = {"h.0.mlp"};
  Names names = Gpt2("transformer.");
  names.Add("lm_head.weight", {99, 16});
  const Policy policy = Decide(names, Config("gpt2", "GPT2LMHeadModel"), options);
  EXPECT_EQ(Find(policy, "transformer.h.0.mlp.c_fc")->action, Action::kKeep);
  EXPECT_TRUE(Find(policy, "transformer.h.0.mlp.c_fc")->transposed);
  EXPECT_EQ(Find(policy, "transformer.h.0.mlp.c_fc")->reason, "kept by request: \"h.0.mlp\"");
  EXPECT_EQ(Find(policy, "transformer.h.0.attn.c_attn")->action, Action::kQuantize);
  EXPECT_EQ(Find(policy, "lm_head")->action, Action::kKeep);
}

TEST(DecideModules, OnlySkipReplacesHeadsAndKeptLinearsButNothingElse) {
  PolicyOptions options;
  options.only_skip = true;
  options.skip_modules = {"pooler.dense"};
  Names names;
  names.Add("bert.embeddings.word_embeddings.weight", {100, 16});
  names.Add("bert.pooler.dense.weight", {16, 16});
  names.Add("cls.predictions.transform.dense.weight", {16, 16});
  names.Add("classifier.weight", {3, 16});
  const Policy policy = Decide(names, Config("bert", "BertForSequenceClassification"), options);
  EXPECT_EQ(Find(policy, "bert.pooler.dense")->action, Action::kKeep);
  EXPECT_EQ(Find(policy, "cls.predictions.transform.dense")->action, Action::kQuantize);
  EXPECT_EQ(Find(policy, "classifier")->action, Action::kQuantize);
  EXPECT_EQ(Find(policy, "bert.embeddings.word_embeddings")->action, Action::kKeep);
}

TEST(DecideModules, WarnsOfAPatternThatMatchesNothing) {
  PolicyOptions options;
  options.skip_modules = {"h.7"};
  EXPECT_TRUE(HasWarning(Decide(Gpt2(""), Config("gpt2"), options), "\"h.7\" matches no module"));
}

TEST(DecideModules, RefusesMalformedPatterns) {
  for (const std::string pattern : {"", "h..0", ".h", "c_*", "h.[0-9]"}) {
    PolicyOptions options;
    options.skip_modules = {pattern};
    const Result<Policy> policy = DecideModules(Gpt2("").tensors(), Config("gpt2"), options);
    EXPECT_EQ(policy.code(), ErrorCode::kInvalidArgument) << pattern;
  }
}

TEST(DecideModules, RefusesQuantizedSources) {
  const auto code = [](const Names& names, const ModelConfig& config) {
    return DecideModules(names.tensors(), config, {}).code();
  };
  ModelConfig config = Config("llama");
  config.quant_method = "gptq";
  EXPECT_EQ(code(Names().Add("a.weight", {4, 4}), config), ErrorCode::kRefused);
  EXPECT_EQ(code(Names().Add("a.weight", {4, 4}, DType::kI8), Config("llama")),
            ErrorCode::kRefused);
  EXPECT_EQ(code(Names().Add("a.weight", {4, 4}, DType::kF8E4M3), Config("llama")),
            ErrorCode::kRefused);
  EXPECT_EQ(code(Names().Add("a.SCB", {4}, DType::kF32), Config("llama")), ErrorCode::kRefused);
  EXPECT_EQ(code(Names().Add("a.weight_scale_inv", {1, 1}), Config("llama")), ErrorCode::kRefused);
  EXPECT_EQ(code(Names().Add("a.mask", {4}, DType::kU8), Config("llama")), ErrorCode::kOk);
}

TEST(MatchesModule, MatchesWholeComponents) {
  EXPECT_TRUE(MatchesModule("lm_head", "lm_head"));
  EXPECT_TRUE(MatchesModule("c_attn", "h.0.attn.c_attn"));
  EXPECT_TRUE(MatchesModule("h.0", "transformer.h.0.attn.c_attn"));
  EXPECT_TRUE(MatchesModule("layers.*.mlp", "model.layers.11.mlp.down_proj"));
  EXPECT_TRUE(MatchesModule("*", "anything.at.all"));
  EXPECT_FALSE(MatchesModule("c_attn", "h.0.attn.my_c_attn"));
  EXPECT_FALSE(MatchesModule("h.1", "h.11.attn"));
  EXPECT_FALSE(MatchesModule("h.0.attn", "h.0"));
  EXPECT_FALSE(MatchesModule("layers.*.mlp", "layers.mlp"));
  EXPECT_FALSE(MatchesModule("layers.*.mlp", "layers.0.x.mlp"));
  EXPECT_FALSE(MatchesModule("", "h"));
}

TEST(KnownArchitectures, NamesEachModelTypeOnceAndKeepsTransposedAmongLinears) {
  std::vector<std::string_view> seen;
  for (const ArchitectureFacts& facts : KnownArchitectures()) {
    for (const std::string_view type : facts.model_types) {
      EXPECT_EQ(std::ranges::count(seen, type), 0) << type;
      seen.push_back(type);
      EXPECT_EQ(FindArchitecture(type), &facts);
    }
    for (const std::string_view name : facts.transposed) {
      EXPECT_NE(std::ranges::find(facts.linears, name), facts.linears.end()) << name;
    }
  }
  EXPECT_EQ(FindArchitecture(""), nullptr);
  EXPECT_EQ(FindArchitecture("newcomer"), nullptr);
}

}  // namespace
}  // namespace octavo::quant
