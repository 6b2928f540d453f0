"""The models that architectures.py builds: for each type of the table in libquant/*architectures.cc some tiny ones, in the layouts that occur.

In all of them hidden_size is 32: attention is square, and the feed-forward part is twice as wide (or, in `square` cases, as wide), so that
no shape says which way round a weight is stored.
"""

import dataclasses
from dataclasses import dataclass, field

import torch

HIDDEN, VOCAB, LAYERS, LENGTH = 32, 96, 2, 12


@dataclass
class Case:
    type: str
    cls: str  # transformers' class
    config: dict
    label: str = ""
    # Linears of the forward pass that stay in 16 bit, besides the output head: pattern of the module's name in the checkpoint -> kind.
    stays: dict = field(default_factory=dict)
    head: str = "lm_head"  # what the checkpoint calls the output head; "" without one
    known: bool = True  # is in the table
    dtype: torch.dtype = torch.float16
    inputs: object = None  # function of the config -> keyword arguments of forward
    prepare: object = None  # changes the live model before it is saved
    edit: object = None  # changes what was saved: (tensors, config.json as dict)
    save: dict = field(default_factory=dict)  # further arguments of save_pretrained
    warns: str = ""  # part of the only warning

    @property
    def name(self):
        return f"{self.type} {self.cls}" + (f" {self.label}" if self.label else "")

    def but(self, label, config=None, stays=None, **changes):
        """This case with some things changed; config and stays are added to."""
        label = f"{self.label} {label}".strip()
        return dataclasses.replace(self, label=label, config=self.config | (config or {}), stays=self.stays | (stays or {}), **changes)


TOKENS = dict(vocab_size=VOCAB, pad_token_id=0, bos_token_id=1, eos_token_id=2)
SMALL = dict(hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=4, intermediate_size=2 * HIDDEN, max_position_embeddings=64)
DECODER = TOKENS | SMALL
GROUPED = DECODER | dict(num_key_value_heads=2, head_dim=8)
SHARDS = dict(max_shard_size="20KB")
STACKED = dict(save_original_format=False)  # all experts in one tensor, as transformers keeps them in memory

generator = torch.Generator().manual_seed(8)


def ids(config, length=LENGTH):
    return torch.randint(3, VOCAB, (2, length), generator=generator)


def text(config):
    return dict(input_ids=ids(config))


def text_to_text(config):
    return dict(input_ids=ids(config), decoder_input_ids=ids(config))


def cross(config):
    """A decoder that attends to an encoder's states."""
    return dict(input_ids=ids(config), encoder_hidden_states=torch.randn(2, 5, HIDDEN, generator=generator))


def fresh(*shape, dtype=torch.float16):
    return torch.randn(*shape, generator=generator).to(dtype)


def own_head(model):
    """The output head gets a weight of its own, whatever the config says."""
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(fresh(*head.weight.shape))


# ---- What real checkpoints hold besides

def claim(architecture, **settings):
    def edit(tensors, config):
        config["architectures"] = [architecture]
        config.update(settings)
    return edit


def mask_buffers(*places, dtype=torch.float32, last="masked_bias"):
    def edit(tensors, config):
        for place in places:
            tensors[f"{place}.bias"] = torch.tril(torch.ones(1, 1, 64, 64)).to(dtype)
            tensors[f"{place}.{last}"] = torch.tensor(-1e9)
    return edit


def rotary_buffers(*places):
    def edit(tensors, config):
        for place in places:
            tensors[f"{place}.inv_freq"] = torch.arange(1, 5).float()
    return edit


def stored_head(name, embedding):
    """A tied head that is stored all the same."""
    def edit(tensors, config):
        tensors[f"{name}.weight"] = tensors[f"{embedding}.weight"].clone()
    return edit


