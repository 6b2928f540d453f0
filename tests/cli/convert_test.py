"""octavo convert: what it writes, says and leaves alone."""

import filecmp
import hashlib
import json
import unittest

from cli import GPT2, LLAMA, CliTest, halves, write_safetensors, write_small_model

BLOCK_LINEARS = {f"transformer.h.{i}.{part}" for i in range(6)
                 for part in ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]}


class Convert(CliTest):
    def test_report_for_people(self):
        result = self.octavo("convert", GPT2, "-o", "model.8vo")
        self.assertEqual(result.err, "")
        for part in ["model.8vo: written", "vector-wise int8, threshold 6", "int8: 24 modules",
                     "transformer.h.*.attn.c_attn", "worst by weight error", "11.7 MB -> "]:
            self.assertIn(part, result.out)
        self.assertEqual(self.files(), ["model.8vo"])

    def test_json_agrees_with_the_file(self):
        report = self.octavo_json("convert", GPT2, "-o", "model.8vo")
        self.assertEqual(report["files"], ["model.8vo"])
        self.assertEqual(report["summary"]["bytes_file"], (self.dir / "model.8vo").stat().st_size)
        self.assertEqual({m["name"] for m in report["modules"] if m["quantized"]}, BLOCK_LINEARS)
        inspected = self.octavo_json("inspect", "model.8vo")
        for key in ["source", "quantization", "summary", "modules"]:
            self.assertEqual(report[key], inspected[key])

    def test_sha256_of_the_source_is_stored_and_compared(self):
        expected = hashlib.sha256((GPT2 / "model.safetensors").read_bytes()).hexdigest()
        self.octavo("convert", GPT2, "-o", "model.8vo", "--quiet", "--sha256")
        files = self.octavo_json("inspect", "model.8vo")["source"]["files"]
        self.assertEqual([file["sha256"] for file in files], [expected])
        self.assertIn("sha256 " + expected, self.octavo("inspect", "model.8vo").out)
        self.octavo("verify", "model.8vo", "--against", GPT2)
        self.octavo("convert", GPT2, "-o", "plain.8vo", "--quiet")
        files = self.octavo_json("inspect", "plain.8vo")["source"]["files"]
        self.assertEqual([file["sha256"] for file in files], [None])

    def test_quiet_says_nothing(self):
        result = self.octavo("convert", GPT2, "-o", "model.8vo", "--quiet")
        self.assertEqual((result.out, result.err), ("", ""))

    def test_progress_only_when_forced_in_a_pipe(self):
        self.assertEqual(self.octavo("convert", GPT2, "-o", "a.8vo").err, "")
        forced = self.run_any("convert", GPT2, "-o", "b.8vo", "--progress")
        self.assertEqual(forced.returncode, 0)
        self.assertRegex(forced.stderr.decode(), r"100 %  \S+ MB of \S+ MB")

    def test_every_option_reaches_the_file(self):
        for options, expected in [
            ([], ("vector-wise", "none", 6, "batch", "inlier_columns", "asymmetric")),
            (["--threshold", "3.5", "--scope", "token"], ("vector-wise", "none", 3.5, "token", "inlier_columns", "asymmetric")),
            (["--activations", "symmetric", "--row-rule", "below_threshold"],
             ("vector-wise", "none", 6, "batch", "below_threshold", "symmetric")),
            (["--compat", "paper"], ("vector-wise", "paper", 6, "batch", "inlier_columns", "symmetric")),
            (["--compat", "bitsandbytes"],
             ("vector-wise", "bitsandbytes", 6, "batch", "below_threshold", "symmetric")),
            (["--method", "row-wise", "--threshold", "0"], ("row-wise", "none", 0, "batch", "inlier_columns", "symmetric")),
            (["--method", "tensor-wise"], ("tensor-wise", "none", 6, "batch", "inlier_columns", "symmetric")),
            (["--method", "zeropoint-vector"],
             ("zeropoint-vector", "none", 6, "batch", "inlier_columns", "asymmetric")),
        ]:
            with self.subTest(options=options):
                self.octavo("convert", GPT2, "-o", "model.8vo", "--force", "--quiet", *options)
                q = self.octavo_json("inspect", "model.8vo")["quantization"]
                found = tuple(q[k] for k in ["method", "compat", "threshold", "scope", "row_rule", "activations"])
                self.assertEqual(found, expected)

    def test_skip_modules_adds_to_the_defaults(self):
        self.octavo("convert", GPT2, "-o", "model.8vo", "--quiet", "--skip-modules", "h.0,h.1.mlp",
                    "--skip-modules", "h.5.*.c_proj")
        quantized = {m["name"] for m in self.octavo_json("inspect", "model.8vo")["modules"] if m["quantized"]}
        skipped = {n for n in BLOCK_LINEARS if n.startswith(("transformer.h.0.", "transformer.h.1.mlp."))}
        skipped |= {"transformer.h.5.attn.c_proj", "transformer.h.5.mlp.c_proj"}
        self.assertEqual(quantized, BLOCK_LINEARS - skipped)

    def test_only_skip_replaces_the_defaults(self):
        self.octavo("convert", LLAMA, "-o", "model.8vo", "--quiet", "--only-skip", "--skip-modules", "layers.0")
        quantized = {m["name"] for m in self.octavo_json("inspect", "model.8vo")["modules"] if m["quantized"]}
        self.assertIn("lm_head", quantized)
        self.assertFalse([n for n in quantized if ".layers.0." in n])

    def test_a_pattern_that_matches_nothing_is_a_warning(self):
        result = self.octavo("convert", GPT2, "-o", "model.8vo", "--skip-modules", "no_such_module")
        self.assertIn("octavo: warning: ", result.err)
        self.assertIn("no_such_module", result.err)

    def test_compress_and_shards_hold_the_same_model(self):
        plain = self.octavo_json("inspect", self.converted(LLAMA, "plain.8vo"))
        packed = self.octavo_json("inspect", self.converted(LLAMA, "packed.8vo", "--compress"))
        shards = self.octavo_json("inspect", self.converted(LLAMA, "shards.8vo", "--max-shard-size", "2MB"))
        self.assertLess(packed["summary"]["bytes_file"], plain["summary"]["bytes_file"])
        self.assertGreater(len(shards["shards"]), 2)
        self.assertEqual(len([f for f in self.files() if f.startswith("shards-")]), len(shards["shards"]))
        for other in [packed, shards]:
            for module in other["modules"] + plain["modules"]:
                module.pop("stored_bytes", None)
            self.assertEqual(other["modules"], plain["modules"])
        self.octavo("verify", "packed.8vo", "shards.8vo", "--against", LLAMA)

    def test_threads_do_not_change_the_bytes(self):
        for threads in [1, 2, 7]:
            self.converted(GPT2, f"{threads}.8vo", "--threads", threads)
        self.assertTrue(filecmp.cmp(self.dir / "1.8vo", self.dir / "2.8vo", shallow=False))
        self.assertTrue(filecmp.cmp(self.dir / "1.8vo", self.dir / "7.8vo", shallow=False))

    def test_force_replaces_the_old_file(self):
        (self.dir / "model.8vo").write_text("old")
        self.octavo("convert", GPT2, "-o", "model.8vo", "--force", "--quiet")
        self.octavo("verify", "model.8vo")
        self.assertEqual(self.files(), ["model.8vo"])

    def test_a_single_file_is_a_source_too(self):
        write_small_model(self.dir / "m")
        self.octavo("convert", "m/model.safetensors", "-o", "model.8vo", "--quiet")
        modules = self.octavo_json("inspect", "model.8vo")["modules"]
        self.assertEqual([m["name"] for m in modules if m["quantized"]], ["model.layers.0.self_attn.q_proj"])

    def test_nothing_in_a_model_reaches_the_terminal_unescaped(self):
        folder = self.dir / "m"
        write_small_model(folder, model_type="\x1b[31mred", architectures=["a\u009bb"])
        write_safetensors(folder / "model.safetensors", {"layers.0.\u202eder.weight": ("F16", (8, 8), halves([0.5] * 64))})
        out = ""
        for arguments in [["convert", "m", "--dry-run"], ["convert", "m", "-o", "model.8vo"], ["inspect", "model.8vo"],
                          ["inspect", "model.8vo", "--tensors"], ["inspect", "none\x1b.8vo"]]:
            result = self.run_any(*arguments)
            out += result.stdout.decode() + result.stderr.decode()
        for harmful in ["\x1b", "\u009b", "\u202e"]:
            self.assertNotIn(harmful, out)
        for escaped in [r"\x1b[31mred", r"a\x9bb", r"layers.0.\u202eder", r"none\x1b.8vo"]:
            self.assertIn(escaped, out)


