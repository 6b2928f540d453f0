"""docs/cli.md knows every verb and option, and no other."""

import json
import re
import unittest

from cli import GPT2, LLAMA, ROOT, VERBS, CliTest


class Docs(CliTest):
    def setUp(self):
        super().setUp()
        text = (ROOT / "docs/cli.md").read_text()
        parts = re.split(r"(?m)^## octavo (\w+)$", text)
        self.sections = dict(zip(parts[1::2], parts[2::2]))

    def test_has_a_section_for_each_verb(self):
        self.assertEqual(sorted(self.sections), sorted(VERBS))

    def test_options_are_those_of_help(self):
        for verb in VERBS:
            options = self.octavo(verb, "--help").out.split("\nOptions:")[1].split("Examples:")[0]
            known = set(re.findall(r"(?m)^  (?:-\w,)?(--[\w-]+)", options)) - {"--help"}
            table = set(re.findall(r"(?m)^\| `(?:-\w, )?(--[\w-]+)", self.sections[verb]))
            self.assertEqual(table, known, verb)

    def test_json_keys_are_documented(self):
        """Every key that inspect, convert and diff print stands in the sections, as code."""
        def keys(value):
            if isinstance(value, dict):
                yield from value
                for inner in value.values():
                    yield from keys(inner)
            elif isinstance(value, list):
                for inner in value:
                    yield from keys(inner)

        reports = [self.octavo_json("convert", GPT2, "-o", "model.8vo"), self.octavo_json("convert", GPT2, "--dry-run")]
        documented = set(re.findall(r"`([a-z0-9_]+)`", self.sections["inspect"]))
        self.assertEqual(set(keys(self.octavo_json("inspect", "model.8vo"))) - documented, set())
        documented |= set(re.findall(r"`([a-z0-9_]+)`", self.sections["convert"]))
        self.assertEqual(set(keys(reports)) - documented, set())
        self.octavo("convert", LLAMA, "-o", "other.8vo", "--quiet")
        result = self.run_any("diff", "model.8vo", "other.8vo", "--json")
        documented = set(re.findall(r"`([a-z0-9_]+)`", self.sections["diff"]))
        self.assertEqual(set(keys(json.loads(result.stdout))) - documented, set())


if __name__ == "__main__":
    unittest.main()
