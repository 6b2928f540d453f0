#!/usr/bin/env python3
"""docs/examples/generate on what configurations vary: small random models of transformers, every module kept in 16 bit.

    generate_variants.py OCTAVO GENERATE WORK
"""

import argparse
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

from generate_logits import check_kept

TOKENS, VOCABULARY = 100, 320

LLAMA = dict(vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, bos_token_id=None, eos_token_id=None)
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 32}
VARIANTS = {
    "llama, one head of keys": LlamaConfig(**{**LLAMA, "num_key_value_heads": 1}),
    "llama, head_dim of its own": LlamaConfig(**LLAMA, head_dim=48),
    "llama, biases": LlamaConfig(**LLAMA, attention_bias=True, mlp_bias=True),
    "llama, tied head": LlamaConfig(**LLAMA, tie_word_embeddings=True),
    "llama, rope of Llama 3": LlamaConfig(**LLAMA, rope_parameters=LLAMA3_ROPE),
    "llama, another theta and epsilon": LlamaConfig(**LLAMA, rms_norm_eps=1e-2,
                                                    rope_parameters={"rope_type": "default", "rope_theta": 300.0}),
    "mistral": MistralConfig(**LLAMA, sliding_window=None),
    "qwen2": Qwen2Config(**LLAMA),
    "gpt2, inner size of its own": GPT2Config(vocab_size=VOCABULARY, n_embd=60, n_head=3, n_layer=2, n_positions=128, n_inner=100,
                                              bos_token_id=None, eos_token_id=None),
    "gpt2, head not tied": GPT2Config(vocab_size=VOCABULARY, n_embd=64, n_head=2, n_layer=2, n_positions=128,
                                      tie_word_embeddings=False, bos_token_id=None, eos_token_id=None),
}


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    args = argparse.Namespace(octavo=sys.argv[1], generate=sys.argv[2], work=pathlib.Path(sys.argv[3]))
    args.work.mkdir(parents=True, exist_ok=True)
    for number, (name, config) in enumerate(VARIANTS.items()):
        torch.manual_seed(number)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():  # weights large enough that positions and biases matter
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        folder = args.work / "variant"
        model.to(torch.bfloat16 if number % 2 else torch.float16).save_pretrained(folder)
        print(name)
        check_kept(args, folder, torch.randint(VOCABULARY, (TOKENS,)).tolist())


if __name__ == "__main__":
    main()