def old_norm_names(tensors, config):
    for name in list(tensors):
        for new, old in ((".LayerNorm.weight", ".LayerNorm.gamma"), (".LayerNorm.bias", ".LayerNorm.beta")):
            if name.endswith(new):
                tensors[name.removesuffix(new) + old] = tensors.pop(name)
    tensors["bert.embeddings.position_ids"] = torch.arange(64)[None]


def all_of(*edits):
    def edit(tensors, config):
        for one in edits:
            one(tensors, config)
    return edit


def repeated_embeddings(tensors, config):
    for side in ("encoder", "decoder"):
        tensors[f"{side}.embed_tokens.weight"] = tensors["shared.weight"].clone()


def further_token_block(tensors, config):
    """DeepSeek-V3's block behind the last, as a copy of the last with its own additions."""
    last, new = f"model.layers.{LAYERS - 1}.", f"model.layers.{LAYERS}."
    for name in list(tensors):
        if name.startswith(last):
            tensors[new + name.removeprefix(last)] = tensors[name].clone()
    tensors[new + "eh_proj.weight"] = fresh(HIDDEN, 2 * HIDDEN)
    tensors[new + "enorm.weight"] = fresh(HIDDEN)
    tensors[new + "hnorm.weight"] = fresh(HIDDEN)
    tensors[new + "embed_tokens.weight"] = tensors["model.embed_tokens.weight"].clone()
    tensors[new + "shared_head.norm.weight"] = fresh(HIDDEN)
    tensors[new + "shared_head.head.weight"] = tensors["lm_head.weight"].clone()


# ---- Decoders

def gpt2():
    config = TOKENS | dict(n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=64, n_inner=2 * HIDDEN)
    tied = Case("gpt2", "GPT2LMHeadModel", config)
    blocks = [f"h.{i}.attn" for i in range(LAYERS)]
    return [
        tied,
        tied.but("untied", dict(tie_word_embeddings=False), dtype=torch.float32),
        tied.but("square", dict(n_inner=HIDDEN), dtype=torch.bfloat16),
        tied.but("old", edit=all_of(mask_buffers(*[f"transformer.{b}" for b in blocks]), stored_head("lm_head", "transformer.wte"))),
        tied.but("bare names", cls="GPT2Model", edit=all_of(mask_buffers(*blocks), claim("GPT2LMHeadModel"))),
        tied.but("cross attention", dict(add_cross_attention=True), inputs=cross),
        tied.but("", cls="GPT2ForSequenceClassification", head="", stays={"score": "head"}),
        tied.but("", cls="GPT2DoubleHeadsModel", stays={"multiple_choice_head.summary": "head"}),
    ]


def openai_gpt():
    config = TOKENS | dict(n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=64)
    tied = Case("openai-gpt", "OpenAIGPTLMHeadModel", config)
    return [
        tied,
        tied.but("untied", dict(tie_word_embeddings=False), dtype=torch.float32),
        tied.but("bare names", cls="OpenAIGPTModel",
                 edit=all_of(mask_buffers(*[f"h.{i}.attn" for i in range(LAYERS)]), claim("OpenAIGPTLMHeadModel"))),
    ]


def gpt_bigcode():
    config = TOKENS | dict(n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=64, n_inner=2 * HIDDEN)
    tied = Case("gpt_bigcode", "GPTBigCodeForCausalLM", config)
    return [tied, tied.but("untied", dict(tie_word_embeddings=False)), tied.but("square", dict(n_inner=HIDDEN, multi_query=False), save=SHARDS)]


def codegen():
    config = TOKENS | dict(n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=64, rotary_dim=4, n_inner=2 * HIDDEN)
    untied = Case("codegen", "CodeGenForCausalLM", config)
    return [untied, untied.but("tied", dict(tie_word_embeddings=True)), untied.but("square", dict(n_inner=HIDDEN))]


def mpt():
    tied = Case("mpt", "MptForCausalLM", TOKENS | dict(d_model=HIDDEN, n_layers=LAYERS, n_heads=4, max_seq_len=64, expansion_ratio=2))
    return [tied, tied.but("untied", dict(tie_word_embeddings=False), dtype=torch.bfloat16),
            tied.but("bare names", cls="MptModel", edit=claim("MptForCausalLM"))]


