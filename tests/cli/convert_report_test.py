"""octavo convert: what people read before and after, for five modules and for sixty thousand."""

import json
import pathlib
import re
import tempfile
import unittest

from cli import GPT2, LLAMA, CliTest, halves, write_mixture_of_experts, write_safetensors


def without_time(text):
    """The one line that differs from run to run."""
    return re.sub(r"(?m)^time          [\d.]+ m?s, [\d.]+ [KMG]?B/s of the source$", "time          …", text)


def write_five_modules(folder, **config):
    folder.mkdir()
    values = halves([((i * 37) % 101 - 50) / 100 for i in range(64 * 32)])
    write_safetensors(folder / "model.safetensors", {
        "model.embed_tokens.weight": ("F16", (64, 32), values),
        "model.layers.0.self_attn.q_proj.weight": ("F16", (64, 32), values),
        "model.layers.0.mlp.down_proj.weight": ("F16", (32, 64), values),
        "model.norm.weight": ("F16", (32,), halves([1.0] * 32)),
        "lm_head.weight": ("F16", (64, 32), values),
    })
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], **config}))


class Small(CliTest):
    def setUp(self):
        super().setUp()
        write_five_modules(self.dir / "five")

    def test_plan(self):
        self.compare("five_plan.txt", self.octavo("convert", "five", "--dry-run").out)

    def test_explained_plan(self):
        self.compare("five_explained.txt", self.octavo("convert", "five", "--dry-run", "--explain").out)

    def test_report(self):
        self.compare("five_report.txt", without_time(self.octavo("convert", "five", "-o", "five.8vo").out))

    def test_unknown_type_is_said_everywhere(self):
        write_five_modules(self.dir / "other", model_type="newcomer", architectures=["NewcomerForCausalLM"])
        for arguments in [["--dry-run"], ["-o", "other.8vo"]]:
            result = self.octavo("convert", "other", *arguments)
            self.assertIn("architecture  newcomer (NewcomerForCausalLM), unknown to the converter: general rules\n", result.out)
            self.assertIn("linear, by the general rules", result.out)
            self.assertIn('octavo: warning: model type "newcomer" is not in the table of architectures', result.err)


class Medium(CliTest):
    def test_report(self):
        self.compare("gpt2_report.txt", without_time(self.octavo("convert", GPT2, "-o", "model.8vo").out))

    def test_plan_with_skipped_modules(self):
        (self.dir / "llama").symlink_to(LLAMA)
        plan = self.octavo("convert", "llama", "--dry-run", "--skip-modules", "layers.0,self_attn.o_proj").out
        self.compare("llama_plan.txt", plan)


class Large(CliTest):
    """60,000 modules: a screen or two, whatever is asked for."""

    layers, experts = 82, 256

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shared = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        write_mixture_of_experts(cls.shared / "moe", cls.layers, cls.experts)

    def setUp(self):
        super().setUp()
        (self.dir / "moe").symlink_to(self.shared / "moe")

    def test_plan(self):
        self.compare("moe_plan.txt", self.octavo("convert", "moe", "--dry-run").out)

    def test_explained_plan(self):
        self.compare("moe_explained.txt", self.octavo(
            "convert", "moe", "--dry-run", "--explain", "--skip-modules", "layers.80,experts.3,layers.5.self_attn.o_proj").out)

    def test_json_has_every_module_and_the_groups(self):
        plan = self.octavo_json("convert", "moe", "--dry-run")
        count = 3 + self.layers * 7 + 3 * 3 + (self.layers - 3) * (1 + 3 * self.experts)
        self.assertGreater(count, 60000)
        self.assertEqual(len(plan["modules"]), count)
        self.assertEqual(sum(group["modules"] for group in plan["groups"]), count)
        self.assertLess(len(plan["groups"]), 30)
        experts = next(g for g in plan["groups"] if g["pattern"] == "model.layers.*.mlp.experts.*.up_proj")
        self.assertEqual(experts["numbers"], "layers 3-81; experts 0-255")
        self.assertEqual(experts["modules"], 79 * 256)


