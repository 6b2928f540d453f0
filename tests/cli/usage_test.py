"""Help, version, wrong usage, and standard streams that are not there."""

import os
import re
import subprocess
import unittest

from cli import GPT2, OCTAVO, VERBS, CliTest, environment


class Help(CliTest):
    def test_names_every_verb_and_the_exit_codes(self):
        out = self.octavo("--help").out
        for verb in VERBS:
            self.assertRegex(out, rf"(?m)^  {verb} ")
        self.assertIn("0 done, 1 failed, 2 wrong usage, 3 a file is invalid or not intact", out)

    def test_every_verb_has_options_and_two_or_more_examples(self):
        for verb in VERBS:
            with self.subTest(verb=verb):
                out = self.octavo(verb, "--help").out
                self.assertIn(f"Usage: octavo {verb}", out)
                self.assertIn("--json", out)
                examples = out.split("Examples:\n")[1].strip().splitlines()
                self.assertGreaterEqual(len([e for e in examples if f"octavo {verb}" in e]), 2)

    def test_lines_of_options_are_at_most_100_columns_wide(self):
        for verb in VERBS:
            for line in self.octavo(verb, "--help").out.split("Examples:")[0].splitlines():
                self.assertLessEqual(len(line), 100, line)

    def test_options_in_examples_exist(self):
        for verb in VERBS:
            options, examples = self.octavo(verb, "--help").out.split("Examples:\n")
            known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", options))
            for line in examples.splitlines():
                command = re.split(r" \||  +", line.strip())[0]
                for option in re.findall(r"(?<!\S)--?[a-z][\w-]*", command):
                    self.assertIn(option, known, f"{verb}: {line}")

    def test_version_states_build_facts(self):
        out = self.octavo("--version").out
        self.assertRegex(out, r"\Aoctavo \d+\.\d+\.\d+\n")
        for part in [".8vo versions 1.0 to 1.", "built ", "kernels ", "portable", "zstd ", "xxhash "]:
            self.assertIn(part, out)


class WrongUsage(CliTest):
    def test_exits_with_2_and_says_what_was_wrong(self):
        for arguments, says in [
            ([], "no verb given"),
            (["covert"], ['no verb "covert"; did you mean "convert"?']),
            (["frobnicate"], ['no verb "frobnicate"; there are: "convert"', "see octavo --help"]),
            (["inspect", "--jsn", "x"], ['unexpected argument "--jsn"; did you mean "--json"? See octavo inspect --help']),
            (["convert", "x", "--out=y"], ['unexpected argument "--out=y"; did you mean "--output"?']),
            (["convert", "x", "--frobnicate"], ['unexpected argument "--frobnicate", see octavo convert --help']),
            (["--bogus"], '"--bogus"'),
            (["convert"], "SRC"),
            (["convert", GPT2], "--output"),
            (["convert", GPT2, "-o", "x.8vo", "--bogus"], '"--bogus"'),
            (["convert", GPT2, "-o", "x.8vo", "extra"], '"extra"'),
            (["convert", GPT2, "-o", "x.8vo", "--only-skip"], ["--only-skip", "--skip-modules"]),
            (["convert", GPT2, "-o", "x.8vo", "--quiet", "--progress"], ["--quiet", "--progress"]),
            (["convert", GPT2, "-o", "x.8vo", "--keep-budget", "0.1"], "--keep-columns"),
            (["inspect"], "FILE"),
            (["inspect", "x.8vo", "--modules", "--tensors"], "at most one"),
            (["inspect", "x.8vo", "--module", "a", "--asset", "b"], "at most one"),
            (["inspect", "x.8vo", "--manifest", "--json"], "--json"),
            (["verify"], "FILE"),
            (["diff"], "A"),
            (["diff", "x.8vo"], "B"),
            (["diff", "x.8vo", "y.8vo", "z.8vo"], '"z.8vo"'),
            (["diff", "x.8vo", "y.8vo", "--threads", "0"], "--threads"),
            (["forward", "x.8vo", "--input", "x"], "--module"),
            (["forward", "x.8vo", "--module", "x"], "--input"),
            (["forward", "x.8vo", "--module", "x", "--input", "x", "--force"], "--output"),
            (["devices", "extra"], '"extra"'),
        ]:
            with self.subTest(arguments=arguments):
                self.fails(2, *arguments, says=says)
                self.assertEqual(self.files(), [])

    def test_values_out_of_range(self):
        for option, values in {
            "--threshold": ["x", "-1", "nan", "inf", "1e99", "6,0", "0x10", ""],
            "--threads": ["0", "-2", "1025", "two", "1.5"],
            "--scope": ["row", "Batch"],
            "--method": ["int8"],
            "--activations": ["both"],
            "--row-rule": ["paper"],
            "--compat": ["none"],
            "--on-nonfinite": ["ignore"],
            "--max-shard-size": ["0", "5XB", "GB", "-1GB", "1e3", "1.2.3MB", "99999999999999TB"],
        }.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    self.fails(2, "convert", GPT2, "-o", "x.8vo", f"{option}={value}", says=option)
        for value in ["0", "1.5", "-0.1", "nan", "half"]:
            self.fails(2, "convert", GPT2, "-o", "x.8vo", "--keep-columns", "p", f"--keep-budget={value}",
                       says="--keep-budget")
        for option, value in [("--repeat", "0"), ("--expert", "-1"), ("--output-dtype", "F64")]:
            self.fails(2, "forward", "x", "--module", "m", "--input", "i", f"{option}={value}", says=option)


class Streams(CliTest):
    def test_a_reader_that_goes_away_is_no_error(self):
        path = self.converted()
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as closed:
            result = subprocess.run([OCTAVO, "inspect", path, "--json"], stdout=closed,
                                    stderr=subprocess.PIPE, env=environment(), check=False)
        self.assertEqual((result.returncode, result.stderr), (0, b""))

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full here")
    def test_a_full_output_is_an_error(self):
        path = self.converted()
        for view in ["--json", "--modules"]:
            with open("/dev/full", "wb") as full:
                result = subprocess.run([OCTAVO, "inspect", path, view], stdout=full,
                                        stderr=subprocess.PIPE, env=environment(), check=False)
            self.assertEqual(result.returncode, 1)
            self.assertIn(b"octavo: standard output: No space left on device", result.stderr)


if __name__ == "__main__":
    unittest.main()
