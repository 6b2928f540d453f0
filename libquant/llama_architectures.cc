// Llama and the decoders since: one paragraph of names and one row for each family.
#include "libquant/architectures.h"

namespace octavo::quant {
namespace {

// ---- Llama and what shares its layout
constexpr Names kLlamaTypes = {"llama", "mistral", "qwen2",   "qwen3",   "olmo",
                               "olmo2", "olmo3",   "granite", "stablelm"};
constexpr Names kSmolLm3Types = {"smollm3"};
constexpr Names kCohereTypes = {"cohere", "cohere2"};
constexpr Names kStarCoder2Types = {"starcoder2"};
constexpr Names kStarCoder2Linears = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
    "self_attn.o_proj", "mlp.c_fc",         "mlp.c_proj",
};
constexpr Names kGlmTypes = {"glm", "glm4"};
constexpr Names kGlmLinears = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
    "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj",
};
constexpr Names kGemmaTypes = {"gemma", "gemma2", "gemma3_text"};
constexpr Names kGemma3Types = {"gemma3"};
constexpr Names kLlamaLinears = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj",
};
constexpr KeptLinear kVisionKeep[] = {
    {"vision_tower",
     "part of the vision tower: small beside the text model, runs once for an image"},
};

// ---- Phi
constexpr Names kPhiTypes = {"phi"};
constexpr Names kPhiLinears = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
    "self_attn.dense",  "mlp.fc1",          "mlp.fc2",
};
constexpr Names kPhi3Types = {"phi3"};
constexpr Names kPhi3Linears = {"self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj",
                                "mlp.down_proj"};

constexpr ArchitectureFacts kArchitectures[] = {
    {
        .name = "Llama",
        .model_types = kLlamaTypes,
        .linears = kLlamaLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .notes = "Small models of the family tie the head, large ones have their own: config.json "
                 "says which. SmolLM and SmolLM2 are of type `llama`; OLMo, Granite and StableLM "
                 "differ in norms alone.",
    },
    {
        .name = "SmolLM3",
        .model_types = kSmolLm3Types,
        .linears = kLlamaLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .tied_by_default = true,
        .notes = "Llama's layout; the head is tied unless config.json says otherwise.",
    },
    {
        .name = "Cohere Command",
        .model_types = kCohereTypes,
        .linears = kLlamaLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .tied_by_default = true,
        .notes = "Llama's layout.",
    },
    {
        .name = "StarCoder2",
        .model_types = kStarCoder2Types,
        .linears = kStarCoder2Linears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .tied_by_default = true,
        .notes = "`mlp.c_fc` and `mlp.c_proj` are ordinary linears.",
    },
    {
        .name = "GLM-4",
        .model_types = kGlmTypes,
        .linears = kGlmLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .notes = "gate and up are one weight.",
    },
    {
        .name = "Gemma",
        .model_types = kGemmaTypes,
        .linears = kLlamaLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .tied_by_default = true,
        .notes = "Llama's layout. Norms multiply by 1 + w; they are stored as they are.",
    },
    {
        .name = "Gemma 3 (images and text)",
        .model_types = kGemma3Types,
        .linears = kLlamaLinears,
        .heads = kDecoderHeads,
        .keep = kVisionKeep,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .tied_by_default = true,
        .notes = "The text model is Gemma's. `multi_modal_projector.mm_input_projection_weight` is "
                 "a loose parameter beside the vision tower and stays too.",
    },
    {
        .name = "Phi",
        .model_types = kPhiTypes,
        .linears = kPhiLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .notes = "Phi-1, 1.5 and 2. The head has a bias.",
    },
    {
        .name = "Phi-3",
        .model_types = kPhi3Types,
        .linears = kPhi3Linears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .notes = "q, k and v are one weight, gate and up another; Phi-4 is of this type too.",
    },
};

}  // namespace

std::span<const ArchitectureFacts> LlamaArchitectures() { return kArchitectures; }

}  // namespace octavo::quant
