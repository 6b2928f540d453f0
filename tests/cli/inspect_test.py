"""octavo inspect: the views for people, and the JSON that programs rely on."""

import json
import unittest

from cli import GPT2, LLAMA, CliTest, read_safetensors, write_small_model

MODULE = "transformer.h.0.attn.c_attn"


class Summary(CliTest):
    """Compared with committed text; OCTAVO_UPDATE=1 writes it anew."""

    def test_gpt2(self):
        self.converted()
        self.compare("gpt2_summary.txt", self.octavo("inspect", "model.8vo").out)
        self.compare("gpt2_module.txt", self.octavo("inspect", "model.8vo", "--module", MODULE).out)
        self.compare("gpt2_modules.txt", self.octavo("inspect", "model.8vo", "--modules").out)

    def test_llama_sharded(self):
        self.converted(LLAMA, "model.8vo", "--max-shard-size", "4MB")
        self.compare("llama_sharded_summary.txt", self.octavo("inspect", "model.8vo").out)


class InspectJson(CliTest):
    def setUp(self):
        super().setUp()
        self.path = self.converted()
        self.json = self.octavo_json("inspect", self.path)

    def test_has_the_documented_keys(self):
        for key in ["format_version", "source", "quantization", "summary", "modules", "tensors", "assets", "shards"]:
            self.assertIn(key, self.json)
        self.assertEqual(self.json["format_version"], "1.0")
        self.assertEqual(self.json["shards"], [])

    def test_source_is_the_model(self):
        source = self.json["source"]
        self.assertEqual((source["format"], source["model_type"]), ("safetensors", "gpt2"))
        self.assertTrue(source["known_architecture"])
        size = (GPT2 / "model.safetensors").stat().st_size
        self.assertEqual([(f["name"], f["bytes"]) for f in source["files"]], [("model.safetensors", size)])
        self.assertRegex(source["files"][0]["xxh3"], r"\A[0-9a-f]{32}\Z")

    def test_summary_adds_up(self):
        summary, modules = self.json["summary"], self.json["modules"]
        self.assertEqual(summary["bytes_source"], (GPT2 / "model.safetensors").stat().st_size)
        self.assertEqual(summary["bytes_file"], self.path.stat().st_size)
        self.assertEqual(summary["quantized_modules"], 24)
        self.assertEqual(summary["skipped_modules"], len(modules) - 24)
        self.assertEqual(summary["bytes_quantized_source"],
                         sum(2 * m["in_features"] * m["out_features"] for m in modules if m["quantized"]))
        self.assertLess(summary["bytes_quantized_file"], 0.53 * summary["bytes_quantized_source"])

    def test_modules_agree_with_the_source(self):
        source = read_safetensors(GPT2 / "model.safetensors")
        modules = {m["name"]: m for m in self.json["modules"]}
        for name, m in modules.items():
            if not m["quantized"]:
                self.assertIsNone(m["snr_db"])
                continue
            dtype, shape, _ = source[m["source_tensor"]]
            self.assertEqual(m["source_dtype"], dtype)
            self.assertTrue(m["transposed"])  # GPT-2 keeps its linears as [in, out]
            self.assertEqual([m["in_features"], m["out_features"]], shape)
            self.assertEqual(m["kind"], "linear")
            self.assertTrue(m["reason"])
            self.assertTrue(35 < m["snr_db"] < 60, (name, m["snr_db"]))
        self.assertEqual(modules["lm_head"]["tied_to"], "transformer.wte")
        self.assertEqual(modules["transformer.wte"]["kind"], "embedding")
        self.assertEqual(modules["transformer.ln_f"]["kind"], "norm")

    def test_tensors_and_assets_fit_in_the_file(self):
        size = self.path.stat().st_size
        for tensor in self.json["tensors"]:
            self.assertLessEqual(tensor["offset"] + tensor["stored_bytes"], size)
        names = {t["name"] for t in self.json["tensors"]}
        for module in self.json["modules"]:
            self.assertLessEqual(set(module["tensors"]), names)
        self.assertIn("config.json", {a["name"] for a in self.json["assets"]})

    def test_one_module(self):
        one = self.octavo_json("inspect", self.path, "--module", MODULE)
        self.assertEqual(one, next(m for m in self.json["modules"] if m["name"] == MODULE))


class Views(CliTest):
    def setUp(self):
        super().setUp()
        self.path = self.converted()

    def test_asset_is_the_files_bytes(self):
        for name in ["config.json", "tokenizer.json"]:
            result = self.octavo("inspect", self.path, "--asset", name)
            self.assertEqual(result.stdout, (GPT2 / name).read_bytes())

    def test_manifest_is_what_is_stored(self):
        raw = self.octavo("inspect", self.path, "--manifest").stdout
        self.assertIn(raw, self.path.read_bytes())
        self.assertEqual(len(json.loads(raw)["modules"]), len(self.octavo_json("inspect", self.path)["modules"]))

    def test_tensors_lists_every_one(self):
        out = self.octavo("inspect", self.path, "--tensors").out
        for tensor in self.octavo_json("inspect", self.path)["tensors"]:
            self.assertIn(tensor["name"], out)

    def test_unknown_names(self):
        self.fails(1, "inspect", self.path, "--module", "transformer.h.0.attn.c_atn", says=["did you mean", MODULE])
        self.fails(1, "inspect", self.path, "--module", "h.0.attn.c_attn", says=["did you mean", MODULE])
        self.fails(1, "inspect", self.path, "--asset", "vocab.txt", says=["vocab.txt", "config.json"])


class BadFiles(CliTest):
    def test_missing(self):
        self.fails(1, "inspect", "none.8vo", says="none.8vo")

    def test_other_formats(self):
        self.fails(3, "inspect", GPT2 / "model.safetensors", says="model.safetensors")
        (self.dir / "empty.8vo").write_bytes(b"")
        self.fails(3, "inspect", "empty.8vo", says="empty.8vo")
        self.octavo("inspect", self.dir, code=1)

    def test_truncated(self):
        path = self.converted(write_small_model(self.dir / "m"))
        raw = path.read_bytes()
        for length in [1, 64, 127, 128, len(raw) // 2, len(raw) - 1]:
            path.write_bytes(raw[:length])
            self.fails(3, "inspect", "model.8vo", says="model.8vo")

    def test_newer_version(self):
        path = self.converted(write_small_model(self.dir / "m"))
        raw = bytearray(path.read_bytes())
        raw[8] = 2  # version_major
        path.write_bytes(raw)
        self.fails(3, "inspect", "model.8vo", says="model.8vo")


if __name__ == "__main__":
    unittest.main()
