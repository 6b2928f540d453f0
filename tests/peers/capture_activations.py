#!/usr/bin/env python3
"""Runs a model on a short text and saves what enters each of its linears.

    capture_activations.py MODEL_DIR OUT.safetensors [--tokens 64] [--profile PROFILE.json]

OUT holds one tensor for each torch.nn.Linear and transformers Conv1D, named like the module, [tokens, in_features] in fp16.
PROFILE names the 4 input features of each with the largest values, for `octavo convert --keep-columns`.
The model runs in float32 on the CPU, whatever its weights' type; a value beyond fp16 is an error. The text below is our own.
Run it in the environment of make_venv.sh.
"""

import argparse
import json
import logging
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

TEXT = """The lamp on the pier had been lit an hour too early, and nobody in the harbour could say why. Old Marten, who kept it,
swore that he had waited for the bell. "Six strokes," he said, "I counted them." But the clock of the town hall had stopped
at a quarter past four, and the bell with it. So the boats came home by a light that ought not to have burned, 17 of them,
in rain, and only the youngest fisherman thought to ask what else in the town had begun to keep its own time."""


def load(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    kind = transformers.AutoModelForCausalLM if "CausalLM" in config.architectures[0] or "LMHead" in config.architectures[0] \
        else transformers.AutoModel
    return kind.from_pretrained(folder, dtype=torch.float32).eval()


def capture(model, ids):
    """{module name: what entered it}, the tokens of the one sequence as rows."""
    seen = {}

    def hook(name):
        def keep(module, inputs):
            seen[name] = inputs[0].detach().reshape(-1, inputs[0].shape[-1])
        return keep

    linear_types = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
    handles = [module.register_forward_pre_hook(hook(name))
               for name, module in model.named_modules() if isinstance(module, linear_types)]
    with torch.no_grad():
        model(input_ids=ids)
    for handle in handles:
        handle.remove()
    return seen


def to_fp16(name, x):
    half = x.to(torch.float16)
    if not torch.isfinite(half).all():
        sys.exit(f"{name}: {x.abs().max():.0f} does not fit fp16")
    return half.contiguous()


def profile(seen, features=4):
    """What --keep-columns reads."""
    modules = {}
    for name, x in seen.items():
        largest = x.abs().amax(dim=0)
        indices = torch.topk(largest, features).indices.tolist()
        modules[name] = {"in_features": x.shape[1],
                         "features": [{"index": i, "max_abs": float(largest[i])} for i in indices]}
    return {"octavo_profile": 1, "modules": modules}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--profile")
    args = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    model = load(args.model)
    ids = transformers.AutoTokenizer.from_pretrained(args.model)(TEXT, return_tensors="pt").input_ids[:, :args.tokens]
    seen = {name: to_fp16(name, x) for name, x in capture(model, ids).items()}
    save_file(seen, args.out, metadata={"transformers": transformers.__version__})
    if args.profile:
        with open(args.profile, "w") as out:
            json.dump(profile(seen), out)
    largest = max(seen, key=lambda name: seen[name].abs().max())
    print(f"{args.out}: {len(seen)} linears, {ids.shape[1]} tokens, largest value {seen[largest].abs().max():.0f} in {largest}")


if __name__ == "__main__":
    main()
