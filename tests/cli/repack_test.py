"""octavo repack: another form, the same content."""

import filecmp
import unittest

from cli import GPT2, CliTest


class Repack(CliTest):
    def setUp(self):
        super().setUp()
        self.octavo("convert", GPT2, "-o", "model.8vo", "--quiet")

    def test_gives_what_convert_gives(self):
        self.octavo("convert", GPT2, "-o", "expected.8vo", "--quiet", "--compress")
        result = self.octavo("repack", "model.8vo", "-o", "small.8vo", "--compress")
        self.assertIn("small.8vo: written in", result.out)
        self.assertIn("size   7.46 MB -> ", result.out)
        self.assertTrue(filecmp.cmp(self.dir / "small.8vo", self.dir / "expected.8vo", shallow=False))
        self.octavo("repack", "small.8vo", "-o", "back.8vo", "--quiet")
        self.assertTrue(filecmp.cmp(self.dir / "back.8vo", self.dir / "model.8vo", shallow=False))

    def test_packed_is_what_convert_packs(self):
        self.octavo("convert", GPT2, "-o", "expected.8vo", "--quiet", "--layout", "packed")
        for layout in ("packed", "vnni16x4-1"):
            self.octavo("repack", "model.8vo", "-o", f"{layout}.8vo", "--layout", layout)
            self.assertTrue(filecmp.cmp(self.dir / f"{layout}.8vo", self.dir / "expected.8vo", shallow=False))
        self.assertFalse(filecmp.cmp(self.dir / "expected.8vo", self.dir / "model.8vo", shallow=False))

    def test_is_verified_against_the_source(self):
        self.octavo("repack", "model.8vo", "-o", "packed.8vo", "--layout", "vnni16x4-1", "--compress")
        self.octavo("verify", "packed.8vo", "--against", GPT2)

    def test_shards_and_one_file(self):
        report = self.octavo_json("repack", "model.8vo", "-o", "shards.8vo", "--max-shard-size", "2MB")
        self.assertEqual(report["output"], "shards.8vo")
        self.assertGreater(len(report["files"]), 3)
        self.assertEqual(report["bytes_before"], (self.dir / "model.8vo").stat().st_size)
        self.assertEqual(report["bytes_after"], sum((self.dir / f).stat().st_size for f in report["files"]))
        self.octavo("verify", "shards.8vo", "--against", GPT2)
        self.octavo("repack", "shards.8vo", "-o", "one.8vo")
        self.assertTrue(filecmp.cmp(self.dir / "one.8vo", self.dir / "model.8vo", shallow=False))

    def test_replaces_only_with_force(self):
        result = self.octavo("repack", "model.8vo", "-o", "model2.8vo", "--quiet")
        self.assertEqual((result.out, result.err), ("", ""))
        result = self.octavo("repack", "model.8vo", "-o", "model2.8vo", code=1)
        self.assertIn("--force", result.err)
        self.octavo("repack", "model.8vo", "-o", "model2.8vo", "--force")

    def test_refuses_to_write_over_its_input(self):
        result = self.octavo("repack", "model.8vo", "-o", "./model.8vo", "--force", code=2)
        self.assertIn("is the file that is repacked", result.err)
        self.octavo("verify", "model.8vo")

    def test_a_file_that_is_not_intact(self):
        data = bytearray((self.dir / "model.8vo").read_bytes())
        data[2_000_000] ^= 1
        (self.dir / "model.8vo").write_bytes(data)
        result = self.octavo("repack", "model.8vo", "-o", "out.8vo", code=3)
        self.assertIn("(R23)", result.err)
        self.assertEqual(self.files(), ["model.8vo"])


if __name__ == "__main__":
    unittest.main()
