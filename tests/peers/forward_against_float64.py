#!/usr/bin/env python3
"""Does `octavo forward` multiply as docs/numerics.md says? Every element against float64, on real activations.

    forward_against_float64.py OCTAVO MODEL.8vo ACTIVATIONS.safetensors [--source MODEL_DIR] [--sample 4]

Each module of the file that ACTIVATIONS names is multiplied by `octavo forward` as the file says, result in F32; a sample of modules (those
with most outlier columns among them) in every variant of VARIANTS. The activations are quantized again here by definition.py, the product is
taken in float64, and each element must lie within the bound of section 7; the outlier columns that the program reports must be those
found here. With --source: a table of relative errors (Frobenius, against the 16-bit layer in float64) next to the
real bitsandbytes. Exit code 1 if anything is beyond its bound. Run it in the environment of make_venv.sh.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import definition
from definition import Settings, Weights
from octavo_file import open_8vo, settings_of, weights_of
from sources import Source, load_activations

# What `octavo forward` is told to do otherwise than the file says, the type of X, and the type of y.
VARIANTS = [
    ({}, "F16", "F16"),
    ({}, "BF16", "BF16"),
    ({}, "F32", "F32"),
    ({"scope": "token"}, "F16", "F32"),
    ({"scope": "token", "activations": "symmetric"}, "BF16", "F32"),
    ({"scope": "token", "threshold": 0}, "F32", "F16"),
    ({"activations": "symmetric"}, "F32", "F32"),
    ({"activations": "symmetric", "row_rule": "below_threshold"}, "F16", "F32"),
    ({"activations": "asymmetric", "row_rule": "below_threshold", "threshold": 3}, "F32", "BF16"),
    ({"threshold": 0}, "F16", "F32"),
    ({"threshold": 0, "activations": "symmetric"}, "BF16", "F32"),
    ({"threshold": 3}, "BF16", "F32"),
    ({"threshold": 0.5, "activations": "symmetric"}, "F16", "F32"),
    ({"threshold": 1e-30}, "F32", "F32"),
]
# The same with rows of non-finite, zero, tiny and only large values.
SPOILED_VARIANTS = [
    ({}, "F16", "F32"),
    ({"activations": "symmetric", "row_rule": "below_threshold"}, "F32", "F16"),
    ({"scope": "token"}, "F32", "F32"),
    ({"threshold": 0}, "BF16", "BF16"),
]
TORCH_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
TYPE_NAMES = {dtype: name for name, dtype in TORCH_TYPES.items()}
PAPER = {"activations": "symmetric", "row_rule": "inlier_columns", "scope": "batch"}


class Octavo:
    """Calls the binary on one file; y as torch tensor, the facts as the dict of --json."""

    def __init__(self, binary, path, work):
        self.binary, self.path, self.work = binary, str(path), pathlib.Path(work)

    def forward(self, module, x, overrides, output_type):
        save_file({module: x}, str(self.work / "x.safetensors"))
        command = [self.binary, "forward", self.path, "--module", module, "--input", str(self.work / "x.safetensors"),
                   "--output", str(self.work / "y.safetensors"), "--force", "--json", "--output-dtype", output_type]
        for key, value in overrides.items():
            command += ["--" + key.replace("_", "-"), str(value)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
        with safe_open(str(self.work / "y.safetensors"), framework="pt") as handle:
            y = handle.get_tensor(module)
        return y, json.loads(done.stdout)


def cast(x, name):
    """The same activations in another type; F32 gets digits that no 16-bit type holds."""
    return x.float() * 1.0003 if name == "F32" else x.to(TORCH_TYPES[name])


def spoil(x):
    x = x.clone()
    x[0, 0], x[0, -1], x[1, 1] = torch.inf, -torch.inf, torch.nan
    x[2], x[3], x[4] = 0, 1000, x[4] * 1e-7
    return x


class Checker:
    def __init__(self, octavo, file):
        self.octavo, self.file = octavo, file
        self.elements = self.calls = self.failures = 0
        self.worst_share = 0.0

    def fail(self, what):
        self.failures += 1
        print("FAILED", what)

    def check(self, module, x, overrides, output_type):
        """Multiplies once and returns y in float64."""
        name = module["name"]
        label = f"{name} {TYPE_NAMES[x.dtype]} -> {output_type} {overrides or ''}"
        weights = weights_of(self.file, module)
        y, facts = self.octavo.forward(name, x, overrides, output_type)
        quantized = definition.quantize_activations(
            x.float().numpy(), settings_of(self.file, **overrides), weights.kept_index)
        y64, magnitude = definition.multiply(x.double().numpy(), quantized, weights)
        result = y.double().numpy()
        self.calls += 1
        self.elements += y64.size
        if result.shape != y64.shape or TYPE_NAMES[y.dtype] != output_type:
            self.fail(f"{label}: y is {TYPE_NAMES[y.dtype]} {result.shape}, expected {output_type} {y64.shape}")
            return result
        kept = [] if weights.kept_index is None else weights.kept_index  # the program does not count them
        columns = np.setdiff1d(quantized.outlier_columns, kept).tolist()
        if facts["outlier_columns"] != columns:
            self.fail(f"{label}: reports outlier columns {facts['outlier_columns']}, expected {columns}")
        bad, share = definition.violations(result, y64, magnitude, quantized, output_type)
        self.worst_share = max(self.worst_share, float(share.max(initial=0)))
        if bad.any():
            m, n = np.argwhere(bad)[0]
            self.fail(f"{label}: {bad.sum()} of {bad.size} elements beyond the bound; first at token {m}, feature {n}: "
                      f"{result[m, n]!r}, expected {y64[m, n]!r}, error {share[m, n]:.2f} times the bound")
        return result


def choose(modules, activations, threshold, count):
    """The `count` modules with most outlier columns and as many evenly spread ones."""
    def outliers(module):
        return int((activations[module["name"]].abs() >= threshold).any(dim=0).sum())

    most = sorted(modules, key=outliers, reverse=True)[:count]
    spread = modules[::max(1, len(modules) // count)][:count]
    return [m for m in modules if m in most or m in spread]


def check_variants(checker, module, x):
    spans_rows = settings_of(checker.file).one_range  # refused with scope token
    for variants, values in ((VARIANTS, x), (SPOILED_VARIANTS, spoil(x))):
        for overrides, x_type, y_type in variants:
            if not (spans_rows and overrides.get("scope") == "token"):
                checker.check(module, cast(values, x_type), overrides, y_type)


def simple_error(x, w, exact, bias, method):
    """Without decomposition, by the definition."""
    codes, absmax = definition.quantize_weights(w, method)
    weights = Weights(codes, absmax.astype(np.float64) / 127, bias=bias)
    quantized = definition.quantize_activations(
        x, Settings(threshold=0, activations="symmetric", one_range=method == "tensor-wise"))
    return definition.relative_error(definition.multiply(x, quantized, weights)[0], exact)


def errors_of(module, x, y_of, source, file):
    """{row of the table: relative error} of one module."""
    import bitsandbytes_peer
    weight = source.weight(module)
    w, x64 = weight.double().numpy(), x.double().numpy()
    weights = weights_of(file, module)
    exact = x64 @ w.T + (0 if weights.bias is None else weights.bias)
    bias = None if weights.bias is None else torch.from_numpy(weights.bias).to(torch.float16)
    errors = {f"{method}, no decomposition": simple_error(x.float().numpy(), weight.float().numpy(), exact, weights.bias, method)
              for method in ("tensor-wise", "row-wise", "vector-wise")}
    real = bitsandbytes_peer.linear(x, weight.to(torch.float16), bias)
    errors[f"bitsandbytes {bitsandbytes_peer.VERSION}, t = 6"] = definition.relative_error(real.double().numpy(), exact)
    errors |= {f"octavo, {label}": definition.relative_error(y, exact) for label, y in y_of.items()}
    return errors


def print_table(table, shown):
    """A column for each shown module, and the geometric mean over all."""
    labels = list(next(iter(table.values())))
    shown = [name for name in table if name in shown][:4]
    noise = ("model", "transformer", "encoder", "layers", "layer", "h", "self_attn", "attention", "self", "mlp", "attn", "dense")
    shorten = {name: ".".join(part for part in name.split(".") if part not in noise)[-18:] for name in shown}
    print(f"{'relative error':34}" + "".join(f"{shorten[n]:>20}" for n in shown) + f"{'mean of ' + str(len(table)):>14}")
    for label in labels:
        mean = np.exp(np.mean([np.log(row[label]) for row in table.values()]))
        print(f"{label:34}" + "".join(f"{table[n][label]:20.3%}" for n in shown) + f"{mean:14.3%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("octavo")
    parser.add_argument("model")
    parser.add_argument("activations")
    parser.add_argument("--source")
    parser.add_argument("--sample", type=int, default=4)
    args = parser.parse_args()
    file, activations = open_8vo(args.model), load_activations(args.activations)
    modules = [m for m in file.modules if m["quantized"] and m["kind"] == "linear" and m["name"] in activations]
    if not modules:
        sys.exit(f"{args.model} and {args.activations} have no module in common")
    sample = choose(modules, activations, file.manifest["quantization"]["threshold"], args.sample)
    table = {}
    with tempfile.TemporaryDirectory() as work:
        checker = Checker(Octavo(args.octavo, args.model, work), file)
        for module in modules:
            x = activations[module["name"]]
            y_of = {"the paper's rules": checker.check(module, x, PAPER, "F32"),
                    "as the file says": checker.check(module, x, {}, "F32")}
            if args.source:
                table[module["name"]] = errors_of(module, x, y_of, Source(args.source), file)
        for module in sample:
            check_variants(checker, module, activations[module["name"]])
    if table:
        print_table(table, {m["name"] for m in sample})
    print(f"{args.model}: {len(modules)} linears, {checker.calls} products, {checker.elements:,} elements, "
          f"largest error {checker.worst_share:.3f} of its bound, {checker.failures} failures")
    sys.exit(checker.failures > 0)


if __name__ == "__main__":
    main()
