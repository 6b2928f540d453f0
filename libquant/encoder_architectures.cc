// Encoders, and encoders with decoders: one paragraph of names and one row for each family.
#include "libquant/architectures.h"

namespace octavo::quant {
namespace {

constexpr std::string_view kNextToTheHead = "outside the blocks, next to the head: little to gain";

// ---- BERT
constexpr Names kBertTypes = {"bert"};
constexpr Names kRobertaTypes = {"roberta", "xlm-roberta", "camembert"};
constexpr Names kBertLinears = {
    "attention.self.query",      "attention.self.key",          "attention.self.value",
    "attention.output.dense",    "crossattention.self.query",   "crossattention.self.key",
    "crossattention.self.value", "crossattention.output.dense", "intermediate.dense",
    "layer.*.output.dense",
};
constexpr Names kBertHeads = {"predictions.decoder", "seq_relationship", "classifier",
                              "qa_outputs"};
constexpr KeptLinear kBertKeep[] = {
    {"pooler.dense", kNextToTheHead},
    {"predictions.transform.dense", kNextToTheHead},
};

// ---- RoBERTa and MPNet: other heads over BERT's blocks
constexpr Names kRobertaHeads = {"lm_head.decoder", "classifier.out_proj", "classifier",
                                 "qa_outputs"};
constexpr KeptLinear kRobertaKeep[] = {
    {"pooler.dense", kNextToTheHead},
    {"lm_head.dense", kNextToTheHead},
    {"classifier.dense", kNextToTheHead},
};
constexpr Names kMpnetTypes = {"mpnet"};
constexpr Names kMpnetLinears = {
    "attention.attn.q", "attention.attn.k",   "attention.attn.v",
    "attention.attn.o", "intermediate.dense", "layer.*.output.dense",
};

// ---- DistilBERT and ELECTRA
constexpr Names kDistilBertTypes = {"distilbert"};
constexpr Names kDistilBertLinears = {
    "attention.q_lin",   "attention.k_lin", "attention.v_lin",
    "attention.out_lin", "ffn.lin1",        "ffn.lin2",
};
constexpr Names kDistilBertHeads = {"vocab_projector", "classifier", "qa_outputs"};
constexpr KeptLinear kDistilBertKeep[] = {
    {"vocab_transform", kNextToTheHead},
    {"pre_classifier", kNextToTheHead},
};
constexpr Names kElectraTypes = {"electra"};
constexpr Names kElectraHeads = {"generator_lm_head", "discriminator_predictions.dense_prediction",
                                 "classifier.out_proj", "classifier", "qa_outputs"};
constexpr KeptLinear kElectraKeep[] = {
    {"embeddings_project", "between the embedding and the first block: little to gain"},
    {"generator_predictions.dense", kNextToTheHead},
    {"discriminator_predictions.dense", kNextToTheHead},
    {"classifier.dense", kNextToTheHead},
};

// ---- BART and what shares its layout
constexpr Names kBartTypes = {"bart", "mbart", "marian", "pegasus", "m2m_100"};
constexpr Names kBartLinears = {
    "self_attn.q_proj",    "self_attn.k_proj",    "self_attn.v_proj",    "self_attn.out_proj",
    "encoder_attn.q_proj", "encoder_attn.k_proj", "encoder_attn.v_proj", "encoder_attn.out_proj",
    "layers.*.fc1",        "layers.*.fc2",
};
constexpr Names kBartHeads = {"lm_head", "classification_head.out_proj", "classifier",
                              "qa_outputs"};
constexpr KeptLinear kBartKeep[] = {
    {"classification_head.dense", kNextToTheHead},
};

// ---- T5
constexpr Names kT5Types = {"t5", "mt5", "umt5"};
constexpr Names kT5Linears = {
    "SelfAttention.q",   "SelfAttention.k",     "SelfAttention.v",     "SelfAttention.o",
    "EncDecAttention.q", "EncDecAttention.k",   "EncDecAttention.v",   "EncDecAttention.o",
    "DenseReluDense.wi", "DenseReluDense.wi_0", "DenseReluDense.wi_1",
};
constexpr Names kT5Heads = {"lm_head", "classification_head.out_proj", "classifier", "qa_outputs"};
constexpr KeptLinear kT5Keep[] = {
    {"DenseReluDense.wo",
     "its inputs are so large that fp16 overflows: transformers keeps it in 32 bit"},
    {"classification_head.dense", kNextToTheHead},
};

// ---- Whisper
constexpr Names kWhisperTypes = {"whisper"};
constexpr Names kWhisperHeads = {"proj_out", "classifier"};
constexpr KeptLinear kWhisperKeep[] = {
    {"projector", kNextToTheHead},
};

constexpr ArchitectureFacts kArchitectures[] = {
    {
        .name = "BERT",
        .model_types = kBertTypes,
        .linears = kBertLinears,
        .heads = kBertHeads,
        .keep = kBertKeep,
        .tied_head = "cls.predictions.decoder",
        .tied_to = "embeddings.word_embeddings",
        .tied_by_default = true,
        .notes = "MiniLM and most sentence encoders are of this type. `pooler.dense` and "
                 "`cls.predictions.transform.dense` are linears, but they run once behind the "
                 "last block, feed the output directly and hold about one percent of the weights: "
                 "they stay in 16 bit. `embeddings.position_ids` is a buffer. The `bert.` prefix "
                 "may be missing.",
    },
    {
        .name = "RoBERTa",
        .model_types = kRobertaTypes,
        .linears = kBertLinears,
        .heads = kRobertaHeads,
        .keep = kRobertaKeep,
        .tied_head = "lm_head.decoder",
        .tied_to = "embeddings.word_embeddings",
        .tied_by_default = true,
        .notes = "BERT's blocks under `roberta.` or no prefix, and other names at the head.",
    },
    {
        .name = "MPNet",
        .model_types = kMpnetTypes,
        .linears = kMpnetLinears,
        .heads = kRobertaHeads,
        .keep = kRobertaKeep,
        .tied_head = "lm_head.decoder",
        .tied_to = "embeddings.word_embeddings",
        .tied_by_default = true,
        .notes = "`encoder.relative_attention_bias` is a table of biases, two-dimensional and "
                 "never multiplied.",
    },
    {
        .name = "DistilBERT",
        .model_types = kDistilBertTypes,
        .linears = kDistilBertLinears,
        .heads = kDistilBertHeads,
        .keep = kDistilBertKeep,
        .tied_head = "vocab_projector",
        .tied_to = "embeddings.word_embeddings",
        .tied_by_default = true,
        .notes = "The `distilbert.` prefix may be missing.",
    },
    {
        .name = "ELECTRA",
        .model_types = kElectraTypes,
        .linears = kBertLinears,
        .heads = kElectraHeads,
        .keep = kElectraKeep,
        .tied_head = "generator_lm_head",
        .tied_to = "embeddings.word_embeddings",
        .tied_by_default = true,
        .notes = "BERT's blocks; small models have narrower embeddings and `embeddings_project`.",
    },
    {
        .name = "BART",
        .model_types = kBartTypes,
        .linears = kBartLinears,
        .heads = kBartHeads,
        .keep = kBartKeep,
        .tied_head = "lm_head",
        .tied_to = "shared",
        .tied_by_default = true,
        .notes = "BART, mBART, MarianMT, PEGASUS and NLLB (`m2m_100`). "
                 "`encoder.embed_tokens` and `decoder.embed_tokens` of old checkpoints repeat "
                 "`shared`; `final_logits_bias` is a buffer.",
    },
    {
        .name = "T5",
        .model_types = kT5Types,
        .linears = kT5Linears,
        .heads = kT5Heads,
        .keep = kT5Keep,
        .tied_head = "lm_head",
        .tied_to = "shared",
        .tied_by_default = true,
        .notes = "T5, FLAN-T5 (a gated `wi_0`, `wi_1` and a head of its own), mT5 and UMT5. "
                 "`relative_attention_bias` is a table of biases. `encoder.embed_tokens` and "
                 "`decoder.embed_tokens` of old checkpoints repeat `shared`.",
    },
    {
        .name = "Whisper",
        .model_types = kWhisperTypes,
        .linears = kBartLinears,
        .heads = kWhisperHeads,
        .keep = kWhisperKeep,
        .tied_head = "proj_out",
        .tied_to = "decoder.embed_tokens",
        .tied_by_default = true,
        .notes = "`encoder.conv1` and `encoder.conv2` are convolutions. `k_proj` has no bias, its "
                 "siblings do.",
    },
};

}  // namespace

std::span<const ArchitectureFacts> EncoderArchitectures() { return kArchitectures; }

}  // namespace octavo::quant
