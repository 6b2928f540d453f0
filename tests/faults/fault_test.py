#!/usr/bin/env python3
"""Every system call of a small conversion fails once, in every way; nothing is lost and nothing stays behind.

    fault_test.py                 a random choice of 500 faults, by a seed that is printed
    fault_test.py --all           all of them: the n-th open, read, write, fsync, rename, ftruncate and mmap, for every n
    fault_test.py --seed 7        the choice of an earlier run; --count: how many

The n-th call gives ENOSPC, EIO, EDQUOT or EINTR, transfers half, or the process is killed there. After it: the old output or none,
a message with the cause and exit code 1; where the call was only interrupted or cut short, exit code 0 and the same bytes. After the
next run, with or without --resume: exactly the files of an undisturbed one.
"""

import argparse
import collections
import concurrent.futures
import errno
import os
import pathlib
import random
import shutil
import sys
import threading

from shim import OPS, OUT, contents, fresh, read_counts, run, scratch_folder, visible, write_model

ERRORS = [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR]
CI_FAULTS = 500
# One thread: the n-th call is the same one in every run.
CONVERT = ["convert", "model", "-o", OUT, "--quiet", "--threads", "1", "--save-every", "4KB"]


class Scenario:
    """A folder as it is before, the command that is disturbed, those that may follow, and what is there after an undisturbed one.

    `before`: options of an older output; `resume`: an interrupted conversion goes on; `parts`: their join instead of a conversion.
    """

    def __init__(self, root, name, options, before=None, resume=False, parts=0):
        self.name = name
        afresh = [*CONVERT, *options, "--force"]
        self.command = [*afresh, "--resume"] if resume else afresh
        self.next_commands = [afresh, [*afresh, "--resume"]]
        self.template = root / name
        write_model(self.template / "model")
        if before is not None:  # an older output, of another model
            write_model(self.template / "older", seed=2)
            self.expect_done(run(self.template, [*CONVERT, *before, "--skip-modules", "layers.1"]))
            shutil.rmtree(self.template / "older")
        if resume:  # an interrupted conversion
            killed = run(self.template, self.command, fault=("write", 14, "kill"))
            assert killed.returncode == -9, killed
            assert ".x.8vo.octavo-journal" in contents(self.template)
        for i in range(parts):
            self.expect_done(run(self.template, [*CONVERT, *options, "--part", f"{i + 1}/{parts}"]))
        if parts > 0:
            self.command = ["join", OUT, "--quiet", "--force"]
            self.next_commands = [self.command]
        self.before = visible(contents(self.template))
        clean = fresh(self.template, root / (name + "-clean"))
        counts = root / (name + "-counts")
        self.expect_done(run(clean, self.command, counts=counts))
        self.after = contents(clean)
        assert any(name.startswith(OUT) for name in self.after), list(self.after)
        self.calls = read_counts(counts).calls

    @staticmethod
    def expect_done(result):
        assert result.returncode == 0, result

    def faults(self):
        for op in OPS:
            whats = ERRORS + ["kill"] + (["short"] if op in ("read", "write") else [])
            for n in range(1, self.calls[op] + 1):
                for what in whats:
                    yield (self, op, n, what)


class Failed(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Failed(what)


def check_disturbed(scenario, what, result, left):
    """What is visible after the fault; the kind of end, for the summary."""
    files = visible(left)
    if result.returncode == 0:
        check(left == scenario.after, f"exit code 0, but {sorted(left)}")
        return "survived"
    if what == "kill":
        check(result.returncode == -9, f"exit code {result.returncode}")
        whole = scenario.before if files.get(OUT) == scenario.before.get(OUT) else scenario.after
        check(all(files.get(name) == data for name, data in whole.items()), f"broken: {sorted(files)}")
        return "killed"
    check(what not in ("short", errno.EINTR), f"was not survived: {result.stderr}")
    check(result.returncode == 1, f"exit code {result.returncode}: {result.stderr}")
    check(result.stderr.startswith("octavo: ") and result.stderr.count("\n") == 1, f"said {result.stderr!r}")
    check(os.strerror(what) in result.stderr, f"does not name the cause: {result.stderr}")
    if files == scenario.before:
        return "failed, the old output or none"
    # The output has its name, but its folder could not be synced: a power loss may bring back the old one, which is still whole.
    check("the folder" in result.stderr, f"left {sorted(files)}")
    kept = {**scenario.before, **visible(scenario.after)}
    check(files == kept, f"left {sorted(files)}, not {sorted(kept)}")
    return "failed after the rename, the new output whole"


def try_fault(root, fault):
    scenario, op, n, what = fault
    folder = root / f"run-{threading.get_ident()}"
    fresh(scenario.template, folder)
    counts = root / f"counts-{threading.get_ident()}"
    counts.unlink(missing_ok=True)
    result = run(folder, scenario.command, fault=(op, n, what), counts=counts)
    check(read_counts(counts).faults == 1, "the fault did not come")
    end = check_disturbed(scenario, what, result, contents(folder))
    if scenario.command[0] == "join" and result.returncode == 0:
        return end  # nothing is left to join
    for command in scenario.next_commands:
        next_folder = fresh(folder, root / f"next-{threading.get_ident()}")
        again = run(next_folder, command)
        check(again.returncode == 0, f"next, {command}: {again.stderr}")
        left = contents(next_folder)
        check(left == scenario.after, f"next, {command} left {sorted(left)}")
    return end


def describe(fault):
    scenario, op, n, what = fault
    return f"{scenario.name}: {op} {n} {errno.errorcode.get(what, what)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--count", type=int, default=CI_FAULTS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    sharded = ["--max-shard-size", "12KB"]
    with scratch_folder(megabytes=100) as folder:
        root = pathlib.Path(folder)
        scenarios = [
            Scenario(root, "single", []),
            Scenario(root, "single over single", [], before=[]),
            Scenario(root, "sharded", sharded),
            Scenario(root, "sharded over sharded", sharded, before=sharded),
            Scenario(root, "sharded, resumed", sharded, resume=True),
            Scenario(root, "a part", [*sharded, "--part", "2/2"]),
            Scenario(root, "two parts joined", sharded, parts=2),
            Scenario(root, "two parts joined over sharded", sharded, before=sharded, parts=2),
        ]
        faults = [fault for scenario in scenarios for fault in scenario.faults()]
        total = len(faults)
        for scenario in scenarios:
            print(f"{scenario.name}: {len(scenario.after)} files, calls {scenario.calls}")
        if not arguments.all:
            faults = random.Random(arguments.seed).sample(faults, min(arguments.count, total))
            print(f"{len(faults)} of {total} faults, seed {arguments.seed}; all of them: --all")
        ends, failures = collections.Counter(), []
        survived = collections.Counter()
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            futures = {pool.submit(try_fault, root, fault): fault for fault in faults}
            for future, fault in futures.items():
                try:
                    end = future.result()
                    ends[end] += 1
                    if end == "survived" and fault[3] not in ("short", errno.EINTR):
                        survived[f"{fault[0].name}: {fault[1]} {fault[2]}"] += 1
                except Failed as failure:
                    failures.append(f"{describe(fault)}: {failure}")
    for failure in failures[:40]:
        print("FAILED", failure)
    for end, count in sorted(ends.items()):
        print(f"{count:6} {end}")
    for call, count in sorted(survived.items()):
        print(f"       an error that did no harm, {count} times: {call}")
    print(f"{len(faults)} faults tried, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
