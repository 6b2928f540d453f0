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
import zstandard

import octavo_writer
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
        self.assertEqual(result.stdout.splitlines()[0], f"fc.weight\tI8\t[3,4]\t{digest}")

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


# ---- Each rule broken alone ----------------------------------------------------------------------
# CASES: (rule, function that returns the bytes of a file): a small change of a sound one.

CASES = []


def case(rule):

    def keep(function):
        CASES.append((rule, function))
        return function

    return keep


def header_case(rule, **fields):
    """small() with other header fields; the commit digest is right."""

    def build():
        draft = octavo_writer.small()
        draft.header.update(fields)
        return draft.build()

    build.__name__ = "header " + ", ".join(f"{k}={v}" for k, v in fields.items())
    CASES.append((rule, build))


def text_case(rule, name, change):
    """small() with another manifest text."""

    def build():
        draft = octavo_writer.small()
        return draft.build(text=change(octavo_writer.to_json(draft.manifest)))

    build.__name__ = name
    CASES.append((rule, build))


def edit_case(rule, path, value, sample=octavo_writer.small):
    """A sample with one value of the manifest replaced or removed. path: keys and indices."""

    def build():
        draft = sample()
        body, draft.header["features"] = draft.body(), draft.features()
        owner, key = find(draft.manifest, path)
        if value is REMOVE:
            del owner[key]
        else:
            owner[key] = value
        return draft.build(body=body)

    change = "removed" if value is REMOVE else f"= {str(value)[:40]}"
    build.__name__ = f"{sample.__name__}: {path} {change}"
    CASES.append((rule, build))


REMOVE = object()


def find(owner, path):
    *way, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    for step in way:
        owner = owner[step]
    return owner, last


def values_case(rule, name, change, sample=octavo_writer.small):
    """A sample with other values in one tensor, and right digests. change: edits an array."""

    def build():
        draft = sample()
        i = [t["name"] for t in draft.manifest["tensors"]].index(name)
        entry, raw = draft.manifest["tensors"][i], draft.payloads["tensors"][i]
        array = numpy.frombuffer(bytearray(raw),
                                 octavo_reader.DTYPES[entry["dtype"]]).reshape(entry["shape"])
        change(array)
        draft.replace(name, array)
        return draft.build()

    build.__name__ = f"{name}: {change.__doc__ or change.__name__}"
    CASES.append((rule, build))


def put(at, value):

    def change(array):
        array[at] = value

    change.__doc__ = f"[{at}] = {value}"
    return change


header_case("R1", magic=b"\x898VO\n\n\x1a\n")
header_case("R2", version_major=2)
header_case("R2", version_major=0)
header_case("R3", commit=bytes(16))
header_case("R3", commit=b"x" * 16)
header_case("R4", features=1 << 6)
header_case("R4", features=1 << 63)
header_case("R5", header_bytes=192)
header_case("R5", reserved=bytes(31) + b"\1")
header_case("R6", file_bytes=1 << 40)
header_case("R7", manifest_offset=64)
header_case("R7", manifest_offset=(1 << 64) - 64)
header_case("R8", manifest_xxh3=b"x" * 16)
header_case("R9", shard_index=1)
header_case("R9", shard_count=0)
for bit in range(6):
    header_case("R10", features=1 << bit)
for sample in (octavo_writer.zstd, octavo_writer.full_range, octavo_writer.packed,
               octavo_writer.row_wise, octavo_writer.kept):

    @case("R10")
    def feature_missing(sample=sample):
        draft = sample()
        draft.header["features"] = 0
        return draft.build()


@case("R6")
def appended():
    return octavo_writer.small().build(tail=b"\0")


@case("R7")
def manifest_of_one_byte():
    return octavo_writer.small().build(text=b"1")


@case("R7")
def manifest_ends_before_the_file():
    draft = octavo_writer.small()
    text = octavo_writer.to_json(draft.manifest)
    draft.header.update(manifest_bytes=len(text) - 1,
                        manifest_xxh3=xxhash.xxh3_128_digest(text[:-1]))
    return draft.build(text=text)


@case("R7")
def manifest_not_aligned():
    draft = octavo_writer.small()
    text = octavo_writer.to_json(draft.manifest)
    draft.header.update(manifest_offset=128 + len(draft.body()) + 1,
                        manifest_bytes=len(text) - 1,
                        manifest_xxh3=xxhash.xxh3_128_digest(text[1:]))
    return draft.build(text=text)


