"""octavo.convert: the bytes of the command line, progress, cancelling, errors."""

import json
import re
import sys
import unittest
import warnings

try:
    import numpy  # noqa: F401
except ModuleNotFoundError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

import octavo
from common import GPT2, LLAMA, ROOT, PackageTest
from octavo import conversion


class Convert(PackageTest):
    def test_gives_the_bytes_of_the_command_line(self):
        profile = {"octavo_profile": 1, "modules": {"transformer.h.5.attn.c_attn": {
            "in_features": 256, "features": [{"index": 3, "max_abs": 9.0}, {"index": 41, "max_abs": 50.0}]}}}
        (self.dir / "profile.json").write_text(json.dumps(profile))
        for source, options, flags in (
                (GPT2, {}, ()),
                (GPT2, {"compat": "bitsandbytes", "threshold": 5.0}, ("--compat", "bitsandbytes", "--threshold", 5)),
                (LLAMA, {"layout": "packed"}, ("--layout", "packed")),
                (LLAMA, {"method": "row-wise", "skip_modules": ["layers.0", "o_proj"], "compress": True},
                 ("--method", "row-wise", "--skip-modules", "layers.0,o_proj", "--compress")),
                (LLAMA, {"scope": "token", "row_rule": "below_threshold", "activations": "symmetric", "via_fp16": True},
                 ("--scope", "token", "--row-rule", "below_threshold", "--activations", "symmetric", "--via-fp16")),
                (GPT2, {"keep_columns": profile, "keep_budget": 1e-4}, ("--keep-columns", self.dir / "profile.json", "--keep-budget", 1e-4))):
            with self.subTest(options=options):
                done = octavo.convert(source, self.dir / "ours.8vo", overwrite=True, **options)
                self.assertEqual((self.dir / "ours.8vo").read_bytes(), self.converted(source, *flags).read_bytes())
                self.assertEqual(done.bytes_file, (self.dir / "ours.8vo").stat().st_size)
        octavo.convert(LLAMA, self.dir / "shards.8vo", max_shard_bytes=3_000_000, sha256=True, num_threads=1)
        self.assertGreater(len(octavo.open(self.dir / "shards.8vo").manifest["shards"]), 1)

    def test_forms_that_options_come_in(self):
        """A string is a list of one pattern; a profile comes as a path, too; sizes have units."""
        profile = {"octavo_profile": 1, "modules": {"transformer.h.5.attn.c_attn": {
            "in_features": 256, "features": [{"index": 3, "max_abs": 9.0}]}}}
        path = self.dir / "one.json"
        path.write_text(json.dumps(profile))
        for one, other in (({"skip_modules": "h.0"}, {"skip_modules": ["h.0"]}), ({"keep_columns": path}, {"keep_columns": profile}),
                           ({"keep_columns": str(path)}, {"keep_columns": json.dumps(profile)})):
            for options, name in ((one, "one.8vo"), (other, "other.8vo")):
                octavo.convert(GPT2, self.dir / name, overwrite=True, **options)
            self.assertEqual((self.dir / "one.8vo").read_bytes(), (self.dir / "other.8vo").read_bytes())
            self.assertNotEqual((self.dir / "one.8vo").read_bytes(), self.converted(GPT2).read_bytes())
        with self.assertRaisesRegex(FileNotFoundError, "absent.json"):
            octavo.convert(GPT2, self.dir / "one.8vo", overwrite=True, keep_columns=self.dir / "absent.json")
        for size, shards in (("3MB", 4), ("3MiB", 3), (3_000_000, 4)):
            octavo.convert(LLAMA, self.dir / "sized.8vo", max_shard_bytes=size, overwrite=True)
            self.assertEqual(len(octavo.open(self.dir / "sized.8vo").manifest["shards"]), shards)
        with self.assertRaisesRegex(octavo.InvalidArgumentError, "max_shard_bytes is '3 boxes'"):
            octavo.convert(LLAMA, self.dir / "sized.8vo", max_shard_bytes="3 boxes", overwrite=True)

    def test_progress(self):
        calls = []
        octavo.convert(GPT2, self.dir / "progress.8vo", progress=lambda *now: calls.append(now))
        self.assertEqual(calls[-1][0], calls[-1][1])
        self.assertEqual([type(part) for part in calls[0]], [int, int, str])

    def test_cancelling_leaves_nothing(self):
        with self.assertRaises(octavo.CancelledError):
            octavo.convert(GPT2, self.dir / "cancelled.8vo", progress=lambda *_: False)

        def fails(*_):
            raise RuntimeError("the caller's own")
        with self.assertRaisesRegex(RuntimeError, "the caller's own"):
            octavo.convert(GPT2, self.dir / "cancelled.8vo", progress=fails)
        self.assertFalse((self.dir / "cancelled.8vo").exists())

    def test_errors(self):
        out = self.dir / "errors.8vo"
        with self.assertRaises(octavo.NotFoundError) as caught:
            octavo.convert(self.dir / "absent", out)
        self.assertIsInstance(caught.exception, FileNotFoundError)
        octavo.convert(GPT2, out)
        with self.assertRaisesRegex(octavo.AlreadyExistsError, "overwrite=True"):
            octavo.convert(GPT2, out)
        for options, says in (({"method": "best"}, "method is"), ({"scope": "row"}, "scope is"), ({"on_nonfinite": "x"}, "error or skip"),
                              ({"compat": "paper", "scope": "token"}, "paper"), ({"threshold": -1.0}, "threshold"),
                              ({"skip_modules": "a\0b"}, "NUL")):
            with self.assertRaisesRegex(octavo.InvalidArgumentError, says):
                octavo.convert(GPT2, out, overwrite=True, **options)

    def test_warnings(self):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            octavo.convert(GPT2, self.dir / "warned.8vo", skip_modules=["nobody"])
        self.assertTrue(any("nobody" in str(warning.message) for warning in caught))

    def test_struct_is_that_of_the_header(self):
        header = re.sub(r"/\*.*?\*/", "", (ROOT / "libquant/include/octavo/octavo_quant.h").read_text(), flags=re.DOTALL)
        for name, struct in (("options", conversion.ConvertOptions), ("result", conversion.ConvertResult)):
            body = re.search(rf"typedef struct octavo_convert_{name} {{(.*?)}} octavo_convert_{name};", header, re.DOTALL).group(1)
            self.assertEqual([field for field, _ in struct._fields_], re.findall(r"(\w+);", body))


if __name__ == "__main__":
    unittest.main()
