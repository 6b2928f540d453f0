#!/usr/bin/env python3
"""The logits of docs/examples/generate beside transformers', for a model folder.

    generate_logits.py OCTAVO GENERATE WORK FOLDER --double GENERATE_DOUBLE [--tokens N]

With every module kept in 16 bit they are transformers' float32 logits of the same weights to fp16 rounding: no further off
than half a unit in the last place that fp16 has at the row's largest logit. (Both are float32 programs that add in
different orders; transformers' own fp16 model is hundreds of times further off, as is printed.)

With int8 they are compared with the Python path: transformers' model with the quantized linears of the package, everything between them
in float64. Codes of activations are rounded, so a float32 sum that is one unit off now and then becomes a code that is one off, ten
thousands of times as much, the next layer sees that, and after a few layers two float32 programs are far apart. So:
- The program built with double between its linears: KL(generate || Python) is at most 1 % of what int8 does, KL(generate || 16 bit).
- As users build it, with float, what int8 does to the model is what it does in Python, to 10 %.
"""

import argparse
import pathlib
import subprocess

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, utils

import octavo
from octavo.torch import Linear8bit

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
    parser.add_argument("--double", required=True, help="the same program built with -DGENERATE_DOUBLE")
    parser.add_argument("--tokens", type=int, default=96)
    return parser.parse_args()


def converted(args, folder, *options):
    model = args.work / "logits.8vo"
    subprocess.run([args.octavo, "convert", folder, "-o", model, "--force", "--quiet", *options], check=True)
    return model


def generated(args, program, model, ids):
    """Logits by the example."""
    out = args.work / "logits.bin"
    subprocess.run([program, model, "--ids", " ".join(map(str, ids)), "--logits", out], check=True)
    return np.fromfile(out, "<f4").reshape(len(ids), -1)


def logits_of(model, ids):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].double().numpy()


def half_unit_of_fp16(values):
    """Half the distance of neighbouring fp16 numbers, at the largest magnitude of each row."""
    exponent = np.floor(np.log2(np.abs(values).max(axis=1, keepdims=True)))
    return 2.0 ** (np.maximum(exponent, -14) - 11)


def divergence(p_logits, q_logits):
    """Mean KL(p || q) over the tokens, in millinats."""
    p, q = (torch.log_softmax(torch.tensor(x, dtype=torch.float64), -1) for x in (p_logits, q_logits))
    return float((p.exp() * (p - q)).sum(-1).mean()) * 1000


class InFloat32(torch.nn.Module):
    """A linear of a .8vo file between float64 values: it takes and gives float32."""

    def __init__(self, model, name):
        super().__init__()
        self.linear = Linear8bit.from_file(model, name, dtype=torch.float32)

    def forward(self, x):
        return self.linear(x.float()).double()


def in_float64(model):
    """What transformers computes in float32 whatever the model's type, in float64."""
    for module in model.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            def norm(x, module=module):
                return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + module.variance_epsilon) * module.weight
            module.forward = norm
        elif type(module).__name__ == "LlamaRotaryEmbedding":
            rope, size = module.config.rope_parameters, module.inv_freq.numel()
            assert rope["rope_type"] == "default"
            frequencies = rope["rope_theta"] ** -(torch.arange(size, dtype=torch.float64) / size)

            def angles(x, position_ids, frequencies=frequencies):
                turned = (position_ids[..., None] * frequencies).repeat(1, 1, 2)
                return turned.cos(), turned.sin()
            module.forward = angles
    return model


def python_logits(folder, path, ids):
    """The Python path's, with float64 between the linears."""
    model = in_float64(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64))
    file = octavo.open(path)
    quantized = [name for name, module in file.modules.items() if module.quantized]
    assert quantized
    for name in quantized:
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, InFloat32(file, name))
    return logits_of(model, ids)


def float32_model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def check_kept(args, folder, ids):
    kept = generated(args, args.generate, converted(args, folder, "--skip-modules", "*"), ids)
    exact = logits_of(float32_model(folder), ids)
    fp16 = logits_of(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16), ids)
    bound = half_unit_of_fp16(exact)
    error, of_fp16 = (float((np.abs(logits - exact) / bound).max()) for logits in (kept, fp16))
    print(f"16 bit: largest error {error:.4f} of the bound; transformers in fp16: {of_fp16:.1f}")
    assert error <= 1, "logits of a 16-bit model differ by more than fp16 rounding"


def check_int8(args, ids):
    path = converted(args, args.folder)
    python, exact = python_logits(args.folder, path, ids), logits_of(float32_model(args.folder), ids)
    in_double, in_float = (generated(args, program, path, ids) for program in (args.double, args.generate))
    wanted, from_exact, float_from_exact = (divergence(logits, exact) for logits in (python, in_double, in_float))
    found, float_found = divergence(in_double, python), divergence(in_float, python)
    print(f"int8, KL in millinats: Python from 16 bit {wanted:.3g}; with double from 16 bit {from_exact:.3g}, from Python {found:.3g}, "
          f"{found / from_exact:.2g} of it; with float from 16 bit {float_from_exact:.3g}, from Python {float_found:.3g}")
    assert found <= 0.01 * from_exact, "int8 logits are not the Python path's"
    assert abs(float_from_exact - wanted) <= 0.1 * wanted, "int8 does something else to the model than in Python"


def main():
    utils.logging.disable_progress_bar()
    args = parse_arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    ids = AutoTokenizer.from_pretrained(args.folder)(TEXT)["input_ids"][:args.tokens]
    print(f"{args.folder.name}, {len(ids)} tokens")
    check_kept(args, args.folder, ids)
    check_int8(args, ids)


if __name__ == "__main__":
    main()
