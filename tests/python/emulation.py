#!/usr/bin/env python3
"""Does a whole model multiply as docs/numerics.md says? load() of each beside a plain emulation of the definition.

    emulation.py OCTAVO MODEL_DIR… [--tokens 96] [--options …]

The emulation is the 16-bit model in float32 with every quantized linear replaced by definition.py (numpy, float64). Each of our linears
is fed what the emulation's linear gets, and every element must be within the bound of section 7.

Then both models run on their own. An int8 code is a step function: what differs in the last bit of a float32 can make a code of the next
linear another one, and a few layers later two runs of the same definition have gone apart. How far, the emulation itself says, run again with
every linear's output off by up to 4 * 2^-24 of the sum of its terms' magnitudes, a small part of what section 7 permits. KL(ours || emulation) must be at most 1 % of KL(ours || 16 bit), or at
most twice what that noise does; and KL(ours || 16 bit) within 15 % of the emulation's own. Exit code 1 otherwise. In the environment
of the peers.
"""

import argparse
import logging
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)

import numpy as np
import torch
import transformers

import octavo.transformers
from common import convert
from octavo.torch import Linear8bit

import common
import definition
from capture_activations import TEXT
from octavo_file import open_8vo, settings_of, weights_of

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
SHARE, NOISE_FACTOR, AGREEMENT = 0.01, 2, 0.15
NOISE_SEEDS = 4


class Emulated(torch.nn.Module):
    """A linear of the definition; keeps what it was given and what it gave."""

    def __init__(self, file, module):
        super().__init__()
        self.weights, self.settings, self.noise = weights_of(file, module), settings_of(file), None

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1]).numpy()
        quantized = definition.quantize_activations(rows, self.settings, self.weights.kept_index)
        y64, magnitude = definition.multiply(rows, quantized, self.weights)
        if self.noise is None:
            self.seen = (x, quantized, y64, magnitude)
        else:
            y64 = y64 + magnitude * self.noise.uniform(-(2.0**-22), 2.0**-22, y64.shape)
        return torch.from_numpy(y64.astype(np.float32)).reshape(*x.shape[:-1], -1)


def emulate(folder, path):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    file = open_8vo(str(path))
    modules = {m["name"]: m for m in file.modules if m["quantized"]}
    for name, module in modules.items():
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, Emulated(file, module))
    return model


def each_linear(ours, emulated):
    """(linears, elements, elements beyond the bound, largest share of it)"""
    count = elements = beyond = 0
    worst = 0.0
    for name, module in ours.named_modules():
        if not isinstance(module, Linear8bit):
            continue
        x, quantized, y64, magnitude = emulated.get_submodule(name).seen
        y = module(x).reshape(y64.shape).numpy()
        bad, share = definition.violations(y, y64, magnitude, quantized, "F32")
        count, elements, beyond, worst = count + 1, elements + y.size, beyond + int(bad.sum()), max(worst, float(share.max()))
    return count, elements, beyond, worst


def divergence(p, q):
    """Mean of KL(p || q) over the tokens, in millinats."""
    p, q = (torch.log_softmax(logits.double(), -1) for logits in (p, q))
    return 1000 * float((p.exp() * (p - q)).sum(-1).mean())


def noisy_runs(emulated, ids):
    """The emulation's logits with outputs a little off, for each seed."""
    linears = [module for module in emulated.modules() if isinstance(module, Emulated)]
    for seed in range(NOISE_SEEDS):
        noise = np.random.default_rng(seed)
        for linear in linears:
            linear.noise = noise
        yield emulated(ids).logits


def check(folder, path, tokens):
    exact = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ours, tokenizer = octavo.transformers.load(path, dtype=torch.float32)
    emulated = emulate(folder, path)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids[:, :tokens]
    with torch.no_grad():
        logits = {name: model(ids).logits for name, model in (("16 bit", exact), ("emulation", emulated), ("ours", ours))}
        count, elements, beyond, worst = each_linear(ours, emulated)
        noise = max(divergence(run, logits["emulation"]) for run in noisy_runs(emulated, ids))
    to_emulation, to_exact = divergence(logits["ours"], logits["emulation"]), divergence(logits["ours"], logits["16 bit"])
    emulations = divergence(logits["emulation"], logits["16 bit"])
    good = (beyond == 0 and count > 0 and to_emulation <= max(SHARE * to_exact, NOISE_FACTOR * noise)
            and abs(to_exact - emulations) <= AGREEMENT * emulations)
    print(f"{path.name}: {count} linears, {elements:,} elements, {beyond} beyond the bound (largest {worst:.3f} of it); millinats: "
          f"KL(ours || 16 bit) {to_exact:.3f}, KL(emulation || 16 bit) {emulations:.3f}, KL(ours || emulation) {to_emulation:.4f} "
          f"({to_emulation / to_exact:.2%}), of noise alone {noise:.4f}{'' if good else ' FAILED'}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("octavo")
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=96)
    args = parser.parse_args()
    common.OCTAVO = args.octavo
    good = True
    with tempfile.TemporaryDirectory() as work:
        for folder in args.models:
            for label, options in (("default", ()), ("bitsandbytes", ("--compat", "bitsandbytes"))):
                path = convert(folder, pathlib.Path(work, f"{folder.name}-{label}.8vo"), *options)
                good &= check(folder, path, args.tokens)
    sys.exit(not good)


if __name__ == "__main__":
    main()