def gpt_neo():
    config = TOKENS | dict(hidden_size=HIDDEN, num_layers=LAYERS, num_heads=4, attention_types=[[["global", "local"], 1]],
                           max_position_embeddings=64, intermediate_size=2 * HIDDEN)
    tied = Case("gpt_neo", "GPTNeoForCausalLM", config)
    places = [f"transformer.h.{i}.attn.attention" for i in range(LAYERS)]
    return [
        tied,
        tied.but("untied", dict(tie_word_embeddings=False)),
        tied.but("square", dict(intermediate_size=HIDDEN), dtype=torch.float32),
        tied.but("old", edit=all_of(mask_buffers(*places, dtype=torch.uint8), stored_head("lm_head", "transformer.wte"))),
        tied.but("bare names", cls="GPTNeoModel", head=""),
    ]


def gptj():
    config = TOKENS | dict(n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=64, rotary_dim=4, n_inner=2 * HIDDEN)
    untied = Case("gptj", "GPTJForCausalLM", config)
    return [
        untied,
        untied.but("tied", dict(tie_word_embeddings=True)),
        untied.but("square", dict(n_inner=HIDDEN), dtype=torch.bfloat16),
        untied.but("old", edit=mask_buffers(*[f"transformer.h.{i}.attn" for i in range(LAYERS)])),
    ]


def gpt_neox():
    untied = Case("gpt_neox", "GPTNeoXForCausalLM", DECODER, head="embed_out")
    places = [f"gpt_neox.layers.{i}.attention" for i in range(LAYERS)]
    old = all_of(mask_buffers(*places, dtype=torch.bool), rotary_buffers(*[f"{p}.rotary_emb" for p in places]))
    return [
        untied,
        untied.but("tied", dict(tie_word_embeddings=True)),
        untied.but("square", dict(intermediate_size=HIDDEN, use_parallel_residual=False), dtype=torch.float32),
        untied.but("Pythia", edit=old, save=SHARDS),
        untied.but("bare names", cls="GPTNeoXModel", head=""),
    ]


def opt():
    config = TOKENS | dict(hidden_size=HIDDEN, num_hidden_layers=LAYERS, ffn_dim=2 * HIDDEN, num_attention_heads=4,
                           word_embed_proj_dim=HIDDEN, max_position_embeddings=64)
    tied = Case("opt", "OPTForCausalLM", config)
    return [
        tied,
        tied.but("untied", dict(tie_word_embeddings=False)),
        tied.but("square", dict(ffn_dim=HIDDEN), dtype=torch.float32),
        tied.but("350m", dict(word_embed_proj_dim=16, do_layer_norm_before=False),
                 stays={"*.project_in": "linear", "*.project_out": "linear"}),
        tied.but("bare names", cls="OPTModel", edit=claim("OPTForCausalLM")),
        tied.but("stored head", edit=stored_head("lm_head", "model.decoder.embed_tokens"), save=SHARDS),
    ]


def bloom():
    tied = Case("bloom", "BloomForCausalLM", TOKENS | dict(hidden_size=HIDDEN, n_layer=LAYERS, n_head=4))
    return [
        tied,
        tied.but("untied", dict(tie_word_embeddings=False), dtype=torch.bfloat16),
        tied.but("bare names", cls="BloomModel", edit=claim("BloomForCausalLM"), save=SHARDS),
        tied.but("", cls="BloomForTokenClassification", head="", stays={"classifier": "head"}),
    ]


