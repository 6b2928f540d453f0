"""Tests of octavo_reader.py with files of octavo_writer.py.

Sound files read back, damage is found, and a file that breaks one rule alone is refused by its
number.
"""

import os
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

import octavo_reader  # first: it says what is missing, if a module is

import numpy
import xxhash

import octavo_writer
from broken_files import CASES, compressed, extra, frame_draft, streamed, write_case
from octavo_reader import FormatError, open_8vo
from octavo_writer import Draft

LISTED_RULES = [f"R{number}" for number in range(1, 38)]
# A reader takes an unknown kind for `other`, so that no file breaks R31.
CANNOT_BE_BROKEN = ["R31"]


class FileTest(unittest.TestCase):
    """Writes bytes into a folder of its own. (Not over a file that is still open: it is mapped.)"""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def write(self, data, name="file.8vo"):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as stream:
            stream.write(data)
        return path

    def check(self, data, name="file.8vo"):
        """Opens and verifies; raises the first finding."""
        file = open_8vo(self.write(data, name))
        for finding in file.verify():
            raise finding
        return file


class SoundFiles(FileTest):

    def test_every_sample_verifies(self):
        paths = octavo_writer.write_samples(self.folder)
        self.assertEqual(len(paths), len(octavo_writer.SAMPLES) + 3)
        for path in paths:
            with self.subTest(os.path.basename(path)):
                self.assertEqual(open_8vo(path).verify(), [])

    def test_values_read_back(self):
        file = self.check(octavo_writer.empty().build())
        self.assertEqual(file.tensor("none").shape, (3, 0))
        self.assertEqual(file.tensor("no_rows").shape, (0, 5))
        self.assertEqual(file.tensor("scalar").item(), 1.5)
        self.assertEqual(file.asset("empty.txt"), b"")
        self.assertEqual(file.tensor("rank8").ravel().tolist(), list(range(6)))
        for name in octavo_writer.NUMPY_NAMES:
            self.assertEqual(file.tensor(name).dtype.name, name)
            self.assertEqual(file.tensor(name).tolist(), [[0, 1], [1, 0]])
        self.assertEqual(file.tensor("F8_E5M2").tolist(), [0, 127, 255])

    def test_compressed_payloads_read_back(self):
        file = self.check(octavo_writer.zstd().build())
        self.assertEqual(file.asset("vocab.txt"), b"the same words again. " * 50)
        self.assertEqual(file.tensor("mixed")[:4].any(), False)
        expected = numpy.random.default_rng(1).integers(0, 256, (4, 256))
        numpy.testing.assert_array_equal(file.tensor("mixed")[4:], expected)
        stored = file.tensors["mixed"].stored
        self.assertTrue(stored[0] < 1024 and stored[1] == 1024, "both kinds of chunk are there")

    def test_packed_codes_are_the_plain_ones(self):
        layouts = []
        for layout in ("plain", "vnni16x4-1"):
            draft = Draft()
            octavo_writer.add_linear(draft, "fc", rows=17, columns=66, layout=layout)
            layouts.append(self.check(draft.build(), layout + ".8vo"))
        plain, packed = layouts
        numpy.testing.assert_array_equal(plain.codes("fc"), packed.codes("fc"))
        # The page's formula, element by element.
        tensor = packed.tensor("fc.weight")
        for n, k in [(0, 0), (3, 5), (15, 63), (16, 65)]:
            self.assertEqual(tensor[n // 16, k // 4, n % 16, k % 4], plain.codes("fc")[n, k])

    def test_dequantized(self):
        draft = Draft(method="zeropoint-vector")
        octavo_writer.add_linear(draft, "fc", convention="step", zero_point=True)
        file = self.check(draft.build())
        zero_point, scale = file.tensor("fc.weight_zero_point"), file.scales("fc")
        expected = numpy.float32((float(file.codes("fc")[3, 2]) - zero_point[3]) * float(scale[3]))
        self.assertEqual(file.dequantized("fc")[3, 2], expected)
        file = self.check(octavo_writer.kept().build(), "kept.8vo")
        self.assertEqual(file.dequantized("bf16")[:, 0].tolist(), [0.125] * 5)  # 0x3e00
        self.assertEqual(file.dequantized("f16")[:, 6].tolist(), [-2.0] * 5)
        expected = numpy.float32(
            float(file.codes("f16")[2, 3]) * float(file.scales("f16")[2]) / 127)
        self.assertEqual(file.dequantized("f16")[2, 3], expected)

    def test_experts_have_three_dimensions(self):
        file = self.check(octavo_writer.experts().build())
        self.assertEqual(file.codes("moe.experts").shape, (3, 5, 6))
        self.assertEqual(file.dequantized("moe.experts").shape, (3, 5, 6))

    def test_unknown_things_a_reader_ignores(self):
        # R2, R13, R31 and optional features of a later minor version.
        draft = octavo_writer.small()
        draft.header.update(version_minor=7, optional_features=1 << 40)
        draft.manifest["later"] = {"a": [1.5e3, None, True]}
        draft.module("fc")["kind"] = "hologram"
        self.assertEqual(self.check(draft.build()).modules[0]["kind"], "other")


class Damage(FileTest):
    """Every bit of a file is covered by a digest or a rule."""

    def is_found(self, path):
        try:
            return bool(open_8vo(path).verify())
        except FormatError:
            return True

    def test_every_bit_flip_is_found(self):
        self.flip_every_bit(octavo_writer.small().build())

    def test_every_bit_flip_of_compressed_payloads_is_found(self):
        draft = Draft()
        octavo_writer.add_linear(draft, "fc", rows=9, columns=33, codec="zstd")
        draft.asset("a.txt", b"the same words again. " * 50, codec="zstd")
        self.flip_every_bit(draft.build(), first=128, last=128 + len(draft.body()))

    def flip_every_bit(self, data, first=0, last=None):
        path = self.write(data)
        with open(path, "r+b", buffering=0) as stream:
            for bit in range(8 * first, 8 * (last or len(data))):
                stream.seek(bit // 8)
                stream.write(bytes([data[bit // 8] ^ 1 << bit % 8]))
                self.assertTrue(self.is_found(path), f"bit {bit % 8} of byte {bit // 8}")
                stream.seek(bit // 8)
                stream.write(data[bit // 8:bit // 8 + 1])
        self.assertFalse(self.is_found(path), "the last flip is undone")

    def test_every_truncation_is_refused(self):
        data = octavo_writer.small().build()
        path = self.write(data)
        for size in reversed(range(len(data))):
            os.truncate(path, size)
            with self.assertRaises(FormatError, msg=f"{size} bytes") as caught:
                open_8vo(path)
            self.assertEqual(caught.exception.rule, "R1" if size < 128 else "R6")

    def test_index_without_its_shards(self):
        files = octavo_writer.sharded()
        with self.assertRaisesRegex(FormatError, "R36: .*missing"):
            self.check(files["sharded.8vo"])

    def test_a_flip_in_each_byte_of_a_shard_is_found_through_the_index(self):
        files = octavo_writer.sharded()
        *shards, index = [self.write(data, name) for name, data in files.items()]
        self.assertEqual(open_8vo(index).verify(), [])
        data = files[os.path.basename(shards[1])]
        with open(shards[1], "r+b", buffering=0) as stream:
            for byte in range(len(data)):
                stream.seek(byte)
                stream.write(bytes([data[byte] ^ 1 << byte % 8]))
                self.assertTrue(self.is_found(index), f"byte {byte}")
                stream.seek(byte)
                stream.write(data[byte:byte + 1])
        self.assertFalse(self.is_found(index), "the last flip is undone")


class CommandLine(FileTest):

    def run_reader(self, *arguments):
        return subprocess.run([sys.executable, octavo_reader.__file__, *arguments],
                              capture_output=True,
                              text=True)

    def test_dump(self):
        path = self.write(octavo_writer.small().build())
        result = self.run_reader(path, "--verify", "--dump")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        digest = xxhash.xxh3_64_hexdigest(open_8vo(path).tensor("fc.weight").tobytes())
        self.assertEqual(result.stdout.splitlines()[0], f"fc.weight\tI8\t[3, 4]\t{digest}")

    def test_invalid_file(self):
        data = bytearray(octavo_writer.small().build())
        data[130] ^= 1
        path = self.write(data)
        self.assertEqual(self.run_reader(path).returncode, 0, "payloads are read on demand")
        for option in ("--verify", "--dump"):
            result = self.run_reader(path, option)
            self.assertEqual((result.returncode, result.stdout), (3, ""))
            self.assertRegex(result.stderr, r"\A.*: R23: tensor 'fc.weight': chunk 0 .*\n\Z")

    def test_no_file(self):
        self.assertEqual(self.run_reader(os.path.join(self.folder, "none.8vo")).returncode, 1)


class Rules(FileTest):

    def refused(self, rule, path):
        with self.assertRaises(FormatError) as caught:
            for finding in open_8vo(path).verify():
                raise finding
        self.assertEqual(caught.exception.rule, rule, str(caught.exception))
        self.assertTrue(str(caught.exception).startswith(rule + ": "))
        self.assertNotIn("\n", str(caught.exception))

    def test_cases(self):
        for rule, build in CASES:
            with self.subTest(rule=rule,
                              case=build.__name__), tempfile.TemporaryDirectory() as folder:
                self.refused(rule, write_case(folder, build))

    def test_an_unfinished_file_is_called_so(self):
        draft = octavo_writer.small()
        draft.header["commit"] = bytes(16)
        with self.assertRaisesRegex(FormatError, "R3: .*never finished"):
            self.check(draft.build())

    def test_unbroken_drafts_are_sound(self):
        # The cases change these; were they not sound, a case would prove nothing.
        for sample in octavo_writer.SAMPLES:
            self.check(sample().build())
        self.check(frame_draft(compressed()))
        self.check(frame_draft(streamed(b"z" * 1000, window=16 << 3)))
        self.check(octavo_writer.small().build(
            text=extra(b"[" * 15 +
                       b"]" * 15)(octavo_writer.to_json(octavo_writer.small().manifest))))

    def test_a_bomb_is_not_unpacked(self):
        bomb = streamed(bytes(1 << 28))
        self.refused("R24", self.write(frame_draft(bomb, raw_bytes=len(bomb) + 1)))

    def test_limit_of_entries(self):
        data = octavo_writer.small().build()
        with unittest.mock.patch.object(octavo_reader, "MAX_ENTRIES", 2):
            self.refused("section 10", self.write(data))

    def test_every_rule_has_a_case(self):
        rules = {rule for rule, _ in CASES}
        self.assertEqual([rule for rule in LISTED_RULES if rule not in rules], CANNOT_BE_BROKEN)
        with open(octavo_reader.__file__, encoding="utf-8") as stream:
            source = stream.read()
        for rule in LISTED_RULES:
            self.assertRegex(source, rf"# {rule}: ", f"the reader has no comment for {rule}")


if __name__ == "__main__":
    unittest.main()
