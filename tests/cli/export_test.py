"""octavo export: folders for other programs."""

import json
import struct
import unittest

from cli import GPT2, LLAMA, CliTest, read_safetensors, write_small_model


class Export(CliTest):
    def setUp(self):
        super().setUp()
        self.converted(LLAMA)

    def test_bitsandbytes(self):
        report = self.octavo_json("export", "model.8vo", "--to", "bitsandbytes", "-o", "out")
        self.assertEqual(report["int8_modules"], 42)
        self.assertEqual(report["output"], "out")
        self.assertEqual(sorted(report["files"]), sorted(p.name for p in (self.dir / "out").iterdir()))
        self.assertEqual(report["bytes_weights"], (self.dir / "out/model.safetensors").stat().st_size)
        self.assertEqual(report["warnings"], [])
        tensors = read_safetensors(self.dir / "out/model.safetensors")
        name = "model.layers.0.mlp.up_proj"
        self.assertEqual(tensors[f"{name}.weight"][:2], ("I8", [688, 256]))
        self.assertEqual(tensors[f"{name}.SCB"][:2], ("F32", [688]))
        self.assertEqual(tensors[f"{name}.weight_format"], ("U8", [], b"\0"))
        config = json.loads((self.dir / "out/config.json").read_text())
        self.assertEqual(config["quantization_config"]["llm_int8_skip_modules"], ["lm_head"])
        self.assertEqual({k: v for k, v in config.items() if k != "quantization_config"},
                         json.loads((LLAMA / "config.json").read_text()))
        self.assertEqual((self.dir / "out/tokenizer.json").read_bytes(), (LLAMA / "tokenizer.json").read_bytes())

    def test_every_tensor_is_aligned(self):
        self.octavo("export", "model.8vo", "--to", "bitsandbytes", "-o", "out", "--quiet")
        raw = (self.dir / "out/model.safetensors").read_bytes()
        header = json.loads(raw[8:8 + struct.unpack_from("<Q", raw)[0]])
        size = {"F32": 4, "BF16": 2, "I8": 1, "U8": 1}
        for name, entry in header.items():
            if name != "__metadata__":
                self.assertEqual(entry["data_offsets"][0] % size[entry["dtype"]], 0, name)

    def test_says_what_is_lost(self):
        result = self.octavo("export", "model.8vo", "--to", "compressed-tensors", "-o", "out")
        self.assertIn("warning: readers of compressed-tensors multiply outliers in int8", result.err)
        self.assertIn("int8   42 modules", result.out)
        result = self.octavo("export", "model.8vo", "--to", "compressed-tensors", "-o", "out2", "--quiet")
        self.assertEqual((result.out, result.err), ("", ""))

    def test_an_export_can_be_converted_again(self):
        self.octavo("export", "model.8vo", "--to", "safetensors", "-o", "out", "--max-shard-size", "1MB", "--quiet")
        plan = self.octavo_json("convert", "out", "--dry-run")
        self.assertEqual(plan["summary"]["quantized_modules"], 42)

    def test_an_existing_folder(self):
        self.octavo("export", "model.8vo", "--to", "safetensors", "-o", "out", "--quiet")
        self.fails(1, "export", "model.8vo", "--to", "safetensors", "-o", "out", says=["out exists already", "--force"])
        self.octavo("export", "model.8vo", "--to", "bitsandbytes", "-o", "out", "--force", "--quiet")
        self.assertIn("SCB", (self.dir / "out/model.safetensors").read_bytes()[:4000].decode("latin-1"))
        (self.dir / "out/notes.txt").write_text("mine")
        self.fails(2, "export", "model.8vo", "--to", "safetensors", "-o", "out", "--force", says="notes.txt")
        self.assertEqual((self.dir / "out/notes.txt").read_text(), "mine")
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["model.8vo", "out"])

    def test_what_cannot_be(self):
        self.converted(GPT2, "gpt2.8vo")
        self.fails(1, "export", "gpt2.8vo", "--to", "compressed-tensors", "-o", "out", says=["24: it is a Conv1D", "safetensors instead"])
        self.fails(2, "export", "gpt2.8vo", "--to", "gguf", "-o", "out", says="--to")
        self.fails(1, "export", "none.8vo", "--to", "safetensors", "-o", "out", says="none.8vo")
        write_small_model(self.dir / "small")
        (self.dir / "small/config.json").unlink()
        self.converted("small", "small.8vo")
        self.fails(1, "export", "small.8vo", "--to", "bitsandbytes", "-o", "out", says="no embedded config.json")
        self.assertFalse((self.dir / "out").exists())


if __name__ == "__main__":
    unittest.main()
