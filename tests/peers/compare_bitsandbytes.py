#!/usr/bin/env python3
"""Are the codes and scales of converted models those of the real bitsandbytes, bit for bit?

    compare_bitsandbytes.py OCTAVO MODEL_DIR... [--keep DIR]

Each model is converted by `octavo convert` twice: as it is by default (bf16 and fp32 sources with --via-fp16), and with
--compat bitsandbytes. The files are read by tests/reader, the independent reader; every quantized linear's weight is read
from the source by the safetensors package, quantized by bitsandbytes on the CPU, and compared whole: codes and absmax. Exit code 1 if
one element differs or if a model has no quantized linear. --keep: where the files stay, as NAME.8vo and NAME-bitsandbytes.8vo.
Run it in the environment of make_venv.sh.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

import bitsandbytes_peer
from sources import Source

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "reader"))
from octavo_reader import open_8vo  # noqa: E402


def convert(octavo, source, out, options):
    command = [octavo, "convert", str(source), "-o", str(out), "--force", "--quiet", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")


def compare_module(file, module, source):
    """(codes compared, codes that differ, scales that differ); bit patterns, so -0 is not 0."""
    codes, absmax = bitsandbytes_peer.quantize_weight(source.weight(module))
    ours, scales = file.codes(module["name"]), file.scales(module["name"])
    if ours.shape != codes.shape or scales.shape != absmax.shape or scales.dtype != np.float32:
        sys.exit(f"{module['name']}: codes {ours.shape}, expected {codes.shape}")
    different_scales = scales.view(np.uint32) != absmax.view(np.uint32)
    return codes.size, int((ours != codes).sum()), int(different_scales.sum())


def compare_file(path, source):
    """One line of the table: (linears, codes, differing codes, scales, differing scales); names linears that differ."""
    file = open_8vo(path)
    total = np.zeros(5, dtype=np.int64)
    for module in file.modules:
        if not module["quantized"]:
            continue
        size, codes, scales = compare_module(file, module, source)
        total += [1, size, codes, module["out_features"], scales]
        if codes or scales:
            print(f"  {module['name']}: {codes} of {size} codes and {scales} of {module['out_features']} scales differ")
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("octavo")
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--keep", type=pathlib.Path)
    args = parser.parse_args()
    failed = False
    print(f"against bitsandbytes {bitsandbytes_peer.VERSION}, torch {torch.__version__}")
    print(f"{'model':24} {'converted with':24} {'linears':>7} {'codes':>12} {'differ':>7} {'scales':>8} {'differ':>7}")
    with tempfile.TemporaryDirectory() as work:
        folder = args.keep or pathlib.Path(work)
        folder.mkdir(parents=True, exist_ok=True)
        for model in args.models:
            source = Source(model)
            plain = [] if source.is_fp16 else ["--via-fp16"]
            for suffix, options in (("", plain), ("-bitsandbytes", ["--compat", "bitsandbytes"])):
                path = folder / f"{model.name}{suffix}.8vo"
                convert(args.octavo, model, path, options)
                linears, codes, bad_codes, scales, bad_scales = compare_file(path, source)
                print(f"{model.name:24} {' '.join(options) or '-':24} {linears:7} {codes:12,} {bad_codes:7} {scales:8,} {bad_scales:7}")
                failed |= bool(bad_codes or bad_scales or linears == 0)
    if failed:
        sys.exit("compare_bitsandbytes: FAILED, see above")


if __name__ == "__main__":
    main()