def extra(json_value):
    """Adds an unknown key, which is ignored, with a value that may not be."""
    return lambda text: text[:-1] + b',"later":' + json_value + b"}"


text_case("R11", "cut off", lambda text: text[:-1])
text_case("R11", "white space after", lambda text: text + b" ")
text_case("R11", "newline before", lambda text: b"\n" + text)
text_case("R11", "byte order mark", lambda text: b"\xef\xbb\xbf" + text)
text_case("R11", "an array", lambda text: b"[" + text + b"]")
text_case("R11", "two objects", lambda text: text + b"{}")
text_case("R11", "trailing comma", lambda text: text[:-1] + b",}")
text_case("R11", "17 deep", extra(b"[" * 16 + b"]" * 16))
text_case("R11", "a million deep", extra(b"[" * 1000000))
text_case("R11", "not UTF-8", extra(b'"\xff"'))
text_case("R11", "overlong UTF-8", extra(b'"\xc0\xaf"'))
text_case("R11", "surrogate in UTF-8", extra(b'"\xed\xa0\x80"'))
text_case("R11", "half a surrogate pair", extra(b'"\\ud800"'))
text_case("R11", "control character in a string", extra(b'"\n"'))
for literal in (b"NaN", b"Infinity", b"-Infinity", b"01", b"+1", b".5", b"1.", b"0x1", b"True",
                b"'a'", b"1e999"):
    text_case("R11", literal.decode(), extra(literal))
text_case("R12", "at the top",
          lambda text: text.replace(b'{"converter"', b'{"converter":"a","converter"', 1))
text_case("R12", "in an unknown object", extra(b'{"a":1,"a":1}'))
text_case("R12", "equal after escapes", extra(b'{"a":1,"\\u0061":1}'))

for key in ("converter", "source", "quantization", "modules", "tensors", "assets"):
    edit_case("R13", key, REMOVE)
    edit_case("R13", key, 1)
for key in ("source/format", "source/model_type", "source/architecture",
            "source/known_architecture", "source/files", "source/files/0/name",
            "source/files/0/bytes", "source/files/0/xxh3", "quantization/method",
            "quantization/compat", "quantization/threshold", "quantization/scope",
            "quantization/row_rule", "quantization/activations", "quantization/weights_via_fp16",
            "quantization/activations_via_fp16", "tensors/0/name", "tensors/0/dtype",
            "tensors/0/shape", "tensors/0/offset", "tensors/0/bytes", "tensors/0/chunk_rows",
            "tensors/0/xxh3", "assets/0/size", "assets/0/xxh3", "modules/0/name", "modules/0/kind",
            "modules/0/quantized", "modules/0/reason", "modules/0/error", "modules/0/error/snr_db",
            "modules/0/error/max_abs_error", "modules/0/scheme/name", "modules/0/scheme/codes",
            "modules/0/scheme/codes/tensor", "modules/0/scheme/codes/bits",
            "modules/0/scheme/codes/signed", "modules/0/scheme/codes/layout",
            "modules/0/scheme/scales", "modules/0/scheme/scales/tensor",
            "modules/0/scheme/scales/axis", "modules/0/scheme/scales/group_size",
            "modules/0/scheme/scales/convention", "modules/0/scheme/scales/dtype",
            "modules/0/scheme/code_sum"):
    edit_case("R13", key, REMOVE)
    edit_case("R13", key, {"wrong": "type"} if not key.endswith(
        ("source", "scales", "codes", "error")) else "wrong")
edit_case("R13", "tensors/0/chunk_rows", True)
edit_case("R13", "tensors/0/chunk_rows", "4")
edit_case("R13", "modules/0/quantized", 1)
edit_case("R13", "modules/0/bias", None)
edit_case("R13", "tensors/0/shape/0", "3")
edit_case("R13", "tensors/0/shard", 0)
edit_case("R13", "modules/0/experts", REMOVE, sample=octavo_writer.experts)
for number in (-1, 1.0, 4e0, 1 << 63, 1 << 64, 10**30, -0.0):
    edit_case("R14", "tensors/0/chunk_rows", number)
text_case("R14", "minus zero", lambda text: text.replace(b'"axis":0', b'"axis":-0'))
text_case("R14", "exponent", lambda text: text.replace(b'"bits":8', b'"bits":8e0'))
for name in ("", "a" * 1025, "é" * 513, "a\nb", "a\x7fb", "\x00"):
    edit_case("R15", "tensors/0/name", name)
    edit_case("R15", "modules/0/name", name)
    edit_case("R15", "assets/0/name", name)
