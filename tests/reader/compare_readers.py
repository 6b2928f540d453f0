"""Holds the C++ reader and octavo_reader.py against each other: two programs, one page.

Sound files: both must open and verify them and agree on each tensor's name, dtype, shape and
XXH3-64 of its raw bytes. Broken files: both must refuse them, quoting the same rule. The files are
those of tests/golden, those that octavo_writer.py makes, and every case of broken_files.py.

    compare_readers.py --dump PATH_OF_dump_8vo --golden tests/golden
"""

import argparse
import contextlib
import glob
import io
import os
import re
import subprocess
import sys
import tempfile

import octavo_reader  # first: it says what is missing, if a module is
import broken_files
import octavo_writer

RULE = re.compile(r"\bR0?([1-9]|[12]\d|3[0-7])(?!\d)")


def run_program(program, path):
    # A reader that hangs on a broken file fails the test.
    result = subprocess.run([program, path], capture_output=True, text=True, timeout=120)
    return result.returncode, result.stdout, result.stderr


def run_python(path):
    # In this process: starting Python for each file takes longer than reading it.
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            code = octavo_reader.main([path, "--verify", "--dump"])
    return code, out.getvalue(), err.getvalue()


def parse_dump(text):
    """[(name, dtype, dimensions, digest)]; the shape may have any brackets and separators."""
    rows = [line.split("\t") for line in text.splitlines()]
    return [(name, dtype, tuple(map(int, re.findall(r"\d+", shape))), digest)
            for name, dtype, shape, digest in rows]


def without_names(message, path):
    """The message without its file's name, in which a rule may stand."""
    return message.replace(os.path.dirname(path), "").replace(os.path.basename(path), "")


class Comparison:

    def __init__(self, dump):
        self.dump = dump
        self.failures, self.num_files, self.num_tensors = [], 0, 0

    def fail(self, path, message):
        self.failures.append(f"{os.path.join(*path.split(os.sep)[-2:])}: {message}")
        print("FAILED", self.failures[-1], file=sys.stderr)

    def run_both(self, path):
        self.num_files += 1
        return {"C++": run_program(self.dump, path), "Python": run_python(path)}

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
            found = RULE.search(without_names(err, path))
            rules[name] = "R" + found[1] if found else None
            if code != 3:
                return self.fail(path, f"{name} ended with {code}, not 3, saying: {err.strip()}")
        if expected and not expected.startswith("R"):
            return
        if set(rules.values()) != {expected or rules["Python"]} or None in rules.values():
            said = "; ".join(f"{name}: {err.strip()}" for name, (_, _, err) in results.items())
            self.fail(path, f"expected {expected or 'one rule'}, but {said}")


def compare_golden(comparison, golden):
    valid, invalid = glob.glob(f"{golden}/valid/*.8vo"), glob.glob(f"{golden}/invalid/*.8vo")
    if not valid or not invalid:
        comparison.fail(golden, "has no valid or no invalid files")
    for path in sorted(valid):
        comparison.compare_sound(path)
    for path in sorted(invalid):
        comparison.compare_broken(path, "R" + RULE.match(os.path.basename(path))[1])


def compare_own(comparison, folder):
    for path in octavo_writer.write_samples(folder):
        comparison.compare_sound(path)
    for number, (rule, build) in enumerate(broken_files.CASES):
        name = f"{rule}_{number}_" + re.sub(r"\W+", "_", build.__name__)[:80]
        case_folder = os.path.join(folder, name.replace(" ", ""))
        os.mkdir(case_folder)
        comparison.compare_broken(broken_files.write_case(case_folder, build), rule)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dump", required=True, help="the C++ program that dumps a .8vo file")
    parser.add_argument("--golden", required=True, help="folder with valid/ and invalid/")
    options = parser.parse_args()
    comparison = Comparison(options.dump)
    compare_golden(comparison, options.golden)
    num_golden = comparison.num_files
    with tempfile.TemporaryDirectory() as folder:
        compare_own(comparison, folder)
    print(f"{num_golden} golden and {comparison.num_files - num_golden} other files, "
          f"{comparison.num_tensors} tensors, "
          f"{len(comparison.failures)} failures")
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    sys.exit(main())
