"""python -m octavo eval and profile, octavo.profile: on the shipped model, with a short text. In the environment of the peers."""

import json
import logging
import os
import shutil
import subprocess
import sys
import unittest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)

import torch
import transformers

import octavo
import octavo.transformers
from common import GPT2, OCTAVO, ROOT, PackageTest
from octavo import quality

transformers.utils.logging.disable_progress_bar()
LINEAR = "transformer.h.2.attn.c_attn"


class Profile(PackageTest):
    def setUp(self):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(GPT2, dtype=torch.float32)
        self.ids = torch.arange(96).reshape(2, 48) * 37 % 4096

    def test_counts_what_enters(self):
        seen = []
        self.model.get_submodule(LINEAR).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].reshape(-1, 256)))
        found = octavo.profile(self.model, [self.ids[:1], self.ids[1]])
        x = torch.cat(seen).abs()
        features = found.linears[LINEAR]
        self.assertEqual(features.tokens, 96)
        self.assertTrue(torch.equal(features.largest, x.amax(0)))
        self.assertTrue(torch.equal(features.at_threshold, (x >= 6).sum(0)))
        self.assertEqual(len(found.linears), 24)
        self.assertNotIn("lm_head", found.linears)

    def test_the_features_that_were_scaled_up(self):
        """tests/data/models/README.md: 41, 137 and 202 in front of every linear behind a norm."""
        features = octavo.profile(self.model, [self.ids]).emergent_features(256)
        self.assertEqual({f["feature"] for f in features[:3]}, {41, 137, 202})
        self.assertGreaterEqual(features[0]["layers"], 2 / 3)

    def test_convert_takes_it(self):
        found = octavo.profile(self.model, [self.ids])
        octavo.convert(GPT2, self.dir / "kept.8vo", keep_columns=found, keep_budget=0.005)
        kept = [m for m in octavo.open(self.dir / "kept.8vo").modules.values() if "kept" in m.facts]
        self.assertGreater(len(kept), 3)
        model, _ = octavo.transformers.load(self.dir / "kept.8vo", dtype=torch.float32)
        found = octavo.profile(model, [self.ids])  # of ours, too
        self.assertEqual(len(found.linears), 24)

    def test_texts_need_a_tokenizer(self):
        with self.assertRaisesRegex(octavo.InvalidArgumentError, "tokenizer"):
            octavo.profile(self.model, ["text"])

    def test_one_text(self):
        tokenizer = transformers.AutoTokenizer.from_pretrained(GPT2)
        text = "My name is nobody."
        self.assertEqual(octavo.profile(self.model, text, tokenizer).to_dict(), octavo.profile(self.model, [text], tokenizer).to_dict())

    def test_pictures(self):
        found = octavo.profile(self.model, [self.ids])
        for name, begin in (("features.svg", b"<?xml"), ("features.png", b"\x89PNG")):
            found.draw(self.dir / name)
            self.assertEqual((self.dir / name).read_bytes()[:len(begin)], begin)


