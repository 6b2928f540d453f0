"""octavo forward: one linear on activations, and every input that does not fit."""

import struct
import unittest

from cli import (FAKE_CUDA, GPT2, CliTest, environment, floats, halves, read_safetensors, with_fake_gpus,
                 write_safetensors, write_small_model)

LINEAR = "transformer.h.2.attn.c_attn"
ACTIVATIONS = GPT2 / "activations.safetensors"


def outliers(threshold=6.0):
    """Columns with an outlier, and the number of outlier entries, counted from the file."""
    _, (tokens, features), data = read_safetensors(ACTIVATIONS)[LINEAR]
    x = struct.unpack(f"<{tokens * features}e", data)
    places = [i for i, value in enumerate(x) if abs(value) >= threshold]
    return sorted({i % features for i in places}), len(places)


class ShippedModel(CliTest):
    def setUp(self):
        super().setUp()
        self.converted()

    def forward(self, *arguments, module=LINEAR, x=ACTIVATIONS, **options):
        return self.octavo_json("forward", "model.8vo", "--module", module, "--input", x, *arguments, **options)

    def test_report_for_people(self):
        out = self.octavo("forward", "model.8vo", "--module", LINEAR, "--input", ACTIVATIONS, "--output", "y.safetensors",
                          "--compare", GPT2, "--repeat", "3").out
        for part in [LINEAR, "256 -> 768", "tokens           128", "outlier columns  4 of 256: 41, 137, 196, 202",
                     "in 16 bit        512 of 32,768 entries (1.56 %)", "median of 3", "error  ", "y.safetensors"]:
            self.assertIn(part, out)

    def test_output_in_place_of_an_input(self):
        before = (self.dir / "model.8vo").read_bytes()
        self.fails(2, "forward", "model.8vo", "--module", LINEAR, "--input", ACTIVATIONS, "--output", "model.8vo",
                   "--force", says="model.8vo")
        self.assertEqual((self.dir / "model.8vo").read_bytes(), before)

    def test_facts(self):
        facts = self.forward()
        columns, _ = outliers()
        self.assertEqual((facts["tokens"], facts["outlier_columns"], facts["outlier_entries"]),
                         (128, columns, 128 * len(columns)))
        self.assertEqual((facts["input_dtype"], facts["output_dtype"], facts["output_shape"]), ("F16", "F16", [128, 768]))
        self.assertEqual(self.files(), ["model.8vo"])
        self.assertIsNone(facts["relative_error"])

    def test_error_falls_with_decomposition(self):
        none = self.forward("--threshold", "0", "--compare", GPT2)
        six = self.forward("--compare", GPT2)
        self.assertEqual(none["outlier_columns"], [])
        self.assertLess(six["relative_error"], 0.75 * none["relative_error"])
        self.assertLess(six["relative_error"], 0.02)
        self.assertGreater(six["relative_error"], 0.001)

    def test_options_matter(self):
        plain = self.forward("--compare", GPT2, "--output-dtype", "F32")["relative_error"]
        for options in [["--activations", "symmetric"], ["--row-rule", "below_threshold"], ["--threshold", "20"]]:
            other = self.forward("--compare", GPT2, "--output-dtype", "F32", *options)["relative_error"]
            self.assertNotEqual(plain, other, options)
        for threshold in [6, 2.5]:
            token = self.forward("--scope", "token", "--threshold", threshold)
            self.assertEqual((token["outlier_columns"], token["outlier_entries"]), outliers(threshold))

    def test_output_dtypes(self):
        results = {}
        for dtype, size in [("F16", 2), ("BF16", 2), ("F32", 4)]:
            self.forward("--output", "y.safetensors", "--output-dtype", dtype, "--force")
            found_dtype, shape, data = read_safetensors(self.dir / "y.safetensors")[LINEAR]
            self.assertEqual((found_dtype, shape, len(data)), (dtype, [128, 768], 128 * 768 * size))
            results[dtype] = data
        exact = struct.unpack("<98304f", results["F32"])
        for rounded, value in zip(struct.unpack("<98304e", results["F16"]), exact):
            self.assertLessEqual(abs(rounded - value), abs(value) * 2**-11 + 2**-25)

    def test_leading_dimensions_are_kept(self):
        dtype, _, data = read_safetensors(ACTIVATIONS)[LINEAR]
        self.forward("--output", "flat.safetensors")
        for shape in [(2, 64, 256), (4, 4, 8, 256), (128, 1, 256)]:
            write_safetensors(self.dir / "x.safetensors", {"anything": (dtype, shape, data)})
            self.forward("--output", "y.safetensors", "--force", x="x.safetensors")
            found = read_safetensors(self.dir / "y.safetensors")[LINEAR]
            self.assertEqual(found[1], [*shape[:-1], 768])
            self.assertEqual(found[2], read_safetensors(self.dir / "flat.safetensors")[LINEAR][2])
        write_safetensors(self.dir / "x.safetensors", {"row": (dtype, (256,), data[:512])})
        self.assertEqual(self.forward(x="x.safetensors")["output_shape"], [768])

    def test_no_tokens(self):
        write_safetensors(self.dir / "x.safetensors", {"x": ("F16", (0, 256), b"")})
        facts = self.forward("--output", "y.safetensors", x="x.safetensors")
        self.assertEqual((facts["tokens"], facts["output_shape"]), (0, [0, 768]))

    def test_threads_and_repetitions_do_not_change_the_result(self):
        self.forward("--output", "1.safetensors", "--threads", "1")
        self.forward("--output", "3.safetensors", "--threads", "3", "--repeat", "5")
        self.assertEqual((self.dir / "1.safetensors").read_bytes(), (self.dir / "3.safetensors").read_bytes())

    @unittest.skipUnless(FAKE_CUDA, "a build without the CUDA backend")
    def test_device(self):
        """The fake GPU is the portable kernels, so what comes from there must be theirs."""
        for options in [[], ["--scope", "token", "--threshold", "2.5"], ["--activations", "symmetric"]]:
            facts = self.forward("--cpu", "portable", "--output", "cpu.safetensors", "--force", *options)
            there = self.forward("--device", "cuda:1", "--output", "gpu.safetensors", "--force", "--repeat", "3",
                                 *options, env=with_fake_gpus())
            self.assertEqual((facts["device"], there["device"], there["backend"]), ("cpu", "cuda:1", "cuda:1"))
            for same in ["tokens", "outlier_columns", "outlier_entries", "output_shape"]:
                self.assertEqual(facts[same], there[same])
            self.assertEqual((self.dir / "cpu.safetensors").read_bytes(), (self.dir / "gpu.safetensors").read_bytes())
        compared = self.forward("--device", "cuda", "--compare", GPT2, env=with_fake_gpus())
        self.assertLess(compared["relative_error"], 0.02)
        out = self.octavo("forward", "model.8vo", "--module", LINEAR, "--input", ACTIVATIONS, "--device", "cuda",
                          env=with_fake_gpus()).out
        self.assertIn("256 -> 768, device cuda:0\n", out)

    @unittest.skipUnless(FAKE_CUDA, "a build without the CUDA backend")
    def test_device_that_fails(self):
        arguments = ["forward", "model.8vo", "--module", LINEAR, "--input", ACTIVATIONS, "--output", "y.safetensors",
                     "--device"]
        for pretend, device, code, says in [
                ("no-driver", "cuda", 1, "no NVIDIA driver"), ("", "cuda:2", 1, "this machine has 2"),
                ("old-device", "cuda:1", 1, "compute capability 7.0"), ("no-memory", "cuda", 1, "cannot allocate"),
                ("upload-fails", "cuda", 1, "the fake upload fails"), ("product-fails", "cuda", 1, "cuda:0: ")]:
            self.fails(code, *arguments, device, env=with_fake_gpus(pretend), says=says)
        self.fails(2, *arguments, "cuda", "--cpu", "portable", env=with_fake_gpus(), says=["portable", "cuda:0"])
        self.assertEqual(self.files(), ["model.8vo"])

    def test_devices_that_are_none(self):
        for device in ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cpu:0", "cuda:99999999999"]:
            self.fails(2, "forward", "model.8vo", "--module", LINEAR, "--input", ACTIVATIONS, "--device", device,
                       says=f'"{device}" is not cpu, cuda or cuda:N')
        self.fails(1, "forward", "model.8vo", "--module", LINEAR, "--input", ACTIVATIONS, "--device", "cuda",
                   env=environment(OCTAVO_CUDA_LIBRARY="off"), says="cannot use CUDA device cuda:0")

    def test_existing_output(self):
        (self.dir / "y.safetensors").write_text("old")
        arguments = ["forward", "model.8vo", "--module", LINEAR, "--input", ACTIVATIONS, "--output", "y.safetensors"]
        self.fails(1, *arguments, says="y.safetensors")
        self.assertEqual((self.dir / "y.safetensors").read_text(), "old")
        self.octavo(*arguments, "--force")


