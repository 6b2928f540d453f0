"""Holds the C++ reader and octavo_reader.py against each other: two programs, one page.

Sound files: both must open and verify them and agree on each tensor's name, dtype, shape and
XXH3-64 of its raw bytes. Broken files: both must refuse them, quoting the same rule. The files are
those of tests/golden, those that octavo_writer.py makes, and every case of octavo_reader_test.py.

    compare_readers.py --dump PATH_OF_dump_8vo --golden tests/golden
"""

import argparse
import glob
import os
import re
import subprocess
import sys
import tempfile

import octavo_reader  # first: it says what is missing, if a module is
import octavo_reader_test
import octavo_writer

SHARD_NAME = re.compile(r"-\d{5}-of-\d{5}\.8vo$")
RULE = re.compile(r"\bR(?:[1-9]|[12]\d|3[0-7])\b")


def run(command):
    # A reader that hangs on a broken file fails the test.
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return result.returncode, result.stdout, result.stderr


def parse_dump(text):
    """[(name, dtype, dimensions, digest)]; the shape may have any brackets and separators."""
    rows = [line.split("\t") for line in text.splitlines()]
    return [(name, dtype, tuple(map(int, re.findall(r"\d+", shape))), digest)
            for name, dtype, shape, digest in rows]


class Comparison:

    def __init__(self, dump):
        self.readers = {
            "C++": [dump, "--verify"],
            "Python": [sys.executable, octavo_reader.__file__, "--verify", "--dump"],
        }
        self.failures, self.num_files, self.num_tensors = [], 0, 0

    def fail(self, path, message):
        self.failures.append(f"{os.path.basename(path)}: {message}")
        print("FAILED", self.failures[-1], file=sys.stderr)

    def run_both(self, path):
        self.num_files += 1
        return {name: run(command + [path]) for name, command in self.readers.items()}

    def compare_sound(self, path):
        results = self.run_both(path)
        refused = [
            f"{name} ({code}): {err.strip()}" for name, (code, _, err) in results.items()
            if code != 0
        ]
        if refused:
            return self.fail(path, "is sound, but refused by " + "; ".join(refused))
        first, second = (parse_dump(out) for _, out, _ in results.values())
        self.num_tensors += len(first)
        for row, other in zip(first, second):
            if row != other:
                return self.fail(path, f"C++ has {row}, Python {other}")
        if len(first) != len(second):
            self.fail(path, f"C++ has {len(first)} tensors, Python {len(second)}")

    def compare_broken(self, path, expected=None):
        """expected: the rule, where it is known; a limit of section 10 has none."""
        results = self.run_both(path)
        rules = {}
        for name, (code, _, err) in results.items():
            found = RULE.search(err.replace(path, ""))
            rules[name] = found[0] if found else None
            if code != 3:
                return self.fail(path, f"{name} ended with {code}, not 3, saying: {err.strip()}")
        if expected and not expected.startswith("R"):
            return
        if set(rules.values()) != {expected or rules["Python"]} or None in rules.values():
            said = "; ".join(f"{name}: {err.strip()}" for name, (_, _, err) in results.items())
            self.fail(path, f"expected {expected or 'one rule'}, but {said}")


def is_opened_by_its_index(path):
    folder = os.path.dirname(path)
    return bool(SHARD_NAME.search(path)) and any(
        not SHARD_NAME.search(p) for p in glob.glob(folder + "/*.8vo"))


def compare_golden(comparison, golden):
    for path in sorted(glob.glob(f"{golden}/valid/**/*.8vo", recursive=True)):
        comparison.compare_sound(path)
    for path in sorted(glob.glob(f"{golden}/invalid/**/*.8vo", recursive=True)):
        named = RULE.search(os.path.relpath(path, golden).replace("_", " "))
        if named or not is_opened_by_its_index(path):
            comparison.compare_broken(path, named[0] if named else None)


def compare_own(comparison, folder):
    for path in octavo_writer.write_samples(folder):
        comparison.compare_sound(path)
    for number, (rule, build) in enumerate(octavo_reader_test.CASES):
        name = re.sub(r"\W+", "_", build.__name__)[:80]
        path = os.path.join(folder, f"case{number}_{name}.8vo")
        with open(path, "wb") as stream:
            stream.write(build())
        comparison.compare_broken(path, rule)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dump", required=True, help="the C++ program that dumps a .8vo file")
    parser.add_argument("--golden", required=True, help="folder with valid/ and invalid/")
    options = parser.parse_args()
    comparison = Comparison(options.dump)
    compare_golden(comparison, options.golden)
    num_golden = comparison.num_files
    if not num_golden:
        comparison.fail(options.golden, "has no file")
    with tempfile.TemporaryDirectory() as folder:
        compare_own(comparison, folder)
    print(f"{num_golden} golden and {comparison.num_files - num_golden} other files, "
          f"{comparison.num_tensors} tensors, "
          f"{len(comparison.failures)} failures")
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    sys.exit(main())
