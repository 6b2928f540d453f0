// The table of facts about model families: everything that cannot be told from a tensor's name and
// shape. One paragraph of names and one row for each family; docs/architectures.md is generated
// from it.
#include <algorithm>

#include "octavo/policy.h"

namespace octavo::quant {
namespace {

using Names = std::string_view[];

// ---- GPT-2 ------------------------------------------------------------------------------------
constexpr Names kGpt2Types = {"gpt2"};
constexpr Names kGpt2Linears = {
    "attn.c_attn",
    "attn.c_proj",
    "mlp.c_fc",
    "mlp.c_proj",
    "crossattention.c_attn",
    "crossattention.q_attn",
    "crossattention.c_proj",
};
constexpr Names kGpt2Heads = {"lm_head", "score", "multiple_choice_head.summary"};

// ---- Llama and what shares its layout
// ------------------------------------------------------------
constexpr Names kLlamaTypes = {"llama", "mistral", "qwen2", "qwen3"};
constexpr Names kSmolLm3Types = {"smollm3"};
constexpr Names kLlamaLinears = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj",
};
constexpr Names kLlamaHeads = {"lm_head", "score", "qa_outputs"};

// ---- Mixtures of experts over Llama's attention
// ----------------------------------------------------
constexpr Names kQwenMoeTypes = {"qwen2_moe", "qwen3_moe"};
constexpr Names kQwenMoeLinears = {
    "self_attn.q_proj",        "self_attn.k_proj",        "self_attn.v_proj",
    "self_attn.o_proj",        "mlp.gate_proj",           "mlp.up_proj",
    "mlp.down_proj",           "experts.*.gate_proj",     "experts.*.up_proj",
    "experts.*.down_proj",     "shared_expert.gate_proj", "shared_expert.up_proj",
    "shared_expert.down_proj",
};
constexpr Names kExpertTensors = {"experts.gate_up_proj", "experts.down_proj"};

constexpr Names kLlama4Types = {"llama4_text"};
constexpr Names kLlama4Linears = {
    "self_attn.q_proj",        "self_attn.k_proj",        "self_attn.v_proj",
    "self_attn.o_proj",        "feed_forward.gate_proj",  "feed_forward.up_proj",
    "feed_forward.down_proj",  "shared_expert.gate_proj", "shared_expert.up_proj",
    "shared_expert.down_proj",
};

// ---- BERT -------------------------------------------------------------------------------------
constexpr Names kBertTypes = {"bert"};
constexpr Names kBertLinears = {
    "attention.self.query",      "attention.self.key",          "attention.self.value",
    "attention.output.dense",    "crossattention.self.query",   "crossattention.self.key",
    "crossattention.self.value", "crossattention.output.dense", "intermediate.dense",
    "layer.*.output.dense",
};
constexpr Names kBertHeads = {"predictions.decoder", "seq_relationship", "classifier",
                              "qa_outputs"};
constexpr Names kBertKeep = {"pooler.dense", "predictions.transform.dense"};

constexpr ArchitectureFacts kArchitectures[] = {
    {
        .name = "GPT-2",
        .model_types = kGpt2Types,
        .linears = kGpt2Linears,
        .transposed = kGpt2Linears,
        .heads = kGpt2Heads,
        .tied_head = "lm_head",
        .tied_to = "wte",
        .tied_by_default = true,
        .notes = "Every linear is a Conv1D, whose weight is [in_features, out_features] and is "
                 "transposed on the way; GPT-Neo uses the same names for ordinary linears, so the "
                 "model type decides, never the shape. `attn.bias` and `attn.masked_bias` of old "
                 "checkpoints are masks, not biases. The `transformer.` prefix may be missing.",
    },
    {
        .name = "Llama",
        .model_types = kLlamaTypes,
        .linears = kLlamaLinears,
        .heads = kLlamaHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .notes = "Small models of the family tie the head, large ones have their own: config.json "
                 "says which.",
    },
    {
        .name = "SmolLM3",
        .model_types = kSmolLm3Types,
        .linears = kLlamaLinears,
        .heads = kLlamaHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .tied_by_default = true,
        .notes = "Llama's layout; the head is tied unless config.json says otherwise.",
    },
    {
        .name = "Qwen MoE",
        .model_types = kQwenMoeTypes,
        .linears = kQwenMoeLinears,
        .heads = kLlamaHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .experts = kExpertTensors,
        .notes = "Expert weights are single linears (`experts.0.gate_proj`) or one tensor for all "
                 "experts, [experts, out_features, in_features]. The routers `mlp.gate` and "
                 "`mlp.shared_expert_gate` choose experts and stay exact.",
    },
    {
        .name = "Llama 4 (text)",
        .model_types = kLlama4Types,
        .linears = kLlama4Linears,
        .heads = kLlamaHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .experts = kExpertTensors,
        .experts_transposed = true,
        .notes =
            "Expert tensors are [experts, in_features, out_features] and are transposed expert "
            "by expert; the linears beside them are not.",
    },
    {
        .name = "BERT",
        .model_types = kBertTypes,
        .linears = kBertLinears,
        .heads = kBertHeads,
        .keep = kBertKeep,
        .keep_reason = "outside the encoder blocks, next to the head: little to gain",
        .tied_head = "cls.predictions.decoder",
        .tied_to = "embeddings.word_embeddings",
        .tied_by_default = true,
        .notes = "`pooler.dense` and `cls.predictions.transform.dense` are linears, but they run "
                 "once behind the last block, feed the output directly and hold about one "
                 "percent of the weights: they stay in 16 bit. `embeddings.position_ids` is a "
                 "buffer. The `bert.` prefix may be missing.",
    },
};

}  // namespace

std::span<const ArchitectureFacts> KnownArchitectures() { return kArchitectures; }

const ArchitectureFacts* FindArchitecture(std::string_view model_type) {
  for (const ArchitectureFacts& facts : kArchitectures) {
    if (std::ranges::find(facts.model_types, model_type) != facts.model_types.end()) return &facts;
  }
  return nullptr;
}

}  // namespace octavo::quant
