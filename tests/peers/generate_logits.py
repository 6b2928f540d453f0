#!/usr/bin/env python3
"""The logits of docs/examples/generate beside transformers', for a model folder.

    generate_logits.py OCTAVO GENERATE WORK FOLDER [--tokens N] [--noise]

With every module kept in 16 bit they are transformers' float32 logits of the same weights to fp16 rounding: no further off
than half a unit in the last place that fp16 has at the row's largest logit. (Both are float32 programs that add in
different orders; transformers' own fp16 model is hundreds of times further off, as is printed.)

With int8 they are compared with the definition: the same float32 model in which each quantized linear is docs/numerics.md in
float64 (definition.py).
- The model's first two blocks alone: KL(generate || definition) is at most 1 % of what int8 does, KL(generate || 16 bit).
- The whole model: what int8 does to it, KL(generate || 16 bit), is what the definition does, to 10 %. Logits cannot be compared
  one by one there. Codes of activations are rounded, so a float32 sum that is one unit off now and then becomes a code that is
  one off, ten thousands of times as much, and the next layer sees that. After a few layers the definition itself, its outputs
  moved by one unit of float32, is far from itself: --noise measures it (SmolLM2: 44 % of what int8 does).
"""

import argparse
import pathlib
import subprocess

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from definition import multiply, quantize_activations
from octavo_file import open_8vo, settings_of, weights_of

TEXT = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness,
it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of Darkness, it was
the spring of hope, it was the winter of despair, we had everything before us, we had nothing before us, we were all going
direct to Heaven, we were all going direct the other way."""


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("octavo")
    parser.add_argument("generate")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--noise", action="store_true", help="also the definition beside itself with float32 noise")
    return parser.parse_args()


def generated(args, folder, ids, *options):
    """Logits by the example, of a fresh conversion of the folder; and its path."""
    model, out = args.work / "logits.8vo", args.work / "logits.bin"
    subprocess.run([args.octavo, "convert", folder, "-o", model, "--force", "--quiet", *options], check=True)
    subprocess.run([args.generate, model, "--ids", " ".join(map(str, ids)), "--logits", out], check=True)
    return np.fromfile(out, "<f4").reshape(len(ids), -1), model


def logits_of(model, ids):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].float().numpy()


def half_unit_of_fp16(values):
    """Half the distance of neighbouring fp16 numbers, at the largest magnitude of each row."""
    exponent = np.floor(np.log2(np.abs(values).max(axis=1, keepdims=True)))
    return 2.0 ** (np.maximum(exponent, -14) - 11)


def divergence(p_logits, q_logits):
    """Mean KL(p || q) over the tokens, in millinats."""
    p, q = (torch.log_softmax(torch.tensor(x, dtype=torch.float64), -1) for x in (p_logits, q_logits))
    return float((p.exp() * (p - q)).sum(-1).mean()) * 1000


class Definition(torch.nn.Module):
    """A linear of a .8vo file, multiplied as docs/numerics.md says, in float64. `noise`: how far outputs are moved at most,
    relative to themselves."""

    def __init__(self, file, module, noise):
        super().__init__()
        self.weights, self.settings, self.noise = weights_of(file, module), settings_of(file), noise

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1]).numpy()
        quantized = quantize_activations(rows, self.settings, self.weights.kept_index)
        y, _ = multiply(rows, quantized, self.weights)
        y *= 1 + self.noise * np.random.default_rng(1).uniform(-1, 1, y.shape)
        return torch.from_numpy(y.astype(np.float32)).reshape(*x.shape[:-1], -1)


def definition_logits(folder, path, ids, noise=0.0):
    model, file = float32_model(folder), open_8vo(path)
    quantized = [module for module in file.manifest["modules"] if module["quantized"]]
    assert quantized
    for module in quantized:
        parent, _, name = module["name"].rpartition(".")
        setattr(model.get_submodule(parent), name, Definition(file, module, noise))
    return logits_of(model, ids)


def float32_model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def first_blocks(args, count):
    """A folder with the model's first blocks, its head right behind them."""
    model = AutoModelForCausalLM.from_pretrained(args.folder)
    if model.config.model_type == "gpt2":
        model.transformer.h, model.config.n_layer = model.transformer.h[:count], count
    else:
        model.model.layers, model.config.num_hidden_layers = model.model.layers[:count], count
    model.save_pretrained(args.work / "first_blocks")
    return args.work / "first_blocks"


def check_kept(args, folder, ids):
    kept, _ = generated(args, folder, ids, "--skip-modules", "*")
    exact = logits_of(float32_model(folder), ids)
    fp16 = logits_of(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16), ids)
    bound = half_unit_of_fp16(exact)
    error, of_fp16 = (float((np.abs(logits - exact) / bound).max()) for logits in (kept, fp16))
    print(f"16 bit: largest error {error:.4f} of the bound; transformers in fp16: {of_fp16:.1f}")
    assert error <= 1, "logits of a 16-bit model differ by more than fp16 rounding"


def check_first_blocks(args, ids):
    folder = first_blocks(args, 2)
    int8, path = generated(args, folder, ids)
    from_definition = divergence(int8, definition_logits(folder, path, ids))
    from_exact = divergence(int8, logits_of(float32_model(folder), ids))
    print(f"int8, two blocks: KL from the definition {from_definition:.3g}, from 16 bit {from_exact:.3g} millinats: "
          f"{100 * from_definition / from_exact:.2g} %")
    assert from_definition <= 0.01 * from_exact, "int8 logits are not the definition's"


def check_whole(args, ids):
    exact = logits_of(float32_model(args.folder), ids)
    int8, path = generated(args, args.folder, ids)
    definition = definition_logits(args.folder, path, ids)
    found, from_exact, wanted = divergence(int8, definition), divergence(int8, exact), divergence(definition, exact)
    print(f"int8, whole model: KL from 16 bit {from_exact:.3g}, of the definition {wanted:.3g}, between the two {found:.3g} millinats")
    if args.noise:
        noisy = divergence(definition_logits(args.folder, path, ids, noise=2.0**-23), definition)
        print(f"the definition with float32 noise: KL from itself {noisy:.3g} millinats")
    assert abs(from_exact - wanted) <= 0.1 * wanted, "int8 does something else to the model than the definition"


def main():
    args = parse_arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    ids = AutoTokenizer.from_pretrained(args.folder)(TEXT)["input_ids"][:args.tokens]
    print(f"{args.folder.name}, {len(ids)} tokens")
    check_kept(args, args.folder, ids)
    check_first_blocks(args, ids)
    check_whole(args, ids)


if __name__ == "__main__":
    main()
