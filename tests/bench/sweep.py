#!/usr/bin/env python3
"""Looks for cliffs: linears and batches around powers of two, and each next to its neighbours.

    sweep.py [--octavo build/tools/octavo] [--picture sweep.svg] [--json FILE] [--seconds 2] [--threads N] [--cpu NAME] [--quick]

out_features and in_features from 64 to 65,536 (the other one 4096, tokens 1, 16, 64 and 512) and tokens from 1 to 4096 (4096x4096): the
powers of two and the odd numbers beside them, by `octavo bench --cold`. Up to 16 tokens the time is taken for each byte of the weights,
beyond for each operation. A neighbour that takes more than 1.5 times as long is timed again, both in one run; what is still so is printed
as a cliff. Between sizes further apart (from a power of two to the next) only the larger one can be a cliff: that small ones cost more for
each operation is nothing new.

Exit code 0: it ran, cliffs or not. The picture needs matplotlib.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
OTHER = 4096
TOKENS = (1, 16, 64, 512)
FEW_TOKENS = 16
CLIFF = 1.5
CLOSE = 1.1  # sizes at most so far apart are compared in both directions


def around_powers(least, most):
    powers = [1 << e for e in range(least.bit_length() - 1, most.bit_length())]
    return sorted({n for p in powers for n in (p - 1, p, p + 1) if least <= n <= most})


class Sweep:
    def __init__(self, args):
        self.args, self.device = args, {}

    def bench(self, shapes, tokens):
        """(out, in, tokens) -> result of `octavo bench`."""
        command = [self.args.octavo, "bench", "--json", "--cold", "--shape", ",".join(f"{o}x{i}" for o, i in shapes),
                   "--tokens", ",".join(map(str, tokens)), "--seconds", str(self.args.seconds), "--threads", str(self.args.threads)]
        command += ["--cpu", self.args.cpu] if self.args.cpu else []
        told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        self.device = {key: told[key] for key in ("device_name", "backend", "threads")}
        return {(r["out_features"], r["in_features"], r["tokens"]): r for r in told["results"]}

    def run(self):
        """Lines of points along one axis: {"axis", "fixed", "points": [(size, result), …]}."""
        sizes = around_powers(64, 1024 if self.args.quick else 65536)
        batches = around_powers(1, 64 if self.args.quick else 4096)
        lines = []
        for axis, shape in (("out_features", lambda n: (n, OTHER)), ("in_features", lambda n: (OTHER, n))):
            found = {}
            for size in sizes:
                found |= self.bench([shape(size)], TOKENS)
                self.say(f"{axis} {size}")
            lines += [{"axis": axis, "fixed": f"{tokens} tokens, the other {OTHER}",
                       "points": [(size, found[(*shape(size), tokens)]) for size in sizes]} for tokens in TOKENS]
        found = self.bench([(OTHER, OTHER)], batches)
        lines.append({"axis": "tokens", "fixed": f"{OTHER}x{OTHER}", "points": [(n, found[OTHER, OTHER, n]) for n in batches]})
        return lines

    def say(self, text):
        print(f"[{time.monotonic() - START:6.1f} s] {text}", file=sys.stderr, flush=True)

    def cliffs(self, lines):
        """(line, smaller, larger, ratio) of what is still beyond CLIFF when both are timed in one run."""
        cliffs = []
        for line in lines:
            for (small, a), (large, b) in zip(line["points"], line["points"][1:]):
                if not is_cliff(small, large, worse(a, b)):
                    continue
                shapes = list(dict.fromkeys((r["out_features"], r["in_features"]) for r in (a, b)))
                again = self.bench(shapes, sorted({a["tokens"], b["tokens"]}))
                a, b = (again[r["out_features"], r["in_features"], r["tokens"]] for r in (a, b))
                self.say(f"{line['axis']} {small} and {large}, {line['fixed']}: {worse(a, b):.2f}")
                if is_cliff(small, large, worse(a, b)):
                    cliffs.append((line, a, b, worse(a, b)))
        return cliffs


def worse(a, b):
    """How many times as long as a takes b, for a byte of weights or for an operation."""
    per_byte = max(a["tokens"], b["tokens"]) <= FEW_TOKENS

    def cost(r):
        return r["ms"] / (r["out_features"] * r["in_features"] * (1 if per_byte else r["tokens"]))
    return cost(b) / cost(a)


def is_cliff(small, large, ratio):
    return ratio > CLIFF or (ratio < 1 / CLIFF and large <= CLOSE * small)


def draw(lines, device, path):
    """Share of the ceiling over size. Of the ceiling, because a byte's and an operation's time have no common scale."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    axes_names = list(dict.fromkeys(line["axis"] for line in lines))
    figure, all_axes = pyplot.subplots(len(axes_names), figsize=(8, 9), layout="constrained")
    figure.suptitle(f"{device['device_name']}, {device['backend']}, {device['threads']} threads, cold weights", fontsize=10)
    for axes, name in zip(all_axes, axes_names):
        for line in lines:
            points = [(size, 100 * r["share_of_ceiling"]) for size, r in line["points"] if r["share_of_ceiling"] is not None]
            if line["axis"] == name and points:
                axes.plot(*zip(*points), ".-", linewidth=1, markersize=4, label=line["fixed"])
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(name)
        axes.set_ylabel("of the ceiling, %")
        axes.legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None)


def report(device, lines, cliffs):
    out = [f"{device['device_name']}, {device['backend']}, {device['threads']} threads; {sum(len(line['points']) for line in lines)} cases; "
           f"neighbours more than {CLIFF} times apart: {len(cliffs)}", ""]
    if cliffs:
        out += ["| | | ms | of the ceiling | | ms | of the ceiling | times as long |", "|---|---|---|---|---|---|---|---|"]
    for line, a, b, ratio in cliffs:
        sides = [f"{r[line['axis']]} | {r['ms']:.4g} | " + ("-" if r["share_of_ceiling"] is None else f"{100 * r['share_of_ceiling']:.0f} %")
                 for r in (a, b)]
        what = f"{ratio:.2f}, the larger" if ratio > 1 else f"{1 / ratio:.2f}, the smaller"
        out.append(f"| {line['axis']}, {line['fixed']} | {sides[0]} | {sides[1]} | {what} |")
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--octavo", default=str(HERE.parents[1] / "build" / "tools" / "octavo"))
    parser.add_argument("--picture", type=pathlib.Path, help="SVG or PNG by its ending")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=None, help="how long to time a shape, all its tokens together (default: 2)")
    parser.add_argument("--threads", type=int, default=None, help="default: one for each CPU")
    parser.add_argument("--cpu", help="kernels by name, see octavo devices")
    parser.add_argument("--quick", action="store_true", help="small sizes only, for a smoke test")
    args = parser.parse_args()
    args.threads = args.threads or len(os.sched_getaffinity(0))
    args.seconds = args.seconds or (0.1 if args.quick else 2)
    sweep = Sweep(args)
    lines = sweep.run()
    cliffs = sweep.cliffs(lines)
    print(report(sweep.device, lines, cliffs), end="")
    if args.json:
        args.json.write_text(json.dumps({"device": sweep.device, "lines": lines, "cliffs": [
            {"axis": line["axis"], "fixed": line["fixed"], "pair": [a, b], "ratio": ratio} for line, a, b, ratio in cliffs]}, indent=1) + "\n")
    if args.picture:
        draw(lines, sweep.device, args.picture)
    return 0


if __name__ == "__main__":
    START = time.monotonic()
    sys.exit(main())
