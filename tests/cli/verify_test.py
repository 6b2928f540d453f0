"""octavo verify: intact files, broken ones, and files that are not what their source gives."""

import random
import shutil
import unittest

from cli import GPT2, LLAMA, CliTest, halves, read_safetensors, write_safetensors, write_small_model


class Verify(CliTest):
    def test_intact(self):
        self.converted()
        self.assertEqual(self.octavo("verify", "model.8vo").out, "model.8vo: OK\n")
        self.assertEqual(self.octavo("verify", "model.8vo", "--quiet").out, "")
        report = self.octavo_json("verify", "model.8vo")
        self.assertEqual(report, {"files": [{"path": "model.8vo", "ok": True, "error": None, "findings": []}]})

    def test_goes_on_after_a_bad_file(self):
        self.converted(LLAMA, "a.8vo")
        broken = bytearray((self.dir / "a.8vo").read_bytes())
        broken[5000] ^= 1
        (self.dir / "b.8vo").write_bytes(broken)
        result = self.octavo("verify", "a.8vo", "b.8vo", "none.8vo", "a.8vo", code=3)
        self.assertRegex(result.out, r"\Aa\.8vo: OK\n(b\.8vo: FAILED \(.+\)\n)+a\.8vo: OK\n\Z")
        self.assertIn("none.8vo", result.err)
        self.assertIn("1 of 4 files failed", result.err)
        report = self.octavo_json("verify", "a.8vo", "b.8vo", "none.8vo", code=3)
        self.assertEqual([f["ok"] for f in report["files"]], [True, False, False])
        self.assertTrue(report["files"][1]["findings"][0]["subject"])
        self.assertIsNotNone(report["files"][2]["error"])

    def test_missing_file_alone(self):
        self.fails(1, "verify", "none.8vo", says="none.8vo")
        self.octavo("verify", "none.8vo", "nothing.8vo", code=1)

    def test_any_flipped_bit_is_found(self):
        path = self.converted(write_small_model(self.dir / "m"))
        raw = path.read_bytes()
        seed = random.randrange(1 << 32)
        places = random.Random(seed).sample(range(len(raw) * 8), 60)
        for place in [0, 64, 8 * 127, 8 * 128, 8 * len(raw) - 1, *places]:
            broken = bytearray(raw)
            broken[place // 8] ^= 1 << place % 8
            (self.dir / "broken.8vo").write_bytes(broken)
            with self.subTest(seed=seed, bit=place):
                result = self.octavo("verify", "broken.8vo", code=3)
                self.assertIn("broken.8vo", result.out + result.err)

    def test_missing_and_exchanged_shards(self):
        self.converted(LLAMA, "model.8vo", "--max-shard-size", "4MB")
        shards = sorted(self.dir.glob("model-*.8vo"))
        first, second = shards[:2]
        original = second.read_bytes()
        shutil.copy(first, second)
        self.octavo("verify", "model.8vo", code=3)
        second.write_bytes(original)
        self.octavo("verify", "model.8vo")
        second.unlink()
        result = self.run_any("verify", "model.8vo")
        self.assertIn(result.returncode, (1, 3))
        self.assertIn(second.name.encode(), result.stdout + result.stderr)


class Against(CliTest):
    def test_its_own_source(self):
        for source in [GPT2, LLAMA]:
            self.converted(source, "model.8vo", "--force")
            self.assertEqual(self.octavo("verify", "model.8vo", "--against", source).out, "model.8vo: OK\n")

    def test_a_source_with_one_other_weight(self):
        write_small_model(self.dir / "m")
        self.converted(self.dir / "m")
        path = self.dir / "m/model.safetensors"
        tensors = read_safetensors(path)
        name = "model.layers.0.self_attn.q_proj.weight"
        dtype, shape, data = tensors[name]
        changed = bytearray(data)
        changed[2 * 100:2 * 101] = halves([0.49])
        write_safetensors(path, {**tensors, name: (dtype, shape, bytes(changed))})
        result = self.octavo("verify", "model.8vo", "--against", "m", code=3)
        self.assertRegex(result.out, r"model\.8vo: FAILED \(.*q_proj")

    def test_another_model(self):
        self.converted()
        self.octavo("verify", "model.8vo", "--against", LLAMA, code=3)

    def test_missing_source(self):
        self.converted()
        self.fails(1, "verify", "model.8vo", "--against", "none", says="none")


if __name__ == "__main__":
    unittest.main()