class Explain(CliTest):
    def test_groups_layers_unless_asked_for_each(self):
        grouped = self.octavo("convert", GPT2, "--dry-run").out
        self.assertIn("transformer.h.*.attn.c_attn", grouped)
        self.assertNotIn("transformer.h.3.attn.c_attn", grouped)
        each = self.octavo("convert", GPT2, "--dry-run", "--explain").out
        for name in BLOCK_LINEARS:
            self.assertIn(name, each)


class DryRun(CliTest):
    def test_writes_nothing(self):
        self.octavo("convert", GPT2, "--dry-run")
        self.octavo("convert", GPT2, "-o", "model.8vo", "--dry-run")
        self.octavo("convert", GPT2, "-o", "no/such/folder/model.8vo", "--dry-run")
        self.assertEqual(self.files(), [])

    def test_plan_is_what_happens(self):
        plan = self.octavo_json("convert", LLAMA, "--dry-run")
        report = self.octavo_json("convert", LLAMA, "-o", "model.8vo")
        keys = ["name", "kind", "quantized", "reason", "in_features", "out_features", "transposed", "tied_to"]
        for done, planned in zip(report["modules"], plan["modules"], strict=True):
            self.assertEqual({k: done[k] for k in keys}, {k: planned[k] for k in keys})
        self.assertEqual(plan["quantization"], report["quantization"])

    def test_size_is_near(self):
        for source in [GPT2, LLAMA]:
            planned = self.octavo_json("convert", source, "--dry-run")["summary"]["bytes_file"]
            done = self.octavo_json("convert", source, "-o", "m.8vo", "--force")["summary"]["bytes_file"]
            self.assertLess(abs(planned - done) / done, 0.02)


