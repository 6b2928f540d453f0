#!/usr/bin/env python3
"""Every system call of a small export fails once, in every way; the folder is complete or not there, and nothing stays behind.

    export_test.py                 a random choice of 150 faults, by a seed that is printed
    export_test.py --all           all of them; --seed 7, --count N as in fault_test.py

With an old folder in place (--force) it is the old one or the new one as a whole. After a kill, the next export leaves nothing else.
"""

import argparse
import errno
import pathlib
import random
import shutil
import sys

from shim import contents, fresh, read_counts, run, scratch_folder, write_model

ERRORS = [errno.ENOSPC, errno.EIO, errno.EINTR]
OPS = ["open", "read", "write", "sync", "rename", "truncate", "map"]
EXPORT = ["export", "x.8vo", "--to", "bitsandbytes", "-o", "out", "--threads", "1", "--quiet", "--max-shard-size", "5KB"]


def fail(what):
    sys.exit(f"export_test: {what}")


class Scenario:
    def __init__(self, root, name, has_old):
        self.name = name
        self.command = [*EXPORT, "--force"] if has_old else EXPORT
        self.template = root / name
        write_model(self.template / "model")
        self.expect_done(run(self.template, ["convert", "model", "-o", "x.8vo", "--quiet"]))
        shutil.rmtree(self.template / "model")
        if has_old:
            self.expect_done(run(self.template, ["export", "x.8vo", "--to", "safetensors", "-o", "out", "--quiet"]))
        self.before = contents(self.template / "out") if has_old else None
        clean, counts = fresh(self.template, root / f"{name}-clean"), root / f"{name}-counts"
        self.expect_done(run(clean, self.command, counts=counts))
        self.after = contents(clean / "out")
        self.names = sorted(p.name for p in clean.iterdir())
        self.calls = read_counts(counts).calls

    @staticmethod
    def expect_done(result):
        if result.returncode != 0:
            fail(f"{result.args}: {result.stderr}")

    def faults(self):
        for op in OPS:
            for n in range(1, self.calls[op] + 1):
                for what in [*ERRORS, "kill"] + (["short"] if op in ("read", "write") else []):
                    yield op, n, what

    def check(self, folder, fault):
        label = f"{self.name}, {fault}"
        result = run(folder, self.command, fault=fault)
        out = folder / "out"
        found = contents(out) if out.exists() else None
        if result.returncode == 0:
            if found != self.after:
                fail(f"{label}: done, but the folder is not complete")
        elif found not in (self.before, self.after):
            fail(f"{label}: neither the old folder nor the new one: {sorted(found or {})}")
        elif fault[2] != "kill" and (result.returncode != 1 or not result.stderr.startswith("octavo: ")):
            fail(f"{label}: exit code {result.returncode}: {result.stderr}")
        if fault[2] in (errno.EINTR, "short") and fault[0] != "map" and result.returncode != 0:
            fail(f"{label}: {result.stderr}")
        self.expect_done(run(folder, [*EXPORT, "--force"]))
        if contents(out) != self.after or sorted(p.name for p in folder.iterdir()) != self.names:
            fail(f"{label}: the next export leaves {sorted(p.name for p in folder.iterdir())}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--count", type=int, default=150)
    args = parser.parse_args()
    with scratch_folder(64) as scratch:
        root = pathlib.Path(scratch)
        scenarios = [Scenario(root, "fresh", False), Scenario(root, "forced", True)]
        faults = [(scenario, fault) for scenario in scenarios for fault in scenario.faults()]
        chosen = faults if args.all else random.Random(args.seed).sample(faults, min(args.count, len(faults)))
        for scenario, fault in chosen:
            scenario.check(fresh(scenario.template, root / "run"), fault)
    print(f"{len(chosen)} of {len(faults)} faults (seed {args.seed}): the folder is whole or not there, every time")


if __name__ == "__main__":
    main()