class Eval(PackageTest):
    def python(self, *arguments, code=0):
        done = subprocess.run([sys.executable, "-m", "octavo", *map(str, arguments)], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def text(self):
        path = self.dir / "text.txt"
        path.write_text("\n".join((ROOT / name).read_text() for name in ("README.md", "docs/cli.md", "docs/numerics.md")))
        return path

    def test_the_table(self):
        names = ["16 bit", "bitsandbytes t=6", "compat=bitsandbytes", "default", "default, 2.0% kept", "default, t=0"]
        done = self.python("eval", GPT2, "--text", self.text(), "--tokens", 256, "--context", 128, "--json", "--quiet", "--only",
                           ";".join(names), "--picture", self.dir / "curve.svg")
        report = json.loads(done.stdout)
        rows = {row["name"]: row for row in report["results"]}
        self.assertEqual(list(rows), names)
        self.assertEqual(report["tokens"], 256)
        for row in rows.values():
            self.assertEqual({"name", "kld_millinats", "kld_p99", "perplexity", "agreement", "bytes"} - set(row), set())
        self.assertEqual((rows["16 bit"]["kld_millinats"], rows["16 bit"]["agreement"]), (0, 1))
        kld = {name: row["kld_millinats"] for name, row in rows.items()}
        self.assertLess(abs(kld["compat=bitsandbytes"] / kld["bitsandbytes t=6"] - 1), 0.3)  # few tokens; docs/quality.md has many
        self.assertLess(kld["default"], kld["bitsandbytes t=6"])
        self.assertLess(kld["default, 2.0% kept"], kld["default"])
        self.assertGreater(kld["default, t=0"], kld["default"])
        self.assertLess(rows["default"]["bytes"], 0.7 * rows["16 bit"]["bytes"])
        self.assertTrue(rows["16 bit"]["continuation"].startswith("My name is"))
        self.assertTrue((self.dir / "curve.svg").exists())

    def test_usage(self):
        self.assertIn("--only: no row ['best']", self.python("eval", GPT2, "--text", self.text(), "--only", "best", code=2).stderr)
        (self.dir / "short.txt").write_text("too short")
        self.assertIn("too few", self.python("eval", GPT2, "--text", self.dir / "short.txt", code=2).stderr)
        self.assertIn("absent.txt", self.python("profile", GPT2, "--text", self.dir / "absent.txt", code=1).stderr)

    def test_outputs_are_checked_before_anything_runs(self):
        for verb, option in (("eval", "--picture"), ("profile", "--picture"), ("profile", "-o")):
            absent = self.dir / "absent" / "out.svg"
            done = self.python(verb, "no model", "--text", self.text(), option, absent, code=2)
            self.assertIn(f"{absent.parent}: no such folder", done.stderr)
        self.assertIn("PNG or SVG", self.python("eval", "no model", "--text", self.text(), "--picture", "curve.jpeg", code=2).stderr)

    def test_models_that_it_does_not_take(self):
        """One sentence each, and no traceback."""
        bare, int8 = self.dir / "bare", self.dir / "int8"
        bare.mkdir(exist_ok=True)
        for name in ("config.json", "model.safetensors"):
            shutil.copy(GPT2 / name, bare)
        subprocess.run([OCTAVO, "export", self.converted(), "--to", "transformers", "-o", int8, "--force", "--quiet"], check=True)
        for model, says in ((self.dir / "absent", "no such folder"), (self.converted(), "takes a Hugging Face folder"),
                            (self.dir, "config"), (bare, "no tokenizer"), (int8, "quantized already")):
            with self.assertRaisesRegex(octavo.InvalidArgumentError, f"^{model}.* {says}[^\n]*$"):
                quality.open_folder(str(model), 256)
        for verb in ("eval", "profile"):
            self.assertRegex(self.python(verb, int8, "--text", self.text(), code=2).stderr, "^octavo: .*quantized already.*\n$")

    def test_without_torch(self):
        code = ("import sys, octavo.__main__; sys.modules['torch'] = None  # as if it were not installed\n"
                "sys.argv = ['octavo', 'eval', 'x', '--text', 'y']; sys.exit(octavo.__main__.main())")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
        self.assertRegex(done.stderr, "octavo: eval needs torch and transformers")

    def test_a_reader_that_went_away(self):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([sys.executable, "-m", "octavo", "profile", GPT2, "--text", self.text(), "--tokens", "16", "--json"],
                              stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        os.close(write)
        self.assertEqual((done.returncode, done.stderr), (1, ""))

    def test_as_many_tokens_as_asked_for(self):
        tokenizer = transformers.AutoTokenizer.from_pretrained(GPT2)
        for tokens, context, shape in ((1024, 256, (4, 256)), (100, 256, (1, 100)), (400, 256, (2, 200))):
            text = quality.Text(tokenizer, self.text(), tokens, context)
            self.assertEqual((tuple(text.calibration.shape), tuple(text.sequences.shape)), (shape, shape))
        words = self.dir / "words.txt"
        words.write_text("word " * 150)
        self.assertEqual(json.loads(self.python("profile", GPT2, "--text", words, "--tokens", 100, "--json").stdout)["tokens"], 100)
        self.assertNotIn("half of them", self.python("profile", GPT2, "--text", words, "--tokens", 900, code=2).stderr)

    def test_profile(self):
        out = self.dir / "profile.json"
        done = self.python("profile", GPT2, "--text", self.text(), "--tokens", 128, "--context", 64, "-o", out, "--json")
        self.assertEqual({f["feature"] for f in json.loads(done.stdout)["features"][:3]}, {41, 137, 202})
        self.assertEqual(len(json.loads(out.read_text())["modules"]), 24)

    def test_every_row_is_named_once(self):
        names = [setup.name for setup in quality.setups()]
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    unittest.main()
