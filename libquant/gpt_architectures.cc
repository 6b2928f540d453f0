// GPT-2 and the decoders of its time: one paragraph of names and one row for each family.
#include "libquant/architectures.h"

namespace octavo::quant {
namespace {

// ---- GPT-2
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
constexpr Names kGpt2Heads = {"lm_head", "score", "classifier", "qa_outputs",
                              "multiple_choice_head.summary"};

constexpr Names kOpenAiGptTypes = {"openai-gpt"};
constexpr Names kBigCodeTypes = {"gpt_bigcode"};
constexpr Names kGptLinears = {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"};

// ---- GPT-Neo, GPT-J, CodeGen, MPT
constexpr Names kGptNeoTypes = {"gpt_neo"};
constexpr Names kGptNeoLinears = {
    "attn.attention.q_proj",
    "attn.attention.k_proj",
    "attn.attention.v_proj",
    "attn.attention.out_proj",
    "mlp.c_fc",
    "mlp.c_proj",
};
constexpr Names kGptJTypes = {"gptj"};
constexpr Names kGptJLinears = {
    "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj", "mlp.fc_in", "mlp.fc_out",
};

constexpr Names kCodeGenTypes = {"codegen"};
constexpr Names kCodeGenLinears = {"attn.qkv_proj", "attn.out_proj", "mlp.fc_in", "mlp.fc_out"};
constexpr Names kMptTypes = {"mpt"};
constexpr Names kMptLinears = {"attn.Wqkv", "attn.out_proj", "ffn.up_proj", "ffn.down_proj"};

// ---- GPT-NeoX, BLOOM, Falcon: q, k and v in one weight
constexpr Names kNeoXTypes = {"gpt_neox"};
constexpr Names kNeoXLinears = {"attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h",
                                "mlp.dense_4h_to_h"};
constexpr Names kNeoXHeads = {"embed_out", "lm_head", "score", "classifier", "qa_outputs"};
constexpr Names kBloomTypes = {"bloom"};
constexpr Names kFalconTypes = {"falcon"};
constexpr Names kBloomLinears = {"self_attention.query_key_value", "self_attention.dense",
                                 "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"};

// ---- OPT
constexpr Names kOptTypes = {"opt"};
constexpr Names kOptLinears = {
    "self_attn.q_proj",   "self_attn.k_proj", "self_attn.v_proj",
    "self_attn.out_proj", "layers.*.fc1",     "layers.*.fc2",
};
constexpr KeptLinear kOptKeep[] = {
    {"project_in", "between the embedding and the first block: little to gain"},
    {"project_out", "between the last block and the head: little to gain"},
};

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
        .name = "OpenAI GPT",
        .model_types = kOpenAiGptTypes,
        .linears = kGptLinears,
        .transposed = kGptLinears,
        .heads = kGpt2Heads,
        .tied_head = "lm_head",
        .tied_to = "tokens_embed",
        .tied_by_default = true,
        .notes = "The first GPT: Conv1D as in GPT-2.",
    },
    {
        .name = "GPT-BigCode (StarCoder)",
        .model_types = kBigCodeTypes,
        .linears = kGptLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "wte",
        .tied_by_default = true,
        .notes = "GPT-2's names with ordinary linears.",
    },
    {
        .name = "GPT-Neo",
        .model_types = kGptNeoTypes,
        .linears = kGptNeoLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "wte",
        .tied_by_default = true,
        .notes = "GPT-2's names with ordinary linears. `attn.attention.bias` and "
                 "`attn.attention.masked_bias` of old checkpoints are masks.",
    },
    {
        .name = "GPT-J",
        .model_types = kGptJTypes,
        .linears = kGptJLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "wte",
        .notes = "The head has a bias. `attn.bias` and `attn.masked_bias` of old checkpoints are "
                 "masks.",
    },
    {
        .name = "CodeGen",
        .model_types = kCodeGenTypes,
        .linears = kCodeGenLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "wte",
        .notes = "GPT-J with q, k and v in one weight.",
    },
    {
        .name = "MPT",
        .model_types = kMptTypes,
        .linears = kMptLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "wte",
        .tied_by_default = true,
        .notes = "q, k and v are one weight.",
    },
    {
        .name = "GPT-NeoX and Pythia",
        .model_types = kNeoXTypes,
        .linears = kNeoXLinears,
        .heads = kNeoXHeads,
        .tied_head = "embed_out",
        .tied_to = "embed_in",
        .notes = "q, k and v are one weight whose rows go head by head; every row has its own "
                 "scale, so their order does not matter. `attention.bias`, "
                 "`attention.masked_bias` and `attention.rotary_emb.inv_freq` are buffers.",
    },
    {
        .name = "OPT",
        .model_types = kOptTypes,
        .linears = kOptLinears,
        .heads = kDecoderHeads,
        .keep = kOptKeep,
        .tied_head = "lm_head",
        .tied_to = "embed_tokens",
        .tied_by_default = true,
        .notes = "The `model.` prefix may be missing. Only OPT-350m has `project_in` and "
                 "`project_out`.",
    },
    {
        .name = "BLOOM",
        .model_types = kBloomTypes,
        .linears = kBloomLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "word_embeddings",
        .tied_by_default = true,
        .notes = "q, k and v are one weight whose rows go head by head. The `transformer.` prefix "
                 "may be missing.",
    },
    {
        .name = "Falcon",
        .model_types = kFalconTypes,
        .linears = kBloomLinears,
        .heads = kDecoderHeads,
        .tied_head = "lm_head",
        .tied_to = "word_embeddings",
        .tied_by_default = true,
        .notes = "The rows of `query_key_value` are q, k and v head by head, all of q before one k "
                 "and one v (multi-query), or group by group (new decoder): one weight each time.",
    },
};

}  // namespace

std::span<const ArchitectureFacts> GptArchitectures() { return kArchitectures; }

}  // namespace octavo::quant
