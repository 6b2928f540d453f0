"""octavo bench: what it prints and what it refuses. How fast anything is, no test says."""

import json
import unittest

from cli import FAKE_CUDA, CliTest, environment, with_fake_gpus

SMALL = ["--tokens", "1,3", "--seconds", "0"]
KEYS = ["tokens", "in_features", "out_features", "method", "activations", "scope", "threshold", "outlier_columns", "cold",
        "ms", "tops", "weight_gbs", "share_of_ceiling"]


class Bench(CliTest):
    def test_json_has_the_documented_keys(self):
        report = self.octavo_json("bench", "--shape", "96x200,40x64", "--cpu", "portable", "--threads", "1", *SMALL)
        self.assertEqual((report["device"], report["backend"], report["threads"]), ("cpu", "portable", 1))
        self.assertIsNone(report["ceilings"]["int8_tops"])
        self.assertGreater(report["ceilings"]["read_gbs"], 0)
        shapes = [(r["tokens"], r["out_features"], r["in_features"]) for r in report["results"]]
        self.assertEqual(shapes, [(1, 96, 200), (1, 40, 64), (3, 96, 200), (3, 40, 64)])
        for result in report["results"]:
            self.assertLessEqual(set(KEYS), set(result))
            self.assertGreater(result["ms"], 0)
            self.assertGreaterEqual(result["rounds"], 3)
            operations = 2 * result["tokens"] * result["in_features"] * result["out_features"]
            self.assertAlmostEqual(result["tops"], operations / result["ms"] * 1e-9, delta=1e-6 * result["tops"])
            self.assertEqual((result["method"], result["activations"], result["scope"], result["threshold"]),
                             ("vector-wise", "asymmetric", "batch", 6))
            self.assertEqual((result["outlier_columns"], result["kept_columns"], result["cold"]), (1, 0, False))
        self.assertGreater(report["checked_outputs"], 0)

    def test_options_are_what_runs(self):
        for cold in ([], ["--cold"]):
            report = self.octavo_json("bench", "--shape", "2048x1024", "--tokens", "2", "--seconds", "0", "--scope", "token",
                                      "--activations", "symmetric", "--row-rule", "below_threshold", "--threshold", "3",
                                      "--outlier-share", "0.01", "--kept", "0.02", "--dtype", "bf16", *cold)
            result, = report["results"]
            self.assertEqual(
                (result["scope"], result["activations"], result["row_rule"], result["threshold"], result["outlier_columns"],
                 result["kept_columns"], result["dtype"], result["cold"]),
                ("token", "symmetric", "below_threshold", 3, 10, 20, "BF16", bool(cold)))

    def test_a_threshold_of_zero_finds_no_outliers(self):
        result, = self.octavo_json("bench", "--shape", "64x64", "--tokens", "1", "--seconds", "0", "--threshold", "0")["results"]
        self.assertEqual(result["outlier_columns"], 0)

    def test_models_and_shapes_add_up_once_each(self):
        report = self.octavo_json("bench", "--model", "gpt2", "--shape", "768x768,64x32", "--tokens", "1", "--seconds", "0")
        shapes = [(r["out_features"], r["in_features"]) for r in report["results"]]
        self.assertEqual(shapes, [(2304, 768), (768, 768), (3072, 768), (768, 3072), (64, 32)])

    def test_text_has_a_line_for_each_case(self):
        out = self.octavo("bench", "--shape", "96x200", *SMALL).out
        self.assertRegex(out, r"(?m)^ +96x200 +1 +1 +0 +\S+ ms ")
        self.assertRegex(out, r"(?m)^ +96x200 +3 +1 +0 +\S+ ms ")
        self.assertIn("GB/s", out)
        self.assertIn("outputs against the definition, all right", out)

    def test_the_environment_chooses_the_kernels(self):
        result = self.octavo("bench", "--shape", "64x64", "--tokens", "1", "--seconds", "0", "--json",
                             env=environment(OCTAVO_CPU="portable"))
        self.assertEqual(json.loads(result.out)["backend"], "portable")

    def test_refuses_what_is_no_shape_model_or_device(self):
        for arguments, says in [
            (["--shape", "64"], '"64" is no shape'),
            (["--shape", "0x64"], '"0x64" is no shape'),
            (["--shape", "64x-1"], '"64x-1" is no shape'),
            (["--shape", "1048576x1048576"], "is no shape"),
            (["--model", "llama"], "llama-3-8b"),
            (["--tokens", "0"], "--tokens"),
            (["--outlier-share", "1.5"], "--outlier-share"),
            (["--device", "gpu"], '"gpu" is not cpu, cuda or cuda:N'),
            (["--device", "cuda:x"], '"cuda:x" is not cpu, cuda or cuda:N'),
            (["--device", "cuda", "--cpu", "avx2"], "--cpu"),
            (["--dtype", "f64"], "--dtype"),
        ]:
            with self.subTest(arguments=arguments):
                self.fails(2, "bench", *arguments, says=says)

    def test_says_why_there_is_no_such_backend(self):
        self.fails(1, "bench", "--cpu", "none", *SMALL, says='unknown CPU kernels "none"')
        self.fails(1, "bench", "--device", "cuda", *SMALL, env=environment(OCTAVO_CUDA_LIBRARY="off"), says="CUDA")

    @unittest.skipUnless(FAKE_CUDA, "a build without the CUDA backend")
    def test_runs_on_a_device(self):
        for options in ([], ["--kept", "0.05", "--scope", "token", "--dtype", "f32"], ["--cold"]):
            with self.subTest(options=options):
                report = self.octavo_json("bench", "--device", "cuda:1", "--shape", "70x96,33x100", "--tokens", "1,17",
                                          "--seconds", "0", *options, env=with_fake_gpus())
                self.assertEqual((report["device"], report["backend"]), ("cuda:1", "cuda:1"))
                self.assertIsNone(report["ceilings"]["int8_tops"])
                self.assertEqual(report["checked_outputs"], 2 * 16 + 2 * 8 * 16)
                few, _, many, _ = report["results"]
                self.assertGreater(few["share_of_ceiling"], 0)
                self.assertIsNone(many["share_of_ceiling"])
                self.assertTrue(few["product"])
        self.fails(1, "bench", "--device", "cuda:7", *SMALL, env=with_fake_gpus(), says="cuda:7")


if __name__ == "__main__":
    unittest.main()
