"""python -m octavo eval and profile, octavo.profile: on the shipped model, with a short text. In the environment of the peers."""

import json
import logging
import os
import subprocess
import sys
import unittest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)

import torch
import transformers

import octavo
import octavo.transformers
from common import GPT2, ROOT, PackageTest
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
        octavo.convert(GPT2, self.dir / "kept.8vo", keep_columns=found.to_dict(4), keep_budget=0.005)
        kept = [m for m in octavo.open(self.dir / "kept.8vo").modules.values() if "kept" in m.facts]
        self.assertGreater(len(kept), 3)
        model, _ = octavo.transformers.load(self.dir / "kept.8vo", dtype=torch.float32)
        found = octavo.profile(model, [self.ids])  # of ours, too
        self.assertEqual(len(found.linears), 24)

    def test_texts_need_a_tokenizer(self):
        with self.assertRaisesRegex(octavo.InvalidArgumentError, "tokenizer"):
            octavo.profile(self.model, ["text"])

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