class Unruly(CliTest):
    """Names without numbers of their own, and more of them than a person reads."""

    def write(self, names):
        (self.dir / "m").mkdir()
        write_safetensors(self.dir / "m/model.safetensors", {f"{name}.weight": ("F16", (16, 8), None) for name in names})
        (self.dir / "m/config.json").write_text("{}")

    def test_numbers_within_components_are_grouped_where_lines_would_be_many(self):
        self.write([f"block_{i}.expert{e}.up" for i in range(20) for e in range(30)])
        out = self.octavo("convert", "m", "--dry-run", "--explain").out
        self.assertRegex(out, r"block_\*\.expert\*\.up +600 +block 0-19; expert 0-29 ")

    def test_what_cannot_be_grouped_is_counted(self):
        self.write(["layer_" + "".join(chr(97 + int(d)) for d in str(i)) for i in range(400)])
        for options in [[], ["--explain"]]:
            out = self.octavo("convert", "m", "--dry-run", *options).out
            self.assertIn("  … and 300 more lines of 300 modules, 76.8 KB (--json lists every module)\n", out)
            self.assertLess(len(out.splitlines()), 120)
        self.assertEqual(len(self.octavo_json("convert", "m", "--dry-run")["modules"]), 400)

    def test_few_names_with_digits_stay_apart(self):
        self.write(["a.fc1", "a.fc2", "b.fc1", "b.fc2"])
        out = self.octavo("convert", "m", "--dry-run").out
        for name in ["a.fc1", "a.fc2", "b.fc1", "b.fc2"]:
            self.assertIn(f"  {name} ", out)


class Warnings(CliTest):
    def test_many_are_cut_short_and_all_in_json(self):
        patterns = ",".join(f"missing_{i}" for i in range(30))
        result = self.octavo("convert", GPT2, "--dry-run", "--skip-modules", patterns)
        self.assertEqual(len(result.err.splitlines()), 21)
        self.assertIn("octavo: warning: 10 further warnings (--json lists all)\n", result.err)
        self.assertEqual(len(self.octavo_json("convert", GPT2, "--dry-run", "--skip-modules", patterns)["warnings"]), 30)


class Json(CliTest):
    def test_says_what_the_report_says(self):
        report = self.octavo_json("convert", GPT2, "-o", "model.8vo")
        worst = report["worst_modules"]
        self.assertEqual(len(worst), 5)
        self.assertEqual(worst[0]["name"], "transformer.h.0.attn.c_proj")
        by_error = sorted((m["snr_db"], m["name"]) for m in report["modules"] if m["snr_db"] is not None)
        self.assertEqual([(w["snr_db"], w["name"]) for w in worst], by_error[:5])
        self.assertAlmostEqual(report["bytes_per_second"] * report["seconds"] / report["summary"]["bytes_source"], 1, places=1)
        for group in report["groups"]:
            self.assertEqual(set(group), {"pattern", "numbers", "modules", "in_features", "out_features", "experts", "quantized", "reason",
                                          "stored_bytes", "worst_snr_db"})
        self.assertEqual(sum(g["stored_bytes"] for g in report["groups"]), sum(m["stored_bytes"] for m in report["modules"]))

    def test_planned_bytes_are_those_of_the_file(self):
        for source in [GPT2, LLAMA]:
            plan = self.octavo_json("convert", source, "--dry-run")
            report = self.octavo_json("convert", source, "-o", "model.8vo", "--force")
            self.assertEqual([m["stored_bytes"] for m in plan["modules"]], [m["stored_bytes"] for m in report["modules"]])
            for key in ["bytes_quantized_source", "bytes_quantized_file", "quantized_modules", "skipped_modules", "kept_columns"]:
                self.assertEqual(plan["summary"][key], report["summary"][key])
            self.assertEqual(plan["source"], {k: v for k, v in report["source"].items() if k not in ("format", "files")})
            tensors = self.octavo_json("inspect", "model.8vo")["tensors"]
            self.assertEqual(sum(m["stored_bytes"] for m in report["modules"]), sum(t["stored_bytes"] for t in tensors))


if __name__ == "__main__":
    unittest.main()