class KeepColumns(CliTest):
    def profile(self, **modules):
        """A profile with the features given for each module, |x| largest first."""
        path = self.dir / "profile.json"
        path.write_text(json.dumps({"octavo_profile": 1, "modules": {
            name: {"in_features": 256, "features": [{"index": i, "max_abs": 400.0 - n} for n, i in enumerate(features)]}
            for name, features in modules.items()}}))
        return path

    def kept(self):
        modules = self.octavo_json("inspect", "model.8vo")["modules"]
        return {m["name"]: m["kept_columns"] for m in modules if m["kept_columns"]}

    def test_all_of_the_profile(self):
        profile = self.profile(**{"transformer.h.2.attn.c_attn": [41, 137, 196, 202], "transformer.h.5.mlp.c_fc": [41]})
        self.octavo("convert", GPT2, "-o", "model.8vo", "--keep-columns", profile, "--quiet")
        self.assertEqual(self.kept(), {"transformer.h.2.attn.c_attn": 4, "transformer.h.5.mlp.c_fc": 1})
        self.octavo("verify", "model.8vo", "--against", GPT2)
        self.assertIn("kept columns", self.octavo("inspect", "model.8vo").out)
        x = GPT2 / "activations.safetensors"
        forward = self.octavo_json("forward", "model.8vo", "--module", "transformer.h.2.attn.c_attn", "--input", x)
        self.assertEqual((forward["kept_columns"], forward["outlier_columns"]), (4, []))

    def test_budget_keeps_fewer(self):
        profile = self.profile(**{"transformer.h.2.attn.c_attn": range(200)})
        self.octavo("convert", GPT2, "-o", "model.8vo", "--keep-columns", profile, "--keep-budget", "0.001", "--quiet")
        linears = [m for m in self.octavo_json("inspect", "model.8vo")["modules"] if m["quantized"]]
        budget = 0.001 * sum(m["in_features"] * m["out_features"] for m in linears)
        kept = self.kept()["transformer.h.2.attn.c_attn"]
        self.assertLessEqual(kept * 768, budget)
        self.assertGreater((kept + 1) * 768, budget)

    def test_malformed_profiles(self):
        for text, says in [("{", "JSON"), ('{"octavo_profile": 2}', "octavo_profile")]:
            (self.dir / "profile.json").write_text(text)
            self.fails(2, "convert", GPT2, "-o", "model.8vo", "--keep-columns", "profile.json", says=says)
        self.fails(1, "convert", GPT2, "-o", "model.8vo", "--keep-columns", "none.json", says="none.json")
        self.assertEqual(self.files(), ["profile.json"])


if __name__ == "__main__":
    unittest.main()
