#!/usr/bin/env python3
"""Does a whole model multiply as docs/numerics.md says? load() of each beside a plain emulation of the definition.

    emulation.py OCTAVO MODEL_DIR… [--tokens 96]

The emulation is the 16-bit model in float32 with every quantized linear replaced by definition.py (numpy). Each of our linears is fed what
the emulation's linear gets, and every element must be within the bound of section 7 of the float64 result.

Then both models run on their own: KL(ours || emulation) must be at most 1 % of KL(ours || 16 bit); of an encoder's embeddings, the mean
squares of the differences. An int8 code is a step function: what differs in the last bit of a float32 can make a code of the next linear
another one, and a few layers later two runs of the same definition have gone apart by 10 to 40 %. So the emulation adds in the order that
the vector kernels of CPUs share, and its outputs come out equal to the last bit. Exit code 1 otherwise. In the environment of the peers;
needs a CPU with AVX2.
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
SHARE = 0.01


class Emulated(torch.nn.Module):
    """A linear of the definition; keeps what it was given."""

    def __init__(self, file, module):
        super().__init__()
        self.weights, self.settings = weights_of(file, module), settings_of(file)

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1]).numpy()
        quantized = definition.quantize_activations(rows, self.settings, self.weights.kept_index)
        self.seen = (x, rows, quantized)
        return torch.from_numpy(definition.multiply_in_float32(rows, quantized, self.weights)).reshape(*x.shape[:-1], -1)


def model_class(folder):
    return getattr(transformers, transformers.AutoConfig.from_pretrained(folder).architectures[0])


def emulate(folder, path):
    model = model_class(folder).from_pretrained(folder, dtype=torch.float32)
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
        emulation = emulated.get_submodule(name)
        x, rows, quantized = emulation.seen
        y64, magnitude = definition.multiply(rows, quantized, emulation.weights)
        y = module(x).reshape(y64.shape).numpy()
        bad, share = definition.violations(y, y64, magnitude, quantized, "F32")
        count, elements, beyond, worst = count + 1, elements + y.size, beyond + int(bad.sum()), max(worst, float(share.max()))
    return count, elements, beyond, worst


def outputs_of(model, ids):
    """Logits; of an encoder without a head its embeddings."""
    result = model(ids)
    return result.logits if "logits" in result else result.last_hidden_state


def divergence(p, q, is_logits):
    """Mean of KL(p || q) over the tokens, in millinats; of embeddings the mean square of their difference."""
    if not is_logits:
        return float((p - q).double().square().mean())
    p, q = (torch.log_softmax(logits.double(), -1) for logits in (p, q))
    return 1000 * float((p.exp() * (p - q)).sum(-1).mean())


def check(folder, path, tokens):
    exact = model_class(folder).from_pretrained(folder, dtype=torch.float32)
    ours, tokenizer = octavo.transformers.load(path, dtype=torch.float32)
    emulated = emulate(folder, path)
    is_logits = exact.get_output_embeddings() is not None
    ids = tokenizer(TEXT, return_tensors="pt").input_ids[:, :tokens]
    with torch.no_grad():
        outputs = {name: outputs_of(model, ids) for name, model in (("16 bit", exact), ("emulation", emulated), ("ours", ours))}
        count, elements, beyond, worst = each_linear(ours, emulated)
    to_emulation, to_exact = (divergence(outputs["ours"], outputs[other], is_logits) for other in ("emulation", "16 bit"))
    equal = float((outputs["ours"] == outputs["emulation"]).double().mean())
    good = beyond == 0 and count > 0 and 0 < to_exact and to_emulation <= SHARE * to_exact
    print(f"{path.name}: {count} linears, {elements:,} elements, {beyond} beyond the bound (largest {worst:.3f} of it); "
          f"{'millinats: KL' if is_logits else 'mean squares: '}(ours || 16 bit) {to_exact:.3g}, (ours || emulation) {to_emulation:.3g}, "
          f"{to_emulation / to_exact:.2%}; {equal:.4%} of the outputs are equal{'' if good else ' FAILED'}")
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
