"""Checkpoints made for measurements: the shapes of real ones, weights from a repeated block of normal values, or holes.

Each function writes a Hugging Face folder (config.json, safetensors shards, an index) and returns the bytes of its tensors.
"""

import json
import pathlib
import struct

BLOCK_VALUES = 1 << 25  # 64 MiB of fp16: longer than any cache
DTYPE_BYTES = {"F16": 2, "BF16": 2, "F32": 4}


def llama_config(hidden, intermediate, layers, heads, kv_heads, vocab):
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": hidden, "intermediate_size": intermediate,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocab,
            "tie_word_embeddings": False, "torch_dtype": "float16", "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
            "hidden_act": "silu"}


def llama_tensors(config):
    """(name, shape) of a Llama-type model, in the order of its layers."""
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    kv = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,)
        for name, out in (("q", hidden), ("k", kv), ("v", kv), ("o", hidden)):
            yield f"{prefix}self_attn.{name}_proj.weight", (out, hidden)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
        for name, shape in (("gate", (intermediate, hidden)), ("up", (intermediate, hidden)), ("down", (hidden, intermediate))):
            yield f"{prefix}mlp.{name}_proj.weight", shape
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (config["vocab_size"], hidden)


def llama_of_bytes(target_bytes):
    """A config with layers as an 8B model has them, as many as come nearest to `target_bytes` of fp16."""
    config = llama_config(4096, 14336, 0, 32, 8, 32000)
    fixed = tensors_bytes(llama_tensors(config))
    config["num_hidden_layers"] = 1
    layer = tensors_bytes(llama_tensors(config)) - fixed
    config["num_hidden_layers"] = max(1, round((target_bytes - fixed) / layer))
    return config


def tensors_bytes(tensors, dtype="F16"):
    return sum(tensor_bytes(shape, dtype) for _, shape in tensors)


def tensor_bytes(shape, dtype="F16"):
    size = DTYPE_BYTES[dtype]
    for extent in shape:
        size *= extent
    return size


class NormalBlock:
    """fp16 of a normal distribution with the deviation of a real layer, read round and round."""

    def __init__(self, seed=1):
        import numpy

        values = numpy.random.default_rng(seed).standard_normal(BLOCK_VALUES, dtype=numpy.float32)
        self.bytes = memoryview((values * numpy.float32(0.02)).astype(numpy.float16)).cast("B")
        self.at = 0

    def write(self, file, count):
        while count > 0:
            # An odd step, so that equal tensors do not start at equal values.
            part = self.bytes[self.at:self.at + count]
            file.write(part)
            count -= len(part)
            self.at = (self.at + len(part)) % len(self.bytes)
        self.at = (self.at + 2 * 1021) % len(self.bytes)


class Holes:
    """Zeros that take no room on the disk."""

    def write(self, file, count):
        file.seek(count, 1)


def write_shard(path, tensors, dtype, content):
    """A safetensors file of (name, shape) with `content`."""
    header, offset = {}, 0
    for name, shape in tensors:
        size = tensor_bytes(shape, dtype)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in tensors:
            content.write(file, tensor_bytes(shape, dtype))
        file.truncate()
    return offset


def write_folder(folder, config, tensors, shard_bytes, content, dtype="F16"):
    """Shards of about `shard_bytes` as transformers names them; a tensor larger than that has a shard of its own."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shards, room = [[]], shard_bytes
    for name, shape in tensors:
        size = tensor_bytes(shape, dtype)
        if size > room and shards[-1]:
            shards.append([])
            room = shard_bytes
        shards[-1].append((name, shape))
        room -= size
    weight_map, total = {}, 0
    for i, shard in enumerate(shards):
        file_name = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        total += write_shard(folder / file_name, shard, dtype, content)
        weight_map.update((name, file_name) for name, _ in shard)
    (folder / "config.json").write_text(json.dumps(config))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total


def moe_model(num_tensors, hidden=16, intermediate=32, experts=128):
    """Config and tensors of a Qwen3-MoE-type model with tiny experts, at least `num_tensors` of them."""
    per_layer = 3 * experts + 9
    layers = -(-num_tensors // per_layer)
    config = {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "hidden_size": hidden,
              "intermediate_size": intermediate, "moe_intermediate_size": intermediate, "num_hidden_layers": layers,
              "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "num_experts": experts,
              "num_experts_per_tok": 2, "vocab_size": 64, "tie_word_embeddings": False}
    tensors = [("model.embed_tokens.weight", (64, hidden)), ("model.norm.weight", (hidden,)), ("lm_head.weight", (64, hidden))]
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        tensors += [(f"{prefix}self_attn.{name}_proj.weight", (hidden, hidden)) for name in "qkvo"]
        tensors += [(f"{prefix}self_attn.{name}_norm.weight", (8,)) for name in "qk"]
        tensors += [(f"{prefix}{name}_layernorm.weight", (hidden,)) for name in ("input", "post_attention")]
        tensors.append((f"{prefix}mlp.gate.weight", (experts, hidden)))
        for expert in range(experts):
            at = f"{prefix}mlp.experts.{expert}."
            tensors += [(f"{at}gate_proj.weight", (intermediate, hidden)), (f"{at}up_proj.weight", (intermediate, hidden)),
                        (f"{at}down_proj.weight", (hidden, intermediate))]
    return config, tensors
