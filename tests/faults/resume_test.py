#!/usr/bin/env python3
"""Conversions that are interrupted, and go on with --resume: the same bytes, and at most 5 % of the source read twice.

    resume_test.py [--count 20] [--seed N]     how many random interruptions; the seed is printed
    resume_test.py --large                     of 880 MiB with two threads and the default distance between save points

An interruption is SIGKILL, SIGTERM or SIGINT at a random read or write. What is read of the source is counted by the I/O shim.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import unittest

from shim import OCTAVO, OUT, contents, digests, environment, read_counts, run, scratch_folder, visible, write_large_model, write_model

LAYOUTS = {"single": [], "sharded": ["--max-shard-size", "100MB"]}
WAYS = {"kill": -9, "term": 1, "int": 1}  # and the exit code
SETTINGS = argparse.Namespace(count=20, seed=random.SystemRandom().randrange(1 << 31), large=False)


class RandomInterruptions(unittest.TestCase):
    def test_same_bytes_and_little_done_twice(self):
        print(f"{SETTINGS.count} interruptions, seed {SETTINGS.seed}")
        choice = random.Random(SETTINGS.seed)
        with scratch_folder(megabytes=2500) as name:
            root = pathlib.Path(name)
            # 880 MiB: a fiftieth is more than the least distance between save points.
            write_large_model(root / "model", 110 if SETTINGS.large else 40)
            command = ["convert", "model", "-o", OUT, "--quiet", "--threads", "2" if SETTINGS.large else "1"]
            if not SETTINGS.large:
                command += ["--save-every", "6MB"]
            expected, clean = {}, {}
            for layout, options in LAYOUTS.items():
                self.assertEqual(run(root, [*command, *options], counts=root / "counts").returncode, 0)
                clean[layout] = read_counts(root / "counts")
                expected[layout] = self.take_outputs(root)
            worst = 0.0
            for i in range(SETTINGS.count):
                layout = list(LAYOUTS)[i % 2]
                op = choice.choice(["read", "write"])
                n = choice.randrange(1, clean[layout].calls[op] + 1)
                way = choice.choice(list(WAYS))
                arguments = [*command, *LAYOUTS[layout]]
                with self.subTest(layout=layout, op=op, n=n, way=way):
                    first = run(root, arguments, fault=(op, n, way), counts=root / "counts")
                    read_first = read_counts(root / "counts").source_bytes
                    (root / "counts").unlink()
                    if first.returncode != 0:  # a signal at the last writes comes too late
                        self.assertEqual(first.returncode, WAYS[way], first.stderr)
                        self.assertFalse((root / OUT).exists())
                        second = run(root, [*arguments, "--resume"], counts=root / "counts")
                        self.assertEqual(second.returncode, 0, second.stderr)
                        read_both = read_first + read_counts(root / "counts").source_bytes
                        (root / "counts").unlink()
                        twice = read_both / clean[layout].source_bytes - 1
                        worst = max(worst, twice)
                        self.assertLessEqual(twice, 0.05)
                    self.assertEqual(self.take_outputs(root), expected[layout])
            print(f"read twice: at most {100 * worst:.2f} % of the source")

    def take_outputs(self, root):
        """Digests of what is there, which is removed."""
        (root / "counts").unlink(missing_ok=True)
        found = digests(root)
        for file in found:
            (root / file).unlink()
        return found


class Resume(unittest.TestCase):
    def setUp(self):
        scratch = scratch_folder(megabytes=100)
        self.addCleanup(scratch.cleanup)
        self.maxDiff = 2000
        self.dir = pathlib.Path(scratch.name) / "here"
        write_model(self.dir / "model")

    def convert(self, *options, fault=None, code=0):
        """On one thread: with more, the Nth write may come before or after a point is saved."""
        result = run(self.dir, ["convert", "model", "-o", OUT, "--save-every", "4KB", "--threads", "1", "--quiet", *options], fault=fault)
        self.assertEqual(result.returncode, code, result.stderr)
        return result.stderr

    def interrupted(self, *options):
        self.convert(*options, fault=("write", 14, "kill"), code=-9)
        self.assertFalse((self.dir / OUT).exists())
        return self.left()

    def left(self):
        """All but the lock, which a process that was killed leaves."""
        return {name: data for name, data in contents(self.dir).items() if not name.endswith("-lock")}

    def test_every_kind_of_state_comes_back(self):
        """Ranges of a first pass, modules left out after it, compressed chunks, packed codes, kept columns."""
        profile = {"octavo_profile": 1, "modules": {"model.layers.2.self_attn.q_proj": {
            "in_features": 48, "features": [{"index": 5, "max_abs": 9.0}, {"index": 40, "max_abs": 8.0}]}}}
        (self.dir / "model" / "profile.json").write_text(json.dumps(profile))
        for options in [["--method", "zeropoint-tensor"], ["--method", "row-wise", "--max-shard-size", "12KB"],
                        ["--on-nonfinite", "skip"], ["--compress"], ["--compress", "--max-shard-size", "12KB"],
                        ["--keep-columns", "model/profile.json"], ["--via-fp16"]]:
            self.convert(*options, "--force")
            expected = contents(self.dir)
            for path in self.dir.iterdir():
                if path.is_file():
                    path.unlink()
            for op in ["read", "write"]:
                for n in range(2, 40, 7):
                    with self.subTest(options=options, op=op, n=n):
                        run(self.dir, ["convert", "model", "-o", OUT, "--save-every", "1KB", *options], fault=(op, n, "kill"))
                        self.convert(*options, "--resume", "--force")
                        self.assertEqual(contents(self.dir), expected)
                        for path in self.dir.iterdir():
                            if path.is_file():
                                path.unlink()

    def test_interrupted_twice(self):
        self.convert()
        expected = contents(self.dir)
        (self.dir / OUT).unlink()
        self.interrupted()
        for n in [4, 6]:
            self.convert("--resume", fault=("write", n, "kill"), code=-9)
        self.convert("--resume")
        self.assertEqual(contents(self.dir), expected)

    def test_other_options_are_named(self):
        left = self.interrupted()
        self.assertIn('cannot resume: threshold was "6.000000" and is "3.000000"', self.convert("--resume", "--threshold", "3", code=2))
        self.assertIn("cannot resume: codec was", self.convert("--resume", "--compress", code=2))
        self.assertIn("cannot resume: max shard size was", self.convert("--resume", "--max-shard-size", "1MB", code=2))
        self.assertEqual(self.left(), left)

    def test_another_source_is_named(self):
        left = self.interrupted()
        name = "model-00002-of-00002.safetensors"
        os.utime(self.dir / "model" / name, (1, 1))
        self.assertIn(f"cannot resume: source file {name} was", self.convert("--resume", code=2))
        self.assertEqual(self.left(), left)

    def test_without_resume_it_starts_afresh(self):
        self.convert()
        expected = contents(self.dir)
        (self.dir / OUT).unlink()
        self.interrupted("--max-shard-size", "12KB")
        self.convert()
        self.assertEqual(contents(self.dir), expected)

    def test_says_that_it_can_be_resumed(self):
        err = self.convert(fault=("write", 14, 28), code=1)
        self.assertIn("No space left on device", err)
        self.assertIn("go on with --resume", err)

    def test_with_nothing_to_resume_it_just_converts(self):
        self.convert("--resume")
        self.assertEqual(sorted(contents(self.dir)), [OUT])
        self.assertIn("exists already", self.convert("--resume", code=1))

    def test_a_refused_source_leaves_nothing(self):
        path = self.dir / "model/model-00002-of-00002.safetensors"
        data = bytearray(path.read_bytes())
        data[-202:-200] = b"\x00\x7e"  # NaN, in the last weight: 96 bytes of a norm follow
        path.write_bytes(data)
        self.convert(code=1)
        self.assertEqual(contents(self.dir), {})


class TwoAtOnce(unittest.TestCase):
    def test_the_second_says_who_writes(self):
        with scratch_folder(megabytes=400) as name:
            root = pathlib.Path(name)
            write_large_model(root / "model", 8)
            first = subprocess.Popen([OCTAVO, "convert", "model", "-o", OUT, "--progress", "--threads", "1"], cwd=root,
                                     env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            first.stderr.readline()
            first.send_signal(signal.SIGSTOP)
            for more in [["--force"], ["--resume"]]:
                second = run(root, ["convert", "model", "-o", OUT, *more])
                self.assertEqual(second.returncode, 1)
                self.assertIn(f"{OUT} is being written by process {first.pid} on ", second.stderr)
            first.send_signal(signal.SIGCONT)
            first.communicate()
            self.assertEqual(first.returncode, 0)
            self.assertEqual(sorted(visible(contents(root))), [OUT])
            self.assertEqual(sorted(contents(root)), [OUT])


if __name__ == "__main__":
    if {"--count", "--seed", "--large"} & set(sys.argv):
        parser = argparse.ArgumentParser()
        parser.add_argument("--count", type=int, default=SETTINGS.count)
        parser.add_argument("--seed", type=int, default=SETTINGS.seed)
        parser.add_argument("--large", action="store_true")
        SETTINGS, rest = parser.parse_known_args()
        sys.argv[1:] = rest
    unittest.main()
