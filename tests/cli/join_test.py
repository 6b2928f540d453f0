"""octavo convert --part and octavo join: the bytes of one machine, or a clear refusal."""

import os
import unittest

from cli import LLAMA, CliTest

OPTIONS = ["--max-shard-size", "2MB", "--quiet"]


class Join(CliTest):
    def convert(self, *options, source=LLAMA, **more):
        return self.octavo("convert", source, "-o", "m.8vo", *OPTIONS, *options, **more)

    def contents(self):
        return {p.name: p.read_bytes() for p in self.dir.iterdir() if p.is_file()}

    def whole(self, *options):
        """What one machine writes; it is removed again."""
        self.convert(*options)
        result = self.contents()
        for name in result:
            (self.dir / name).unlink()
        return result

    def test_gives_the_bytes_of_one_machine(self):
        for options in [[], ["--compress"], ["--method", "zeropoint-tensor"], ["--on-nonfinite", "skip"]]:
            expected = self.whole(*options)
            self.assertGreater(len(expected), 5)
            for count in [1, 2, 3, 20]:  # 20: more than there are shards
                with self.subTest(options=options, count=count):
                    for i in reversed(range(count)):
                        self.convert(*options, "--part", f"{i + 1}/{count}")
                    self.octavo("join", "m.8vo", "--quiet")
                    self.assertEqual(self.contents(), expected)
                for name in expected:
                    (self.dir / name).unlink()

    def test_a_model_of_one_shard_becomes_one_file(self):
        self.octavo("convert", LLAMA, "-o", "m.8vo", "-q", "--max-shard-size", "1GB")
        expected = self.contents()
        for i in ["1/2", "2/2"]:
            self.octavo("convert", LLAMA, "-o", "m.8vo", "-q", "--max-shard-size", "1GB", "--part", i)
        self.assertIn("exists already", self.octavo("join", "m.8vo", code=1).err)
        self.octavo("join", "m.8vo", "--force", "-q")
        self.assertEqual(self.contents(), expected)

    def test_reports(self):
        out = self.octavo("convert", LLAMA, "-o", "m.8vo", "--max-shard-size", "2MB", "--part", "1/2").out
        self.assertIn("m.8vo.part-1-of-2: written in", out)
        self.assertIn("part          1 of 2", out)
        part = self.octavo_json("convert", LLAMA, "-o", "m.8vo", "--max-shard-size", "2MB", "--part", "2/2")
        self.assertEqual(part["files"], ["m.8vo.part-2-of-2"])
        joined = self.octavo_json("join", "m.8vo")
        self.assertEqual(joined["files"][0], "m.8vo")
        self.assertEqual(joined["output"], "m.8vo")
        whole = self.octavo_json("convert", LLAMA, "-o", "n.8vo", "--max-shard-size", "2MB")
        self.assertEqual(joined["summary"], whole["summary"])

    def test_missing_parts_are_named(self):
        self.assertIn("there are no parts m.8vo.part-1-of-2", self.octavo("join", "m.8vo", code=1).err)
        self.convert("--part", "2/4")
        before = self.contents()
        self.assertIn("m.8vo: of 4 parts these are missing: 1, 3, 4", self.octavo("join", "m.8vo", code=1).err)
        self.assertEqual(self.contents(), before)

    def test_parts_that_do_not_belong_together_are_named(self):
        self.convert("--part", "1/2")
        self.convert("--part", "2/2", "--threshold", "3")
        before = self.contents()
        err = self.octavo("join", "m.8vo", code=2).err
        self.assertIn('m.8vo.part-2-of-2 does not belong to m.8vo.part-1-of-2: threshold was "6.000000" and is "3.000000"', err)
        self.assertEqual(self.contents(), before)
        self.convert("--part", "2/2", "--force")
        self.octavo("join", "m.8vo", "-q")

    def test_another_source_is_named(self):
        source = self.dir / "source"
        source.mkdir()
        for path in LLAMA.iterdir():
            (source / path.name).write_bytes(path.read_bytes())
        self.convert("--part", "1/2", source=source)
        changed = source / "model-00003-of-00003.safetensors"
        os.utime(changed, (1, 1))
        self.convert("--part", "2/2", source=source)
        self.assertIn(f"source file {changed.name} was", self.octavo("join", "m.8vo", code=2).err)

    def test_parts_of_two_splits_are_refused(self):
        self.convert("--part", "1/2")
        self.convert("--part", "2/3")
        self.assertIn("there are parts of 2 and of 3", self.octavo("join", "m.8vo", code=2).err)

    def test_a_part_under_another_name_is_refused(self):
        self.convert("--part", "1/2")
        (self.dir / "m.8vo.part-2-of-2").write_bytes((self.dir / "m.8vo.part-1-of-2").read_bytes())
        self.assertIn("m.8vo.part-2-of-2 holds part 1 of 2", self.octavo("join", "m.8vo", code=2).err)

    def test_a_damaged_part_is_refused(self):
        self.convert("--part", "1/1")
        record = self.dir / "m.8vo.part-1-of-1"
        whole = record.read_bytes()
        for size in [0, 10, 100, len(whole) // 2, len(whole) - 1]:
            record.write_bytes(whole[:size])
            self.assertIn("m.8vo.part-1-of-1 is no", self.octavo("join", "m.8vo", code=3).err)
        record.write_bytes(whole)
        payload = self.dir / ".m.8vo.part-1-of-1.octavo-00001"
        payload.rename(self.dir / "away")
        self.assertIn("convert this part again", self.octavo("join", "m.8vo", code=1).err)
        (self.dir / "away").rename(payload)
        self.octavo("join", "m.8vo", "-q")
        self.octavo("verify", "m.8vo", "--against", LLAMA)

    def test_a_finished_part_is_not_done_again(self):
        self.convert("--part", "1/2")
        before = self.contents()
        self.assertIn("m.8vo.part-1-of-2 exists already", self.convert("--part", "1/2", code=1).err)
        self.convert("--part", "1/2", "--resume")
        self.assertEqual(self.contents(), before)

    def test_wrong_usage(self):
        for part in ["0/2", "3/2", "1", "1/", "/2", "a/b", "1/2/3", "-1/2", "1/100000"]:
            self.assertIn("--part", self.convert("--part", part, code=2).err)
        self.octavo("convert", LLAMA, "-o", "m.8vo", "--part", "1/2", code=2)  # without a size for shards


if __name__ == "__main__":
    unittest.main()