def falcon():
    new = Case("falcon", "FalconForCausalLM", TOKENS | dict(
        hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=4, num_kv_heads=2, new_decoder_architecture=True,
        ffn_hidden_size=2 * HIDDEN), label="new decoder")
    old = new.but("", dict(new_decoder_architecture=False))
    old.label = "multi-query"
    return [
        new,
        new.but("untied", dict(tie_word_embeddings=False), dtype=torch.bfloat16),
        old,
        old.but("with biases", dict(bias=True), save=SHARDS),
        old.but("square", dict(ffn_hidden_size=HIDDEN)),
        new.but("Falcon-RW", dict(new_decoder_architecture=False, num_kv_heads=4, multi_query=False, alibi=True, bias=True, parallel_attn=False)),
        new.but("stored head", edit=stored_head("lm_head", "transformer.word_embeddings")),
    ]


def llama_like(model_type, prefix, **settings):
    untied = Case(model_type, f"{prefix}ForCausalLM", GROUPED | settings)
    places = [f"model.layers.{i}.self_attn.rotary_emb" for i in range(LAYERS)]
    return [
        untied.but("untied", dict(tie_word_embeddings=False), edit=rotary_buffers(*places)),
        untied.but("tied", dict(tie_word_embeddings=True), dtype=torch.bfloat16),
        untied.but("tied and stored", dict(tie_word_embeddings=True), edit=stored_head("lm_head", "model.embed_tokens"), save=SHARDS),
        untied.but("square", dict(tie_word_embeddings=False, intermediate_size=HIDDEN, num_key_value_heads=4), dtype=torch.float32),
        untied.but("bare names", dict(tie_word_embeddings=False), cls=f"{prefix}Model", head=""),
    ]


def llama():
    biased = dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=False)
    score = Case("llama", "LlamaForSequenceClassification", GROUPED, head="", stays={"score": "head"})
    return llama_like("llama", "Llama") + [Case("llama", "LlamaForCausalLM", GROUPED | biased, "with biases"), score]


def gemma():
    return llama_like("gemma", "Gemma") + llama_like("gemma2", "Gemma2") + llama_like("gemma3_text", "Gemma3Text")[-1:] + [
        dataclasses.replace(case, cls="Gemma3ForCausalLM") for case in llama_like("gemma3_text", "Gemma3")[:-1]]


def gemma3():
    image_tokens = 4
    vision = dict(hidden_size=HIDDEN, intermediate_size=2 * HIDDEN, num_hidden_layers=1, num_attention_heads=4, image_size=16,
                  patch_size=4, model_type="siglip_vision_model", vision_use_head=False)
    config = dict(text_config=GROUPED | dict(model_type="gemma3_text", vocab_size=VOCAB + 8), vision_config=vision,
                  mm_tokens_per_image=image_tokens, image_token_index=VOCAB, boi_token_index=VOCAB + 1, eoi_token_index=VOCAB + 2)

    def image_and_text(config):
        tokens = ids(config)
        tokens[:, 2:2 + image_tokens] = VOCAB
        return dict(input_ids=tokens, pixel_values=torch.randn(2, 3, 16, 16, generator=generator), token_type_ids=(tokens == VOCAB).long())

    tied = Case("gemma3", "Gemma3ForConditionalGeneration", config, inputs=image_and_text, stays={
        "*vision_tower.*": "linear", "*mm_input_projection_weight": None})
    square = dict(text_config=config["text_config"] | dict(intermediate_size=HIDDEN))
    untied = dict(text_config=config["text_config"] | dict(tie_word_embeddings=False), tie_word_embeddings=False)
    return [tied, tied.but("square", square, dtype=torch.bfloat16, save=SHARDS),
            tied.but("untied", untied, head="language_model.lm_head")]


def phi():
    untied = Case("phi", "PhiForCausalLM", DECODER | dict(num_key_value_heads=2))
    return [
        untied,
        untied.but("tied", dict(tie_word_embeddings=True)),
        untied.but("square", dict(intermediate_size=HIDDEN, num_key_value_heads=4), dtype=torch.float32),
        untied.but("sharded", save=SHARDS),
    ]


