// Decoders with mixtures of experts: one paragraph of names and one row for each family.
#include "libquant/architectures.h"

namespace octavo::quant {
namespace {

constexpr Names kDecoderHeads = {"lm_head", "score", "classifier", "qa_outputs"};
// All experts in one tensor, as transformers 5 keeps them in memory.
constexpr Names kExpertTensors = {"experts.gate_up_proj", "experts.down_proj"};

constexpr Names kMixtralTypes = {"mixtral"};
constexpr Names kMixtralLinears = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "experts.*.w1",     "experts.*.w2",     "experts.*.w3",
};

constexpr Names kPhiMoeTypes = {"phimoe"};

constexpr Names kQwenMoeTypes = {"qwen2_moe", "qwen3_moe"};
constexpr Names kOlmoeTypes = {"olmoe"};
constexpr Names kQwenMoeLinears = {
    "self_attn.q_proj",        "self_attn.k_proj",        "self_attn.v_proj",
    "self_attn.o_proj",        "mlp.gate_proj",           "mlp.up_proj",
    "mlp.down_proj",           "experts.*.gate_proj",     "experts.*.up_proj",
    "experts.*.down_proj",     "shared_expert.gate_proj", "shared_expert.up_proj",
    "shared_expert.down_proj",
};

constexpr Names kDeepSeekTypes = {"deepseek_v2", "deepseek_v3"};
constexpr Names kDeepSeekLinears = {
    "self_attn.q_proj",
    "self_attn.q_a_proj",
    "self_attn.q_b_proj",
    "self_attn.kv_a_proj_with_mqa",
    "self_attn.kv_b_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
    "experts.*.gate_proj",
    "experts.*.up_proj",
    "experts.*.down_proj",
    "shared_experts.gate_proj",
    "shared_experts.up_proj",
    "shared_experts.down_proj",
};
constexpr Names kDeepSeekHeads = {"lm_head", "score", "classifier", "qa_outputs",
                                  "shared_head.head"};
constexpr KeptLinear kDeepSeekKeep[] = {
    {"eh_proj",
     "joins two states ahead of the block that predicts a further token: little to gain"},
};

constexpr Names kGlmMoeTypes = {"glm4_moe"};
constexpr Names kGlmMoeLinears = {
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
    "experts.*.gate_proj",
    "experts.*.up_proj",
    "experts.*.down_proj",
    "shared_experts.gate_proj",
    "shared_experts.up_proj",
    "shared_experts.down_proj",
};

constexpr Names kGraniteMoeTypes = {"granitemoe"};
constexpr Names kGraniteMoeLinears = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                      "self_attn.o_proj"};
constexpr Names kGraniteMoeExperts = {"block_sparse_moe.input_linear",
                                      "block_sparse_moe.output_linear", "experts.gate_up_proj",
                                      "experts.down_proj"};

constexpr Names kLlama4Types = {"llama4_text"};
constexpr Names kLlama4Linears = {
    "self_attn.q_proj",        "self_attn.k_proj",        "self_attn.v_proj",
    "self_attn.o_proj",        "feed_forward.gate_proj",  "feed_forward.up_proj",
    "feed_forward.down_proj",  "shared_expert.gate_proj", "shared_expert.up_proj",
    "shared_expert.down_proj",
};

constexpr Names kGptOssTypes = {"gpt_oss"};
constexpr Names kGptOssLinears = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                  "self_attn.o_proj"};

constexpr ArchitectureFacts kArchitectures[] = {
    {
        .name = "Mixtral",
        .model_types = kMixtralTypes,
        .linears = kMixtralLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .experts = kExpertTensors,
        .notes = "Expert weights are single linears (`block_sparse_moe.experts.0.w1`) or one "
                 "tensor for all experts. The router `block_sparse_moe.gate` or `mlp.gate` stays "
                 "exact.",
    },
    {
        .name = "Qwen MoE",
        .model_types = kQwenMoeTypes,
        .linears = kQwenMoeLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .experts = kExpertTensors,
        .notes = "Expert weights are single linears (`experts.0.gate_proj`) or one tensor for all "
                 "experts, [experts, out_features, in_features]. The routers `mlp.gate` and "
                 "`mlp.shared_expert_gate` choose experts and stay exact.",
    },
    {
        .name = "OLMoE",
        .model_types = kOlmoeTypes,
        .linears = kQwenMoeLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .experts = kExpertTensors,
        .notes = "Qwen MoE's layout without shared experts.",
    },
    {
        .name = "Phi-3.5 MoE",
        .model_types = kPhiMoeTypes,
        .linears = kMixtralLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .experts = kExpertTensors,
        .notes = "Mixtral's layout; the head has a bias.",
    },
    {
        .name = "GLM-4 MoE",
        .model_types = kGlmMoeTypes,
        .linears = kGlmMoeLinears,
        .heads = kDeepSeekHeads,
        .keep = kDeepSeekKeep,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .experts = kExpertTensors,
        .notes = "Grouped attention, DeepSeek's experts, and the block behind the last one.",
    },
    {
        .name = "Granite MoE",
        .model_types = kGraniteMoeTypes,
        .linears = kGraniteMoeLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .experts = kGraniteMoeExperts,
        .notes =
            "All experts are one tensor, [experts, out_features, in_features], which is called "
            "`input_linear.weight` or `output_linear.weight`. The router "
            "`block_sparse_moe.router.layer` stays exact.",
    },
    {
        .name = "DeepSeek",
        .model_types = kDeepSeekTypes,
        .linears = kDeepSeekLinears,
        .heads = kDeepSeekHeads,
        .keep = kDeepSeekKeep,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .experts = kExpertTensors,
        .notes = "Latent attention: q and kv go through a narrow linear and a wide one, with a "
                 "norm between them. Expert weights are single linears or one tensor for all "
                 "experts. The router `mlp.gate` and its `e_score_correction_bias` stay exact. "
                 "The block behind the last one (`eh_proj`, `shared_head`), which transformers "
                 "leaves out, is converted like the others. Checkpoints in fp8 are refused: "
                 "convert the bf16 ones.",
    },
    {
        .name = "Llama 4 (text)",
        .model_types = kLlama4Types,
        .linears = kLlama4Linears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .experts = kExpertTensors,
        .experts_transposed = true,
        .notes =
            "Expert tensors are [experts, in_features, out_features] and are transposed expert "
            "by expert; the linears beside them are not.",
    },
    {
        .name = "GPT-OSS",
        .model_types = kGptOssTypes,
        .linears = kGptOssLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .experts = kExpertTensors,
        .experts_transposed = true,
        .notes = "Expert tensors are [experts, in_features, out_features] and have biases "
                 "(`gate_up_proj_bias`); gate and up take turns in their outputs, which scales by "
                 "output do not mind. Checkpoints in mxfp4 are refused: convert the bf16 ones.",
    },
};

}  // namespace

std::span<const ArchitectureFacts> ExpertArchitectures() { return kArchitectures; }

}  // namespace octavo::quant
