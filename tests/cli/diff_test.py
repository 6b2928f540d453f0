"""octavo diff: what people and programs read, and what the exit code says."""

import json
import struct
import unittest

from cli import GPT2, LLAMA, CliTest, halves, read_safetensors, write_mixture_of_experts, write_safetensors, write_small_model

C_FC = "transformer.h.0.mlp.c_fc"


class DiffTest(CliTest):
    def diff(self, *arguments, code=1):
        """Standard output; a difference is no failure, so nothing is on standard error."""
        result = self.run_any("diff", *arguments)
        self.assertEqual((result.returncode, result.stderr), (code, b""), result.stdout.decode())
        return result.stdout.decode()

    def diff_json(self, *arguments, code=1):
        return json.loads(self.diff(*arguments, "--json", code=code))


class Text(DiffTest):
    """Compared with committed text; OCTAVO_UPDATE=1 writes it anew."""

    def test_equal(self):
        self.converted(name="a.8vo")
        self.octavo("repack", "a.8vo", "-o", "b.8vo", "--layout", "vnni16x4-1", "--max-shard-size", "2MB", "--quiet")
        self.compare("diff_equal.txt", self.diff("a.8vo", "b.8vo", code=0))
        self.assertIn("the models are equal\n", self.diff("a.8vo", "a.8vo", code=0))

    def test_skipped_modules(self):
        self.converted(GPT2, "a.8vo")
        self.converted(GPT2, "b.8vo", "--skip-modules", "h.0,mlp.c_fc", "--threshold", "5")
        self.compare("diff_skipped.txt", self.diff("a.8vo", "b.8vo"))

    def test_other_codes(self):
        self.converted(LLAMA, "a.8vo")
        self.converted(LLAMA, "b.8vo", "--method", "zeropoint-vector")
        self.compare("diff_codes.txt", self.diff("a.8vo", "b.8vo"))

    def test_other_models(self):
        self.converted(GPT2, "a.8vo")
        self.converted(LLAMA, "b.8vo")
        self.compare("diff_models.txt", self.diff("a.8vo", "b.8vo"))

    def test_thousands_of_modules(self):
        write_mixture_of_experts(self.dir / "moe", 12, 64)
        self.converted("moe", "a.8vo")
        self.converted("moe", "b.8vo", "--skip-modules", "layers.*.mlp.experts.*.up_proj")
        out = self.diff("a.8vo", "b.8vo")
        self.assertRegex(out, r"model\.layers\.\*\.mlp\.experts\.\*\.up_proj +576  weight  int8  BF16 \[8, 16\]")
        self.assertLess(len(out.splitlines()), 20)

    def test_names_that_cannot_be_grouped(self):
        def write(folder, value):
            folder.mkdir()
            names = [f"{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(300)]
            write_safetensors(folder / "model.safetensors", {f"{name}.norm.weight": ("F32", (2,), struct.pack("<2f", 1, value))
                                                             for name in names})
        write(self.dir / "one", 1)
        write(self.dir / "two", 2)
        self.octavo("convert", "one/model.safetensors", "-o", "a.8vo", "--quiet")
        self.octavo("convert", "two/model.safetensors", "-o", "b.8vo", "--quiet")
        out = self.diff("a.8vo", "b.8vo")
        self.assertIn("… and 200 more lines (--json has all)", out)
        self.assertEqual(len(self.diff_json("a.8vo", "b.8vo")["modules"]), 300)

    def test_names_are_escaped(self):
        folder = write_small_model(self.dir / "m")
        self.converted(folder, "a.8vo")
        tensors = read_safetensors(folder / "model.safetensors")
        write_safetensors(folder / "model.safetensors", {**tensors, "evil\u202e.weight": ("F16", (2,), halves([1, 2]))})
        self.converted(folder, "b.8vo")
        out = self.diff("a.8vo", "b.8vo")
        self.assertIn("evil\\u202e", out)
        self.assertNotIn("\u202e", out)
        path = folder / "file\u202e.safetensors"
        (folder / "model.safetensors").rename(path)
        self.converted(path, "c.8vo")
        out = self.diff("a.8vo", "c.8vo")
        self.assertIn("source file file\\u202e.safetensors", out)
        self.assertNotIn("\u202e", out)


class Json(DiffTest):
    def test_one_changed_weight_and_one_changed_file(self):
        folder = write_small_model(self.dir / "m")
        self.converted(folder, "a.8vo")
        path = folder / "model.safetensors"
        tensors = read_safetensors(path)
        name = "model.layers.0.self_attn.q_proj.weight"
        dtype, shape, data = tensors[name]
        changed = bytearray(data)
        changed[2 * 100:2 * 101] = halves([0.47])
        write_safetensors(path, {**tensors, name: (dtype, shape, bytes(changed))})
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", "more": 1}))
        self.converted(folder, "b.8vo", "--compress")
        report = self.diff_json("a.8vo", "b.8vo")
        self.assertIs(report["equal"], False)
        self.assertEqual((report["modules_in_both"], report["modules_differing"]), (2, 1))
        self.assertEqual([report["a"]["path"], report["b"]["path"]], ["a.8vo", "b.8vo"])
        self.assertEqual((report["a"]["bytes"], report["a"]["modules"]), ((self.dir / "a.8vo").stat().st_size, 2))
        module = report["modules"][0]
        self.assertEqual((module["name"], module["differs"], module["stated"]), (name[:-7], True, []))
        values = {value["what"]: value for value in module["values"]}
        self.assertEqual((values["codes"]["elements"], values["codes"]["differing"]), (64 * 32, 1))
        self.assertGreater(values["codes"]["largest"], 0)
        self.assertIsNone(values["codes"]["relative_error"])
        self.assertTrue(0 < values["weight"]["relative_error"] < 0.1)
        self.assertTrue(20 < values["weight"]["snr_db"] < 90)
        self.assertEqual([d["what"] for d in module["origin"]][:1], ["snr_db"])
        self.assertEqual([a["name"] for a in report["assets"]], ["config.json"])
        self.assertEqual(report["assets"][0]["bytes_b"], (folder / "config.json").stat().st_size)
        self.assertEqual(report["storage"], [{"what": "codec", "a": "none", "b": "zstd"}])
        self.assertEqual([d["what"] for d in report["origin"]], ["source file model.safetensors"])

    def test_only_on_one_side(self):
        self.converted(GPT2, "a.8vo")
        self.converted(LLAMA, "b.8vo")
        report = self.diff_json("a.8vo", "b.8vo")
        self.assertEqual((len(report["only_in_a"]), len(report["only_in_b"])), (39, 56))
        found = next(m for m in report["only_in_a"] if m["name"] == C_FC)
        self.assertEqual(found, {"name": C_FC, "kind": "linear", "in_features": 256, "out_features": 1024, "experts": 0,
                                 "quantized": True, "reason": "linear of a GPT-2 block"})
        stated = {d["what"]: (d["a"], d["b"]) for d in report["modules"][0]["stated"]}
        self.assertEqual(stated["tied_to"], ("transformer.wte", None))

    def test_equal(self):
        self.converted()
        report = self.diff_json("model.8vo", "model.8vo", code=0)
        self.assertIs(report["equal"], True)
        for key in ["settings", "only_in_a", "only_in_b", "modules", "tensors", "assets", "storage", "origin"]:
            self.assertEqual(report[key], [], key)


class ExitCodes(DiffTest):
    def test_quiet(self):
        self.converted(name="a.8vo")
        self.converted(GPT2, "b.8vo", "--threshold", "5")
        self.assertEqual(self.diff("a.8vo", "a.8vo", "--quiet", code=0), "")
        self.assertEqual(self.diff("a.8vo", "b.8vo", "--quiet"), "")
        self.assertEqual(json.loads(self.diff("a.8vo", "b.8vo", "-q", "--json"))["equal"], False)

    def test_failures_say_so(self):
        self.converted(name="a.8vo")
        for arguments in [["a.8vo", "none.8vo"], ["none.8vo", "a.8vo"]]:
            self.fails(1, "diff", *arguments, says="none.8vo")
        self.fails(1, "diff", "a.8vo", self.dir)
        self.fails(3, "diff", "a.8vo", GPT2 / "model.safetensors", says="model.safetensors")

    def test_a_file_that_is_not_intact(self):
        self.converted(name="a.8vo")
        tensor = next(t for t in self.octavo_json("inspect", "a.8vo")["tensors"] if t["name"] == C_FC + ".weight")
        broken = bytearray((self.dir / "a.8vo").read_bytes())
        broken[tensor["offset"] + 999] ^= 1
        (self.dir / "broken.8vo").write_bytes(broken)
        self.diff("a.8vo", "broken.8vo", code=0)  # the digests are equal, and trusted
        self.fails(3, "diff", "a.8vo", "broken.8vo", "--read-all", says=["broken.8vo", C_FC + ".weight", "(R23)"])
        self.octavo("repack", "a.8vo", "-o", "packed.8vo", "--layout", "vnni16x4-1", "--quiet")
        self.fails(3, "diff", "broken.8vo", "packed.8vo", "--json", says=["broken.8vo", C_FC + ".weight"])

    def test_progress(self):
        self.converted(name="a.8vo")
        result = self.run_any("diff", "a.8vo", "a.8vo", "--read-all", "--progress")
        self.assertEqual(result.returncode, 0)
        self.assertIn(b"100 %", result.stderr)


if __name__ == "__main__":
    unittest.main()