def phi3():
    # One pair of key and value heads: q, k and v together are twice as wide as the input.
    untied = Case("phi3", "Phi3ForCausalLM", DECODER | dict(num_key_value_heads=2))
    return [
        untied,
        untied.but("tied", dict(tie_word_embeddings=True), dtype=torch.bfloat16),
        untied.but("narrow", dict(intermediate_size=HIDDEN // 2), save=SHARDS),
        untied.but("square", dict(intermediate_size=HIDDEN)),
    ]


def glm(model_type, prefix):
    # head_dim 8 by half: GLM turns half of each head.
    untied = Case(model_type, f"{prefix}ForCausalLM", GROUPED)
    return [untied, untied.but("tied", dict(tie_word_embeddings=True)), untied.but("narrow", dict(intermediate_size=HIDDEN // 2), save=SHARDS)]


# ---- Mixtures of experts

# Every token goes to all experts, so that each is seen at work.
ROUTED = GROUPED | dict(num_experts_per_tok=4, _experts_implementation="eager")


def experts_in_both_layouts(case, square, stacked_stays=None):
    stacked = dataclasses.replace(case, save=STACKED, stays=stacked_stays or case.stays)
    return [
        case,
        stacked.but("stacked"),
        case.but("square", square),
        stacked.but("square stacked", square, dtype=torch.bfloat16),
        case.but("tied", dict(tie_word_embeddings=True), save=SHARDS),
    ]


def mixtral():
    case = Case("mixtral", "MixtralForCausalLM", ROUTED | dict(num_local_experts=4), stays={"*.gate": "router"})
    # Half as wide: gate and up in one are square.
    return experts_in_both_layouts(case, dict(intermediate_size=HIDDEN)) + [
        case.but("square pair", dict(intermediate_size=HIDDEN // 2), save=STACKED)]


def qwen_moe():
    config = ROUTED | dict(num_experts=4, moe_intermediate_size=HIDDEN // 2)
    qwen2 = Case("qwen2_moe", "Qwen2MoeForCausalLM", config | dict(shared_expert_intermediate_size=2 * HIDDEN),
                 stays={"*.mlp.gate": "router", "*.shared_expert_gate": "router"})
    qwen3 = Case("qwen3_moe", "Qwen3MoeForCausalLM", config, stays={"*.mlp.gate": "router"})
    square = dict(moe_intermediate_size=HIDDEN)
    return experts_in_both_layouts(qwen2, square) + experts_in_both_layouts(qwen3, square) + [
        qwen3.but("first block dense", dict(mlp_only_layers=[0], intermediate_size=2 * HIDDEN))]


def other_experts():
    square = dict(intermediate_size=HIDDEN)
    olmoe = Case("olmoe", "OlmoeForCausalLM", ROUTED | dict(num_experts=4), stays={"*.mlp.gate": "router"})
    # Its router sends every token to two experts.
    phimoe = Case("phimoe", "PhimoeForCausalLM", ROUTED | dict(num_local_experts=2, num_experts_per_tok=2), stays={"*.gate": "router"})
    glm = Case("glm4_moe", "Glm4MoeForCausalLM", ROUTED | dict(
        n_routed_experts=4, moe_intermediate_size=HIDDEN // 2, first_k_dense_replace=1, n_shared_experts=1, n_group=1, topk_group=1),
        stays={"*.mlp.gate": "router"})
    granite = Case("granitemoe", "GraniteMoeForCausalLM", ROUTED | dict(num_local_experts=4), stays={"*.router*": "router"})
    return [*experts_in_both_layouts(olmoe, square), *experts_in_both_layouts(phimoe, square, {"*.router": "router"}),
            *experts_in_both_layouts(glm, dict(moe_intermediate_size=HIDDEN)), *experts_in_both_layouts(granite, square),
            granite.but("square pair", dict(intermediate_size=HIDDEN // 2))]


def deepseek():
    config = ROUTED | dict(
        n_routed_experts=4, moe_intermediate_size=HIDDEN // 2, first_k_dense_replace=1, kv_lora_rank=16, q_lora_rank=24, qk_rope_head_dim=4,
        qk_nope_head_dim=8, v_head_dim=8, num_key_value_heads=4, head_dim=4, n_shared_experts=2, n_group=1, topk_group=1)
    v2 = Case("deepseek_v2", "DeepseekV2ForCausalLM", config, stays={"*.mlp.gate": "router"})
    v3 = dataclasses.replace(v2, type="deepseek_v3", cls="DeepseekV3ForCausalLM", config=config | dict(n_shared_experts=1, n_group=2, topk_group=2))
    square = dict(moe_intermediate_size=HIDDEN, q_lora_rank=HIDDEN, kv_lora_rank=HIDDEN)
    return experts_in_both_layouts(v2, square) + experts_in_both_layouts(v3, square) + [
        v2.but("lite", dict(q_lora_rank=None)),
        v3.but("with its further block", edit=further_token_block, stays={"*.shared_head.head": "head"})]


def llama4():
    case = Case("llama4_text", "Llama4ForCausalLM", GROUPED | dict(
        num_local_experts=4, intermediate_size_mlp=2 * HIDDEN, interleave_moe_layer_step=2, num_experts_per_tok=4),
        stays={"*.router": "router"})
    return [case, case.but("square", dict(intermediate_size=HIDDEN), dtype=torch.bfloat16),
            case.but("square pair", dict(intermediate_size=HIDDEN // 2)),
            case.but("tied", dict(tie_word_embeddings=True), save=SHARDS)]


def gpt_oss():
    case = Case("gpt_oss", "GptOssForCausalLM", ROUTED | dict(num_local_experts=4, layer_types=["sliding_attention", "full_attention"]),
                stays={"*.router": "router"})
    return [case, case.but("square", dict(intermediate_size=HIDDEN), dtype=torch.bfloat16),
            case.but("square pair", dict(intermediate_size=HIDDEN // 2)),
            case.but("tied", dict(tie_word_embeddings=True), save=SHARDS)]


# ---- Encoders, and encoders with decoders

def bert():
    pooler = {"*pooler.dense": "linear"}
    transform = {"*.predictions.transform.dense": "linear"}
    case = Case("bert", "BertForMaskedLM", DECODER, head="cls.predictions.decoder", stays=transform)
    return [
        case,
        case.but("untied", dict(tie_word_embeddings=False), dtype=torch.float32),
        case.but("old", edit=old_norm_names),
        case.but("square", dict(intermediate_size=HIDDEN), save=SHARDS),
        case.but("", cls="BertForPreTraining", stays=pooler | {"cls.seq_relationship": "head"}),
        Case("bert", "BertModel", DECODER, "MiniLM", head="", stays=pooler, dtype=torch.float32),
        Case("bert", "BertForSequenceClassification", DECODER, head="", stays=pooler | {"classifier": "head"}),
        Case("bert", "BertLMHeadModel", DECODER | dict(is_decoder=True, add_cross_attention=True), "cross attention",
             head="cls.predictions.decoder", stays=transform, inputs=cross),
    ]


def roberta_like(model_type, prefix):
    case = Case(model_type, f"{prefix}ForMaskedLM", DECODER, head="lm_head.decoder", stays={"lm_head.dense": "linear"})
    return [
        case,
        case.but("untied", dict(tie_word_embeddings=False), dtype=torch.float32),
        case.but("square", dict(intermediate_size=HIDDEN), save=SHARDS),
        Case(model_type, f"{prefix}Model", DECODER, head="", stays={"pooler.dense": "linear"}),
        Case(model_type, f"{prefix}ForSequenceClassification", DECODER, head="",
             stays={"classifier.dense": "linear", "classifier.out_proj": "head"}),
        Case(model_type, f"{prefix}ForQuestionAnswering", DECODER, head="", stays={"qa_outputs": "head"}),
    ]


def distilbert():
    config = TOKENS | dict(dim=HIDDEN, n_layers=LAYERS, n_heads=4, hidden_dim=2 * HIDDEN, max_position_embeddings=64)
    tied = Case("distilbert", "DistilBertForMaskedLM", config, head="vocab_projector", stays={"vocab_transform": "linear"})
    return [
        tied,
        tied.but("untied", dict(tie_word_embeddings=False)),
        tied.but("square", dict(hidden_dim=HIDDEN), dtype=torch.float32),
        Case("distilbert", "DistilBertModel", config, head=""),
        Case("distilbert", "DistilBertForSequenceClassification", config, head="", stays={"pre_classifier": "linear", "classifier": "head"}),
    ]


def electra():
    tied = Case("electra", "ElectraForMaskedLM", DECODER | dict(embedding_size=HIDDEN), head="generator_lm_head",
                stays={"generator_predictions.dense": "linear"})
    return [
        tied,
        tied.but("untied", dict(tie_word_embeddings=False)),
        tied.but("small", dict(embedding_size=16), stays={"*.embeddings_project": "linear"}),
        tied.but("square", dict(intermediate_size=HIDDEN), dtype=torch.float32),
        Case("electra", "ElectraForPreTraining", DECODER | dict(embedding_size=HIDDEN), head="",
             stays={"discriminator_predictions.dense": "linear", "discriminator_predictions.dense_prediction": "head"}),
    ]


def bart_like(model_type, prefix):
    config = TOKENS | dict(
        d_model=HIDDEN, encoder_layers=LAYERS, decoder_layers=LAYERS, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=2 * HIDDEN, decoder_ffn_dim=2 * HIDDEN, max_position_embeddings=64, decoder_start_token_id=2)
    classes = {"marian": "MarianMTModel"}
    tied = Case(model_type, classes.get(model_type, f"{prefix}ForConditionalGeneration"), config, inputs=text_to_text)
    return [
        tied,
        tied.but("untied", dict(tie_word_embeddings=False), dtype=torch.float32),
        tied.but("square", dict(encoder_ffn_dim=HIDDEN, decoder_ffn_dim=HIDDEN), save=SHARDS),
        tied.but("", cls=f"{prefix}Model", head=""),
    ]


def bart():
    classifier = Case("bart", "BartForSequenceClassification", bart_like("bart", "Bart")[0].config, head="", inputs=text_with_end,
                   stays={"classification_head.dense": "linear", "classification_head.out_proj": "head"})
    return [*bart_like("bart", "Bart"), classifier, *bart_like("mbart", "MBart"), *bart_like("marian", "Marian"), *bart_like("pegasus", "Pegasus"),
            *bart_like("m2m_100", "M2M100")]


def t5_like(model_type, prefix):
    config = TOKENS | dict(d_model=HIDDEN, d_kv=8, d_ff=2 * HIDDEN, num_layers=LAYERS, num_heads=4, decoder_start_token_id=0)
    case = Case(model_type, f"{prefix}ForConditionalGeneration", config, inputs=text_to_text, stays={"*.DenseReluDense.wo": "linear"})
    flan = case.but("FLAN", dict(feed_forward_proj="gated-gelu"), prepare=own_head,
                    edit=claim(f"{prefix}ForConditionalGeneration", tie_word_embeddings=False))
    return [
        case,
        case.but("relu", dict(feed_forward_proj="relu"), dtype=torch.float32),
        case.but("old", edit=repeated_embeddings, save=SHARDS),
        flan,
        case.but("square", dict(d_ff=HIDDEN), dtype=torch.bfloat16),
        case.but("", cls=f"{prefix}EncoderModel", inputs=text, head=""),
        case.but("", cls=f"{prefix}ForSequenceClassification", head="", inputs=text_with_end,
                 stays={"classification_head.dense": "linear", "classification_head.out_proj": "head"}),
    ]


def text_with_end(config):
    tokens = ids(config)
    tokens[:, -1] = TOKENS["eos_token_id"]
    return dict(input_ids=tokens)


def whisper():
    config = TOKENS | dict(d_model=HIDDEN, encoder_layers=LAYERS, decoder_layers=LAYERS, encoder_attention_heads=4, decoder_attention_heads=4,
                           encoder_ffn_dim=2 * HIDDEN, decoder_ffn_dim=2 * HIDDEN, num_mel_bins=8, max_source_positions=16,
                           max_target_positions=32, decoder_start_token_id=1, begin_suppress_tokens=None, suppress_tokens=None)

    def sound(config):
        return dict(input_features=torch.randn(2, 8, 32, generator=generator), decoder_input_ids=ids(config))

    case = Case("whisper", "WhisperForConditionalGeneration", config, inputs=sound, head="proj_out")
    return [
        case,
        case.but("untied", dict(tie_word_embeddings=False), dtype=torch.float32),
        case.but("square", dict(encoder_ffn_dim=HIDDEN, decoder_ffn_dim=HIDDEN), save=SHARDS),
        case.but("stored head", edit=stored_head("proj_out", "model.decoder.embed_tokens")),
        Case("whisper", "WhisperForAudioClassification", config, inputs=lambda config: {"input_features": sound(config)["input_features"]}, head="",
             stays={"projector": "linear", "classifier": "head"}),
    ]


# ---- Outside the table: the general rules must convert ordinary linears and nothing that may lie the other way round

def unknown():
    says = "is not in the table of architectures: the general rules decided"
    untied = dict(tie_word_embeddings=False)
    routed = Case("flex_olmo", "FlexOlmoForCausalLM", ROUTED | untied | dict(num_experts=4), known=False, warns=says,
                  stays={"*.mlp.gate": "router"})
    return [
        Case("helium", "HeliumForCausalLM", GROUPED | untied, known=False, warns=says),
        Case("persimmon", "PersimmonForCausalLM", DECODER | dict(tie_word_embeddings=True), known=False, warns=says),
        Case("imagegpt", "ImageGPTForCausalImageModeling", TOKENS | dict(n_embd=HIDDEN, n_layer=LAYERS, n_head=4, n_positions=64) | untied,
             known=False, warns=says, stays={"*.c_attn": "linear", "*.c_proj": "linear", "*.c_fc": "linear"}),
        routed,
        routed.but("stacked", save=STACKED, stays={"*.experts.*_proj": "experts"}),
    ]


LLAMA_LIKE = {
    "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "smollm3": "SmolLM3", "olmo": "Olmo", "olmo2": "Olmo2", "olmo3": "Olmo3",
    "granite": "Granite", "stablelm": "StableLm", "cohere": "Cohere", "cohere2": "Cohere2", "starcoder2": "Starcoder2",
}


def all_cases():
    return [
        *gpt2(), *openai_gpt(), *gpt_bigcode(), *gpt_neo(), *gptj(), *codegen(), *mpt(), *gpt_neox(), *opt(), *bloom(), *falcon(),
        *llama(), *(case for names in LLAMA_LIKE.items() for case in llama_like(*names)), *glm("glm", "Glm"), *glm("glm4", "Glm4"),
        *gemma(), *gemma3(), *phi(), *phi3(),
        *mixtral(), *qwen_moe(), *other_experts(), *deepseek(), *llama4(), *gpt_oss(),
        *bert(), *roberta_like("roberta", "Roberta"), *roberta_like("xlm-roberta", "XLMRoberta"), *roberta_like("camembert", "Camembert"),
        *roberta_like("mpnet", "MPNet"), *distilbert(), *electra(),
        *bart(), *t5_like("t5", "T5"), *t5_like("mt5", "MT5"), *t5_like("umt5", "UMT5"), *whisper(),
        *unknown(),
    ]