class Errors(CliTest):
    def setUp(self):
        super().setUp()
        write_small_model(self.dir / "m")
        self.converted(self.dir / "m")
        self.module = "model.layers.0.self_attn.q_proj"

    def refused(self, code, *arguments, says, module=None, x="x.safetensors"):
        before = self.files()
        self.fails(code, "forward", "model.8vo", "--module", module or self.module, "--input", x, "--output",
                   "y.safetensors", *arguments, says=says)
        self.assertEqual(self.files(), before)

    def input(self, **tensors):
        write_safetensors(self.dir / "x.safetensors", tensors)

    def test_names(self):
        self.input(x=("F16", (1, 32), halves([1] * 32)))
        self.refused(1, module="model.layers.0.self_attn.q_prj", says=self.module)
        self.refused(2, module="model.norm", says="model.norm")
        self.refused(2, "--expert", "1", says="expert")
        self.fails(1, "forward", "none.8vo", "--module", "x", "--input", "x.safetensors", says="none.8vo")

    def test_input_that_does_not_fit(self):
        self.refused(1, x="none.safetensors", says="none.safetensors")
        self.input(a=("F16", (1, 32), halves([1] * 32)), b=("F16", (1, 32), halves([1] * 32)))
        self.refused(1, says=["x.safetensors", self.module, '"a"'])
        self.input(x=("I32", (1, 32), bytes(128)))
        self.refused(2, says=["x.safetensors", "I32", "F16"])
        self.input(x=("F64", (1, 32), bytes(256)))
        self.refused(2, says="F64")
        self.input(x=("F16", (1, 33), halves([1] * 33)))
        self.refused(2, says=["[1, 33]", "32"])
        self.input(x=("F16", (), halves([1])))
        self.refused(2, says="32")
        (self.dir / "x.safetensors").write_bytes(b"x")
        self.refused(3, says="x.safetensors")

    def test_cpu_kernels(self):
        self.input(x=("F32", (1, 32), floats([1] * 32)))
        self.refused(1, "--cpu", "sse1", says="sse1")
        facts = self.octavo_json("forward", "model.8vo", "--module", self.module, "--input", "x.safetensors", "--cpu",
                                 "portable")
        self.assertEqual(facts["backend"], "portable")

    def test_compare_with_another_source(self):
        self.input(x=("F32", (1, 32), floats([1] * 32)))
        self.refused(1, "--compare", GPT2, says=["q_proj", str(GPT2)])

    def test_codes_that_are_not_intact(self):
        self.input(x=("F32", (1, 32), floats([1] * 32)))
        tensors = self.octavo_json("inspect", "model.8vo")["tensors"]
        codes = next(t for t in tensors if t["dtype"] == "I8")
        raw = bytearray((self.dir / "model.8vo").read_bytes())
        raw[codes["offset"]] ^= 1
        (self.dir / "model.8vo").write_bytes(raw)
        self.refused(3, says="q_proj")


if __name__ == "__main__":
    unittest.main()
