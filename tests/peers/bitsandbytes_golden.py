#!/usr/bin/env python3
"""Golden vectors made by the real bitsandbytes (its CPU path), for tests that need no Python.

    bitsandbytes_golden.py FILE            writes tests/data/bitsandbytes/golden.safetensors
    bitsandbytes_golden.py FILE --check    computes everything again and compares with FILE; exit 1 if anything differs

The tensors of the file:

    weights/<case>/source        F16 or BF16 [out, in]: what is quantized (BF16 goes through fp16 first)
    weights/<case>/codes         I8 [out, in]           CB
    weights/<case>/absmax        F32 [out]              SCB
    activations/<case>/x         F16, BF16 or F32 [tokens, in] (the last two go through fp16 first)
    activations/<case>/t<T>/codes            I8 [tokens, in]: CA with threshold T: 0, 3, 6, or one that fp16 rounds to 6
    activations/<case>/t<T>/row_stats        F32 [tokens]: the absmax of each row's entries below T
    activations/<case>/t<T>/outlier_columns  I32 [outliers], ascending
    linear/<case>/x, weight, bias            F16
    linear/<case>/y              F16 [tokens, out]: Linear8bitLt(threshold=6).eval(). Its scaling and rounding are not Octavo's (docs/numerics.md
                                 section 8), so y is near, not equal

The metadata name the versions that wrote it. Run it in the environment of make_venv.sh.
"""

import argparse
import pathlib
import sys

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import bitsandbytes_peer
from definition import Settings, quantize_activations, quantize_weights
from sources import Source, load_activations

MODELS = pathlib.Path(__file__).resolve().parent.parent / "data" / "models"
THRESHOLDS = ["0", "3", "6", "6.0009765625"]  # the last one is 6 in fp16


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(torch.float16)


def halfway_weights():
    """Every row has absmax 127 * 2^j, so that products with 127 / absmax land on halves."""
    row = torch.cat([torch.tensor([127.0]), torch.arange(-126.5, 127.0, 1.0)])
    return torch.stack([row * 2.0**j for j in (-8, 0, 3)]).to(torch.float16)


def zero_rows():
    w = normal(4, 6, 19)
    w[1] = 0
    w[3] = -0.0
    w[4, 1:] = 0
    return w


def weight_cases():
    gpt2, llama = Source(MODELS / "gpt2-novels-outliers"), Source(MODELS / "llama-novels")
    step = torch.tensor(2.0**-24)
    yield "one_by_one", normal(1, 1, 1)
    yield "odd", normal(2, 17, 33)
    yield "prime", normal(3, 5, 7) * 0.02
    yield "zero_rows", zero_rows()
    yield "subnormal", (normal(5, 4, 21).float().mul(40).round() * step).to(torch.float16)
    yield "largest", torch.where(normal(6, 5, 23) > 0, 65504.0, -3.0).to(torch.float16)
    yield "wide_range", (normal(7, 9, 40).float() * torch.logspace(-6, 4, 9)[:, None]).to(torch.float16)
    yield "halfway", halfway_weights()
    yield "gpt2_c_attn", gpt2.tensor("transformer.h.2.attn.c_attn.weight").T[::48].contiguous()
    yield "gpt2_c_proj", gpt2.tensor("transformer.h.5.mlp.c_proj.weight").T[::32].contiguous()
    yield "llama_q_proj", llama.tensor("model.layers.1.self_attn.q_proj.weight")[::16].contiguous()
    yield "llama_down_proj", llama.tensor("model.layers.4.mlp.down_proj.weight")[::32].contiguous()


def with_outliers(seed, tokens, features, columns):
    x = normal(seed, tokens, features)
    for i, column in enumerate(columns):
        x[(7 * i) % tokens, column] = (-1) ** i * (6 + 9 * i)
    return x


def around_six():
    """Neighbours of 6 and of 3 in fp32; in fp16 some of them round onto the threshold."""
    base = torch.tensor([6.0, 5.9990, 5.9985, 5.998, 6.002, -6.0, -5.9985, 3.0, 2.9995, 2.9990, -3.0001, 0.25])
    x = torch.zeros(4, 12)
    x[0], x[1, :3], x[2] = base, torch.tensor([1.0, -2.0, 0.5]), base.flip(0) * 0.3
    return x


