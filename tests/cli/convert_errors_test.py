"""octavo convert on bad input: one clear sentence, the right exit code, nothing left behind."""

import os
import resource
import shutil
import struct
import unittest

from cli import GPT2, LLAMA, CliTest, floats, halves, write_safetensors, write_small_model

WEIGHT = "model.layers.0.self_attn.q_proj.weight"


class ConvertErrors(CliTest):
    def refused(self, code, *arguments, says, **options):
        before = self.files()
        self.fails(code, "convert", *arguments, says=says, **options)
        self.assertEqual(self.files(), before)

    def test_missing_source(self):
        self.refused(1, "none", "-o", "model.8vo", says="none")
        self.refused(1, "none.safetensors", "-o", "model.8vo", says="none.safetensors")
        self.refused(1, "none", "--dry-run", says="none")

    def test_folder_without_weights(self):
        (self.dir / "empty").mkdir()
        self.refused(1, "empty", "-o", "model.8vo", says=["empty", "safetensors"])

    def test_pickled_weights_that_are_none(self):
        (self.dir / "old").mkdir()
        (self.dir / "old/pytorch_model.bin").write_bytes(b"PK")
        self.refused(3, "old", "-o", "model.8vo", says=["pytorch_model.bin", "no file of torch.save"])

    def test_truncated_source(self):
        write_small_model(self.dir / "m")
        path = self.dir / "m/model.safetensors"
        os.truncate(path, path.stat().st_size - 1)
        self.refused(3, "m", "-o", "model.8vo", says="model.safetensors")

    def test_header_that_claims_to_be_huge(self):
        (self.dir / "m.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
        self.refused(3, "m.safetensors", "-o", "model.8vo", says="m.safetensors")

    def test_text_in_place_of_weights(self):
        (self.dir / "m.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        self.refused(3, "m.safetensors", "-o", "model.8vo", says=["m.safetensors", "LFS"])

    def test_output_in_place_of_an_input(self):
        shutil.copytree(GPT2, self.dir / "m")
        for name in ["model.safetensors", "config.json", "tokenizer.json"]:
            self.refused(2, "m", "-o", f"m/{name}", "--force", says=name)
        (self.dir / "p.json").write_text('{"octavo_profile": 1, "modules": {}}')
        self.refused(2, "m", "-o", "p.json", "--force", "--keep-columns", "p.json", says="p.json")

    def test_output_in_place_of_something_that_is_no_file(self):
        os.mkfifo(self.dir / "fifo")
        self.refused(1, LLAMA, "-o", "fifo", "--force", says=["fifo", "no regular file"])
        self.refused(2, LLAMA, "-o", "", says="names no file")

    def test_profiles_that_are_none(self):
        os.mkfifo(self.dir / "fifo")
        self.refused(1, LLAMA, "-o", "model.8vo", "--keep-columns", "fifo", says=["fifo", "not a regular file"])
        (self.dir / "p.json").write_text("")
        self.refused(2, LLAMA, "-o", "model.8vo", "--keep-columns", "p.json", says=["p.json", "empty"])
        self.refused(2, LLAMA, "-o", "model.8vo", "--keep-columns", "", says="--keep-columns")

    def test_nothing_to_quantize_is_worth_a_warning(self):
        write_safetensors(self.dir / "x.safetensors", {"a.norm.weight": ("F16", (4,), halves([1, 2, 3, 4]))})
        self.assertIn("no module is quantized: there is no linear", self.octavo("convert", "x.safetensors", "-o", "model.8vo").err)

    def test_missing_shard(self):
        shutil.copytree(LLAMA, self.dir / "m")
        shard = sorted((self.dir / "m").glob("model-*.safetensors"))[1]
        shard.unlink()
        result = self.octavo("convert", "m", "-o", "model.8vo", code=1)
        self.assertIn(shard.name, result.err)

    def test_index_that_points_outside_its_folder(self):
        folder = self.dir / "m"
        folder.mkdir()
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a.weight": "../x.safetensors"}}')
        write_safetensors(self.dir / "x.safetensors", {"a.weight": ("F16", (1,), halves([1]))})
        self.refused(3, "m", "-o", "model.8vo", says="../x.safetensors")

    def test_nan_and_infinity(self):
        for bad in [float("nan"), float("inf")]:
            values = [0.25] * (64 * 32)
            values[5 * 32 + 7] = bad
            write_small_model(self.dir / "m", values)
            self.refused(1, "m", "-o", "model.8vo", says=[WEIGHT, "[5, 7]"])
        self.octavo("convert", "m", "-o", "model.8vo", "--on-nonfinite", "skip", "--quiet")
        module = self.octavo_json("inspect", "model.8vo", "--module", WEIGHT.removesuffix(".weight"))
        self.assertFalse(module["quantized"])
        self.assertIn("finite", module["reason"])

    def test_overflow_on_the_way_through_fp16(self):
        write_safetensors(self.dir / "m.safetensors", {WEIGHT: ("F32", (2, 2), floats([1, 2, 70000, 4]))})
        self.refused(1, "m.safetensors", "-o", "model.8vo", "--via-fp16", says=[WEIGHT, "fp16"])
        self.octavo("convert", "m.safetensors", "-o", "model.8vo", "--quiet")

    def test_source_that_is_quantized_already(self):
        write_small_model(self.dir / "m", quantization_config={"quant_method": "gptq"})
        self.refused(1, "m", "-o", "model.8vo", says="gptq")

    def test_config_that_is_no_json(self):
        write_small_model(self.dir / "m")
        (self.dir / "m/config.json").write_text("{")
        self.refused(3, "m", "-o", "model.8vo", says="config.json")

    def test_existing_output(self):
        (self.dir / "model.8vo").write_text("precious")
        self.refused(1, GPT2, "-o", "model.8vo", says=["model.8vo", "--force"])
        self.assertEqual((self.dir / "model.8vo").read_text(), "precious")

    def test_output_in_no_folder(self):
        self.refused(1, GPT2, "-o", "none/model.8vo", says="none")

    def test_output_below_a_file(self):
        (self.dir / "file").write_text("")
        self.refused(1, GPT2, "-o", "file/model.8vo", says="file")

    @unittest.skipIf(os.geteuid() == 0, "root may write anywhere")
    def test_read_only_folder(self):
        (self.dir / "locked").mkdir(mode=0o500)
        self.refused(1, GPT2, "-o", "locked/model.8vo", says=["locked", "ermission"])

    def test_output_that_is_a_folder(self):
        (self.dir / "model.8vo").mkdir()
        for force in [[], ["--force"]]:
            self.refused(1, GPT2, "-o", "model.8vo", *force, says="model.8vo")

    def test_output_that_is_the_source(self):
        write_small_model(self.dir / "m")
        source = self.dir / "m/model.safetensors"
        before = source.read_bytes()
        for output in ["m/model.safetensors", "m/../m/model.safetensors"]:
            self.octavo("convert", "m", "-o", output, "--force", code=2)
        self.assertEqual(source.read_bytes(), before)

    def test_full_disk(self):
        """The limit on a file's size stands for a disk that fills up in the middle."""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        self.refused(1, GPT2, "-o", "model.8vo", says="model.8vo", preexec_fn=limit)
        (self.dir / "old.8vo").write_text("old")
        self.refused(1, GPT2, "-o", "old.8vo", "--force", says="old.8vo", preexec_fn=limit)
        self.assertEqual((self.dir / "old.8vo").read_text(), "old")

    def test_options_that_contradict_each_other(self):
        for options in [["--compat", "paper", "--row-rule", "below_threshold"],
                        ["--method", "tensor-wise", "--scope", "token"],
                        ["--method", "zeropoint-vector", "--activations", "symmetric"]]:
            result = self.octavo("convert", GPT2, "-o", "model.8vo", *options, code=2)
            self.assertEqual((result.out, self.files()), ("", []))

    def test_malformed_pattern(self):
        self.refused(2, GPT2, "-o", "model.8vo", "--skip-modules", "h..0", says="h..0")


if __name__ == "__main__":
    unittest.main()
