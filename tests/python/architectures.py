#!/usr/bin/env python3
"""octavo.transformers.load() on a tiny model of every architecture of docs/architectures.md.

    architectures.py OCTAVO [--only NAME] [--all]

Each case of tests/peers/architecture_cases.py (the first of each model type; --all: every one) is saved, converted and loaded from the file
alone. Every quantized linear must be ours, unless transformers has none of its own for it; the outputs must be those of the 16-bit
model, as far as int8 allows; and a save_pretrained folder must give the same again. Exit code 1 otherwise. In the environment of the peers.
"""

import argparse
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)

import torch
import transformers

import octavo.transformers
from octavo.torch import Linear8bit

import common  # noqa: F401  paths
from architecture_cases import all_cases, text
from architectures import build, save

# Relative error of a random model's outputs (Frobenius), int8 against float32: 1 to 9 %; a wrong or missing tensor makes it about 1.
MOST_ERROR = 0.2


def outputs(model, inputs):
    with torch.no_grad():
        found = model(**inputs)
    return torch.cat([t.float().flatten() for t in (found.get("logits"), found.get("last_hidden_state")) if t is not None])


def check(case, binary, work):
    torch.manual_seed(sum(map(ord, case.name)))
    model = build(case)
    save(case, model, work / "model")
    subprocess.run([binary, "convert", work / "model", "-o", work / "model.8vo", "--quiet"], check=True)
    file = octavo.open(work / "model.8vo")
    inputs = (case.inputs or text)(model.config)
    torch.manual_seed(0)
    expected = outputs(model.float().eval(), inputs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours, _ = octavo.transformers.load(file, dtype=torch.float32, model_class=type(model))
    torch.manual_seed(0)
    y = outputs(ours, inputs)
    error = float((y - expected).norm() / expected.norm())
    linears = {m.name for m in ours.modules() if isinstance(m, Linear8bit)}
    quantized = [m.name for m in file.modules.values() if m.quantized]
    dense = set(ours.config.quantization_config.modules_to_not_convert) & set(quantized)
    problems = []
    if not error <= MOST_ERROR:
        problems.append(f"outputs are off by {error:.1%}")
    if len(linears) + len(dense) != len(quantized):
        problems.append(f"{len(linears)} of {len(quantized)} linears are ours, {len(dense)} dense")
    if bool(dense) != any("in 16 bit" in str(warning.message) for warning in caught):
        problems.append("linears in 16 bit and no warning, or the reverse")
    if dense:
        print(f"    in 16 bit: {len(dense)}, {sorted(dense)[0]} …")
    elif quantized:
        ours.save_pretrained(work / "folder")
        again = type(model).from_pretrained(work / "folder", dtype=torch.float32)
        torch.manual_seed(0)
        if not torch.equal(outputs(again, inputs), y):
            problems.append("save_pretrained and from_pretrained give another model")
    print(f"{case.name:64} {len(linears):4} of {len(quantized):4} ours, error {error:.2%}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("octavo")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--all", action="store_true", help="every case, not the first of each model type")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    cases = [case for case in all_cases() if args.only in case.name]
    if not args.all:
        cases = list({case.type: case for case in reversed(cases)}.values())[::-1]
    failures = 0
    for case in cases:
        with tempfile.TemporaryDirectory() as work:
            try:
                problems = check(case, args.octavo, pathlib.Path(work))
            except Exception as error:  # one case must not hide the others
                problems = [f"{type(error).__name__}: {str(error)[:600]}"]
        failures += bool(problems)
        for problem in problems:
            print(f"FAILED {case.name}: {problem}")
    print(f"{len(cases)} models, {failures} failures")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