def activation_cases():
    captured = load_activations(MODELS / "gpt2-novels-outliers" / "activations.safetensors")
    everything = torch.full((3, 5), 7.0, dtype=torch.float16)
    mixed = with_outliers(11, 13, 70, [0, 33, 69])
    mixed[4] = 0           # a row of zeros
    mixed[5] = 9           # a row of outliers only
    yield "odd", with_outliers(10, 5, 37, [3, 36])
    yield "rows_of_zeros_and_outliers", mixed
    yield "one_token", with_outliers(12, 1, 50, [7, 8])
    yield "outliers_only", everything
    yield "below_threshold", normal(13, 6, 31) * 0.5
    yield "largest", torch.where(normal(14, 4, 29) > 1, 65504.0, 1.0).to(torch.float16)
    yield "subnormal", (normal(15, 3, 18).float().mul(9).round() * 2.0**-24).to(torch.float16)
    yield "around_six_fp32", around_six()
    yield "bf16", with_outliers(16, 7, 41, [5, 21]).to(torch.bfloat16)
    yield "fp32", with_outliers(17, 7, 41, [5, 21]).float() * 1.0009765
    yield "gpt2_c_fc", captured["transformer.h.5.mlp.c_fc"][:12].contiguous()
    yield "gpt2_c_proj", captured["transformer.h.2.mlp.c_proj"][40:44].contiguous()


def linear_cases():
    yield "odd", with_outliers(20, 5, 37, [3, 36]), normal(21, 11, 37) * 0.1, normal(22, 11)
    gpt2 = Source(MODELS / "gpt2-novels-outliers")
    captured = load_activations(MODELS / "gpt2-novels-outliers" / "activations.safetensors")
    name = "transformer.h.2.attn.c_attn"
    yield ("gpt2_c_attn", captured[name][:8].contiguous(), gpt2.tensor(f"{name}.weight").T[::48].contiguous(),
           gpt2.tensor(f"{name}.bias")[::48].contiguous())


def expect(ok, what):
    if not ok:
        sys.exit(f"bitsandbytes and docs/numerics.md disagree: {what}")


def make():
    """Every tensor of the file; each is compared with the definition before it is believed."""
    tensors = {}
    for case, source in weight_cases():
        codes, absmax = bitsandbytes_peer.quantize_weight(source)
        ours = quantize_weights(source.to(torch.float16).float().numpy())
        expect(np.array_equal(ours[0], codes) and np.array_equal(ours[1], absmax), f"weights/{case}")
        tensors[f"weights/{case}/source"] = source
        tensors[f"weights/{case}/codes"] = torch.from_numpy(codes)
        tensors[f"weights/{case}/absmax"] = torch.from_numpy(absmax)
    for case, x in activation_cases():
        tensors[f"activations/{case}/x"] = x
        for threshold in THRESHOLDS:
            codes, statistics, columns = bitsandbytes_peer.quantize_activations(x, float(threshold))
            ours = quantize_activations(x.float().numpy(), Settings(
                threshold=float(threshold), row_rule="below_threshold", activations="symmetric", via_fp16=True))
            key = f"activations/{case}/t{threshold}"
            expect(np.array_equal(ours.q, codes) and np.array_equal(ours.row_absmax, statistics)
                   and np.array_equal(ours.outlier_columns, columns), key)
            tensors[f"{key}/codes"] = torch.from_numpy(codes)
            tensors[f"{key}/row_stats"] = torch.from_numpy(statistics)
            tensors[f"{key}/outlier_columns"] = torch.from_numpy(columns)
    for case, x, weight, bias in linear_cases():
        y = bitsandbytes_peer.linear(x, weight, bias)
        tensors |= {f"linear/{case}/{k}": v for k, v in {"x": x, "weight": weight, "bias": bias, "y": y}.items()}
    return tensors


def differences(path, tensors):
    with safe_open(str(path), framework="pt") as handle:
        stored = {name: handle.get_tensor(name) for name in handle.keys()}
    for name in sorted(stored.keys() | tensors.keys()):
        if name not in stored or name not in tensors:
            yield f"{name}: only in {'the file' if name in stored else 'the new run'}"
            continue
        a, b = stored[name], tensors[name]
        same = a.dtype == b.dtype and a.shape == b.shape
        if name.endswith("/y") and same:  # torch's own products: the order of a sum may differ between machines
            same = torch.allclose(a.float(), b.float(), rtol=2e-3, atol=2e-3)
        elif same:
            same = torch.equal(a, b)
        if not same:
            yield f"{name}: differs"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tensors = make()
    if args.check:
        found = list(differences(args.file, tensors))
        print("\n".join(found) or f"{args.file}: all {len(tensors)} tensors as bitsandbytes {bitsandbytes_peer.VERSION} computes them")
        sys.exit(bool(found))
    args.file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(args.file), metadata={
        "bitsandbytes": bitsandbytes_peer.VERSION, "torch": torch.__version__.split("+")[0]})
    args.file.chmod(0o644)
    print(args.file, args.file.stat().st_size, "bytes,", len(tensors), "tensors")


if __name__ == "__main__":
    main()