edit_case("R15", "tensors/1/name", "fc.weight")


@case("R15")
def two_modules_of_one_name():
    draft = octavo_writer.small()
    draft.manifest["modules"] *= 2
    return draft.build()


@case("R15")
def two_assets_of_one_name():
    draft = octavo_writer.small()
    draft.asset("a.txt", b"other")
    return draft.build()


for key, value in (("method", "vector"), ("compat", ""), ("scope", "row"), ("row_rule", "?"),
                   ("activations", "both"), ("threshold", -1), ("threshold", 0.1), ("threshold",
                                                                                    1e39)):
    edit_case("R16", "quantization/" + key, value)


@case("R16")
def tensor_wise_by_token():
    draft = octavo_writer.small()
    draft.manifest["quantization"].update(method="tensor-wise", scope="token")
    return draft.build()


edit_case("R17", "tensors/0/dtype", "I4")
edit_case("R17", "tensors/0/dtype", "i8")
edit_case("R17", "tensors/0/shape", [1] * 7 + [3, 4])
edit_case("R17", "tensors/0/shape", [1 << 32, 1 << 31])
edit_case("R17", "tensors/0/shape", [1 << 32, 1 << 31, 0])
edit_case("R18", "tensors/0/bytes", 11)
edit_case("R18", "tensors/0/stored", [12])
edit_case("R18", "assets/0/bytes", 4)
edit_case("R18", "assets/0/codec", "gzip")
edit_case("R18", "tensors/0/stored", REMOVE, sample=octavo_writer.zstd)
edit_case("R18", "tensors/0/stored", [1], sample=octavo_writer.zstd)
edit_case("R18", "tensors/0/stored/1", 0, sample=octavo_writer.zstd)
edit_case("R18", "tensors/0/stored/1", 4 * 33 + 1, sample=octavo_writer.zstd)
edit_case("R18", "tensors/0/bytes", 1, sample=octavo_writer.zstd)
edit_case("R18", "tensors/0/codec", "gzip", sample=octavo_writer.zstd)


@case("R18")
def stored_larger_than_raw():
    draft = octavo_writer.zstd()
    entry = draft.manifest["tensors"][0]
    entry["bytes"] += 4 * 33 + 1 - entry["stored"][1]
    entry["stored"][1] = 4 * 33 + 1
    return draft.build()


edit_case("R19", "tensors/0/chunk_rows", 0)
edit_case("R19", "tensors/0/matrix_rows", 0)
edit_case("R19", "tensors/0/matrix_rows", 2)
edit_case("R19", "tensors/0/chunk_rows", 2)
edit_case("R19", "tensors/0/xxh3", [])
edit_case("R19", "tensors/0/xxh3/0", "0" * 15)
edit_case("R19", "tensors/0/xxh3/0", "0" * 15 + "A")
edit_case("R19", "assets/0/xxh3", [])


def big_draft(rows, columns, chunk_rows, codec=None, stored=None):
    """The entry of a big tensor, without its payload: the manifest is checked first."""
    draft = Draft()
    entry = draft.tensor("t", numpy.zeros((0, 1), numpy.uint8), chunk_rows=chunk_rows)
    chunks = -(-rows // chunk_rows)
    entry.update(shape=[rows, columns],
                 bytes=rows * columns if stored is None else stored * chunks,
                 xxh3=["0" * 16] * chunks)
    if codec:
        entry.update(codec=codec, stored=[stored] * chunks)
    return draft


@case("R20")
def chunk_of_many_rows():
    return big_draft(2, 33 << 20, 2).build()


@case("R20")
def compressed_chunk_of_one_row():
    return big_draft(1, 65 << 20, 1, "zstd", 100).build()


for offset in (0, 64, 129, 192, 4096, 1 << 62):
    edit_case("R21", "tensors/0/offset", offset)
edit_case("R21", "tensors/1/offset", 128)
edit_case("R21", "assets/0/offset", 128)


@case("R21")
def first_payload_not_at_4096():
    draft = Draft()
    draft.tensor("t", numpy.zeros((1, 65536), numpy.uint8))["offset"] = 128
    return draft.build()


@case("R21")
def hole_before_the_manifest():
    draft = octavo_writer.small()
    return draft.build(body=draft.body() + bytes(64))


@case("R22")
def padding_between_payloads():
    draft = octavo_writer.small()
    body = bytearray(draft.body())
    body[12] = 1
    return draft.build(body=bytes(body))


@case("R22")
def padding_before_the_manifest():
    draft = octavo_writer.small()
    return draft.build(body=draft.body()[:-1] + b"\x80")


@case("R22")
def padding_before_the_first_payload():
    draft = Draft()
    draft.tensor("t", numpy.zeros((1, 65536), numpy.uint8))
    body = bytearray(draft.body())
    body[2000] = 1
    return draft.build(body=bytes(body))


@case("R23")
def payload_changed():
    draft = octavo_writer.small()
    return draft.build(body=b"?" + draft.body()[1:])


def frame_draft(stored, raw_bytes=1000):
    draft = Draft()
    draft.asset("a", b"x" * 10)
    draft.payloads["assets"][0] = stored
    draft.manifest["assets"][0].update(size=raw_bytes,
                                       bytes=len(stored),
                                       codec="zstd",
                                       stored=[len(stored)],
                                       xxh3=[xxhash.xxh3_64_hexdigest(stored)])
    draft.place()
    return draft.build()


def compressed(data=b"z" * 1000, **options):
    return zstandard.ZstdCompressor(**options).compress(data)


def streamed(data, window=0x50):
    """A frame without its size. window: exponent - 10 in the upper 5 bits, eighths below."""
    parameters = zstandard.ZstdCompressionParameters(write_content_size=False)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compress(data)
    assert frame[4] == 0, "no content size, no checksum, not a single segment, no dictionary"
    return frame[:5] + bytes([window]) + frame[6:]


FRAMES = {
    "not a frame": b"hello",
    "empty": b"\x28\xb5\x2f\xfd",
    "skippable frame first": b"\x50\x2a\x4d\x18\x00\x00\x00\x00" + compressed(),
    "skippable frame after": compressed() + b"\x50\x2a\x4d\x18\x00\x00\x00\x00",
    "a byte after": compressed() + b"\0",
    "two frames": compressed(b"z" * 500) + compressed(b"z" * 500),
    "shorter": compressed(b"z" * 999),
    "longer": compressed(b"z" * 1001),
    "shorter, not saying so": streamed(b"z" * 999),
    "longer, not saying so": streamed(b"z" * 1001),
    "cut off": compressed()[:-1],
    "cut off after its header": streamed(b"z" * 1000)[:6],
    "wrong checksum": compressed(write_checksum=True)[:-1] + b"?",
    "window of 128 MiB": streamed(b"z" * 1000, window=17 << 3),
    "window of 72 MiB": streamed(b"z" * 1000, window=16 << 3 | 1),
    "dictionary": b"\x28\xb5\x2f\xfd\x01\x50\x07" + streamed(b"z" * 1000)[6:],
}
for name, stored in FRAMES.items():

    @case("R24")
    def bad_frame(stored=stored):
        return frame_draft(stored)

    bad_frame.__name__ = "frame: " + name

for name in ("a/b", "..", ".", "a\\b", "/etc/passwd"):
    edit_case("R25", "assets/0/name", name)
edit_case("R25", "assets/0/size", (1 << 30) + 1)

for value in (-1, float("nan"), float("inf"), 2.0**-126):
    values_case("R26", "fc.weight_absmax", put(0, value))
values_case("R26", "fc.weight_absmax", put(0, 0))
values_case("R26", "fc.weight_step", put(0, 2.0**-127), sample=octavo_writer.zeropoint)


@case("R27")
def code_of_minus_128():
    draft = octavo_writer.small()
    draft.replace("fc.weight",
                  numpy.full((3, 4), -128, numpy.int8) * numpy.array([[1], [0], [0]], numpy.int8))
    draft.replace("fc.weight_code_sum", numpy.array([-512, 0, 0], numpy.int32))
    return draft.build()


values_case("R27", "fc.weight", put((1, -1, -1, -1), 1), sample=octavo_writer.packed)
values_case("R28", "fc.weight_code_sum", put(0, 1 << 30))
values_case("R28",
            "moe.experts.weight_code_sum",
            put((2, 4), 1 << 30),
            sample=octavo_writer.experts)
values_case("R29", "f16.weight_kept_index", put(0, 6), sample=octavo_writer.kept)
values_case("R29", "f16.weight_kept_index", put(0, -1), sample=octavo_writer.kept)
values_case("R29", "f16.weight_kept_index", put(1, 7), sample=octavo_writer.kept)
values_case("R29", "fc.weight_zero_point", put(0, 128), sample=octavo_writer.zeropoint)
values_case("R29", "fc.weight_zero_point", put(0, -129), sample=octavo_writer.zeropoint)

SCHEME = "modules/0/scheme"
for path, value in (("/scheme", REMOVE), ("/in_features", REMOVE), ("/out_features", REMOVE),
                    ("/scheme/name", "int4"), ("/scheme/codes/layout", "tiles"),
                    ("/scheme/codes/bits", 4), ("/scheme/codes/signed",
                                                False), ("/scheme/codes/tensor", "none"),
                    ("/scheme/codes/tensor",
                     "fc.weight_code_sum"), ("/scheme/scales/convention",
                                             "max"), ("/scheme/scales/axis",
                                                      1), ("/scheme/scales/group_size",
                                                           64), ("/scheme/scales/dtype", "F16"),
                    ("/scheme/scales/tensor", "none"), ("/scheme/scales/tensor",
                                                        "fc.weight_code_sum"), ("/scheme/code_sum",
                                                                                "fc.weight_absmax"),
                    ("/in_features", 5), ("/out_features", 4), ("/weight", "none"),
                    ("/bias", "none"), ("/tensors", ["none"]), ("/bias", "fc.weight")):
    edit_case("R30", "modules/0" + path, value)
edit_case("R30", "modules/0/scheme/codes/layout", "tiles", sample=octavo_writer.packed)
edit_case("R30", "modules/0/experts", 2, sample=octavo_writer.experts)
edit_case("R30", "modules/0/kept/index", "none", sample=octavo_writer.kept)
edit_case("R30", "modules/0/kept/index", "f16.weight_absmax", sample=octavo_writer.kept)
edit_case("R30", "modules/0/kept/weight", "f16.weight", sample=octavo_writer.kept)
edit_case("R32", "modules/3/tied_to", "none", sample=octavo_writer.plain)
edit_case("R32", "modules/3/tied_to", "lm_head", sample=octavo_writer.plain)
edit_case("R33", "modules/0/kind", "head", sample=octavo_writer.kept)


@case("R33")
def kept_columns_of_a_norm():
    draft = octavo_writer.plain()
    draft.module("ln_f")["kept"] = {"index": "h.0.fc.weight_code_sum", "weight": "wte.weight"}
    return draft.build()


@case("R33")
def kept_columns_with_steps():
    draft = Draft()
    octavo_writer.add_linear(draft, "fc", convention="step", kept="F16")
    return draft.build()


@case("R30")
def kept_index_of_two_dimensions():
    draft = octavo_writer.kept()
    draft.entry("tensors", "f16.weight_kept_index")["shape"] = [1, 2]
    return draft.build()


@case("R33")
def no_kept_columns():
    draft = octavo_writer.kept()
    draft.tensor("none_index", numpy.zeros(0, numpy.int32))
    draft.tensor("none", numpy.zeros((0, 5), numpy.float16))
    draft.module("f16")["kept"] = {"index": "none_index", "weight": "none"}
    return draft.build()


@case("R33")
def more_kept_columns_than_columns():
    draft = octavo_writer.kept()
    draft.tensor("many_index", numpy.arange(8, dtype=numpy.int32))
    draft.tensor("many", numpy.zeros((8, 5), numpy.float16))
    draft.module("f16")["kept"] = {"index": "many_index", "weight": "many"}
    return draft.build()


edit_case("R34", SCHEME + "/zero_point", REMOVE, sample=octavo_writer.zeropoint)
edit_case("R34", SCHEME + "/zero_point", "fc.weight_code_sum")


@case("R34")
def zeropoint_with_absmax():
    draft = Draft(method="zeropoint-vector")
    octavo_writer.add_linear(draft, "fc", zero_point=True)
    return draft.build()


@case("R34")
def row_wise_with_steps():
    draft = Draft(method="row-wise")
    octavo_writer.add_linear(draft, "fc", convention="step")
    return draft.build()


# Section 10: limits without a rule.
edit_case("section 10", "converter", "a" * 65537)
edit_case("section 10", "modules/0/in_features", (1 << 24) + 1)


class Rules(FileTest):

    def refused(self, rule, data, name="file.8vo"):
        with self.assertRaises(FormatError) as caught:
            self.check(data, name)
        self.assertEqual(caught.exception.rule, rule, str(caught.exception))
        self.assertTrue(str(caught.exception).startswith(rule + ": "))
        self.assertNotIn("\n", str(caught.exception))

    def test_cases(self):
        for rule, build in CASES:
            with self.subTest(rule=rule, case=build.__name__):
                self.refused(rule, build())

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
        self.refused("R24", frame_draft(bomb, raw_bytes=len(bomb) + 1))

    # ---- R35 to R37: files of a sharded model

    def change_index(self, rule, change, body=b""):
        files = octavo_writer.sharded()
        drafts = octavo_writer.sharded_drafts()
        names = list(files)[:2]
        index = octavo_writer.index_of(drafts, [files[name] for name in names], names)
        for name in names:
            self.write(files[name], name)
        change(index)
        self.refused(rule, index.build(body=body), "sharded.8vo")

    def test_index(self):

        def set_shard(key, value):
            return lambda index: index.manifest["shards"][0].update({key: value})

        def set_tensor(key, value):
            return lambda index: index.manifest["tensors"][0].update({key: value})

        changes = [("R9", lambda index: index.header.update(shard_index=1)),
                   ("R9", lambda index: index.header.update(shard_count=3)),
                   ("R10", lambda index: index.header.update(features=1)),
                   ("R10", lambda index: index.header.update(features=2)),
                   ("R13", lambda index: index.manifest["tensors"][0].pop("shard")),
                   ("R13", set_shard("name", 1)),
                   ("R13", lambda index: index.manifest["shards"][0].pop("bytes")),
                   ("R14", set_tensor("shard", -1)), ("R35", set_shard("name", "../sharded.8vo")),
                   ("R35", set_shard("name", "/etc/passwd")), ("R35", set_shard("name", "")),
                   ("R36", set_shard("name", "none.8vo")), ("R36", set_shard("bytes", 1)),
                   ("R36", set_shard("manifest_xxh3", "0" * 32)),
                   ("R36", lambda index: index.manifest["modules"].pop(0)),
                   ("R36", lambda index: index.manifest["modules"][0].update(reason="another")),
                   ("R36", lambda index: index.manifest["assets"][0].update(xxh3=["0" * 16])),
                   ("R37", set_tensor("shard", 2)), ("R21", set_tensor("offset", 192))]
        for rule, change in changes:
            self.change_index(rule, change)
        self.change_index("R37", lambda index: None, body=bytes(64))

    def test_shards(self):

        def build(change):
            drafts = octavo_writer.sharded_drafts()
            for draft in drafts:
                change(draft)
            built = [draft.build() for draft in drafts]
            names = octavo_writer.shard_names("sharded", built)
            for name, data in zip(names, built):
                self.write(data, name)
            return octavo_writer.index_of(drafts, built, names).build(body=b"")

        self.check(build(lambda draft: None), "sharded.8vo")
        self.refused("R36", build(lambda draft: draft.header.update(shard_index=0)), "sharded.8vo")
        self.refused("R36", build(lambda draft: draft.header.update(shard_count=3)), "sharded.8vo")

    def test_features_of_index_and_shards(self):

        def change(index):
            index.manifest["quantization"]["method"] = "row-wise"
            index.header["features"] |= 16

        self.change_index("R10", change)

    def test_an_index_is_no_shard(self):
        files = octavo_writer.sharded()
        for name, data in files.items():
            self.write(data, name)
        inner = files["sharded.8vo"]
        outer = Draft()
        outer.header.update(features=2)
        outer.manifest["shards"] = [{
            "name": "sharded.8vo",
            "bytes": len(inner),
            "manifest_xxh3": inner[64:80].hex()
        }]
        self.refused("R36", outer.build(body=b""), "outer.8vo")

    def test_limit_of_entries(self):
        data = octavo_writer.small().build()
        with unittest.mock.patch.object(octavo_reader, "MAX_ENTRIES", 2):
            self.refused("section 10", data)

    def test_a_shard_with_a_broken_manifest(self):
        drafts = octavo_writer.sharded_drafts()
        built = [drafts[0].build(), drafts[1].build(text=b"{]}")]
        names = octavo_writer.shard_names("sharded", built)
        for name, data in zip(names, built):
            self.write(data, name)
        index = octavo_writer.index_of(drafts, built, names).build(body=b"")
        self.refused("R11", index, "sharded.8vo")

    def test_every_rule_has_a_case(self):
        with open(__file__, encoding="utf-8") as stream:
            source = stream.read()
        for rule in LISTED_RULES:
            if rule not in CANNOT_BE_BROKEN:
                self.assertIn(f'"{rule}"', source, rule)
        with open(octavo_reader.__file__, encoding="utf-8") as stream:
            source = stream.read()
        for rule in LISTED_RULES:
            self.assertRegex(source, rf"# {rule}: ", f"the reader has no comment for {rule}")


if __name__ == "__main__":
    unittest.main()
