"""Files that break one rule alone, for both readers: CASES is a list of (rule, function).

The function makes a small change to a sound file of octavo_writer.py, with right digests around it.
It returns the file's bytes; for a sharded model names and bytes, of which the last is the index.
"""

import os

import octavo_reader  # first: it says what is missing, if a module is

import numpy
import xxhash
import zstandard

import octavo_writer
from octavo_writer import Draft

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
for bit in (0, 2, 3, 4, 5):  # bit 1 makes an index, which has other keys: below
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
edit_case("R13", "source/files/0/name", "folder/model.safetensors")
edit_case("R13", "source/files/0/name", "a\0b")
edit_case("R13", "source/files/0/xxh3", "0" * 31)
edit_case("R13", "source/files/0/sha256", "0" * 63)
edit_case("R13", "source/files/0/sha256", "A" * 64)
edit_case("R13", "source/files/0/sha256", 0)
edit_case("R13", "modules/0/experts", 2)
edit_case("R30", "modules/1/quantized", False, sample=octavo_writer.plain)
header_case("R13", features=2)  # an index without `shards`


@case("R10")
def shards_without_an_index():
    draft = octavo_writer.small()
    draft.header["features"] = 0
    draft.manifest["shards"] = []
    return draft.build()


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
edit_case("section 10", "modules/0/in_features", (1 << 23) + 1)

# ---- Files of a sharded model


def write_case(folder, build):
    """Writes what a case builds; returns the path of the file to open."""
    files = build()
    if isinstance(files, bytes):
        files = {"file.8vo": files}
    for name, data in files.items():
        with open(os.path.join(folder, name), "wb") as stream:
            stream.write(data)
    return os.path.join(folder, list(files)[-1])


def sharded_with(change_shard=lambda draft: None, change_index=lambda index: None, **built):
    """A sharded model with changes, in the shards before their digests are taken."""
    drafts = octavo_writer.sharded_drafts()
    for draft in drafts:
        change_shard(draft)
    shards = [drafts[0].build(), drafts[1].build(text=built.get("second_manifest"))]
    names = octavo_writer.shard_names("sharded", shards)
    index = octavo_writer.index_of(drafts, shards, names)
    change_index(index)
    return {**dict(zip(names, shards)), "sharded.8vo": index.build(body=built.get("body", b""))}


def index_case(rule, name, change_index=lambda index: None, **changes):

    def build():
        return sharded_with(change_index=change_index, **changes)

    build.__name__ = "index: " + name
    CASES.append((rule, build))


def index_value_case(rule, path, value):

    def change(index):
        owner, key = find(index.manifest, path)
        if value is REMOVE:
            del owner[key]
        else:
            owner[key] = value

    index_case(rule, f"{path} {'removed' if value is REMOVE else value}", change)


index_case("R9", "shard_index 1", lambda index: index.header.update(shard_index=1))
index_case("R9", "shard_count 3", lambda index: index.header.update(shard_count=3))
index_case("R9", "shard_count 1", lambda index: index.header.update(shard_count=1))
index_case("R13", "not said to be one", lambda index: index.header.update(features=1 | 32))
index_case("R10", "no feature of the shards", lambda index: index.header.update(features=2))
index_case("R10", "one feature too many",
           lambda index: index.header.update(features=2 | 1 | 32 | 4))
index_value_case("R13", "shards/0/name", 1)
for key in ("name", "bytes", "manifest_xxh3"):
    index_value_case("R13", "shards/0/" + key, REMOVE)
index_value_case("R13", "tensors/0/shard", REMOVE)
index_value_case("R13", "assets/0/shard", REMOVE)
index_value_case("R14", "tensors/0/shard", -1)
index_value_case("R36", "tensors/0/offset", 192)
index_value_case("R15", "shards/0/name", "a\nb.8vo")
for name in ("../sharded.8vo", "a\0b.8vo", "/etc/passwd", "", "..", "a\\b.8vo"):
    index_value_case("R35", "shards/0/name", name)
index_value_case("R36", "shards/0/name", "none.8vo")
index_value_case("R36", "shards/0/bytes", 1)
index_value_case("R36", "shards/0/manifest_xxh3", "0" * 32)
index_value_case("R36", "modules/0/reason", "another")
index_value_case("R36", "modules/0", REMOVE)
index_value_case("R36", "tensors/0/xxh3/0", "0" * 16)
index_value_case("R36", "assets/0/xxh3/0", "0" * 16)
index_value_case("R36", "assets/0", REMOVE)
index_value_case("R37", "tensors/0/shard", 2)
index_case("R37", "with a payload", body=bytes(64))
index_case("R36", "shards of one number", change_shard=lambda d: d.header.update(shard_index=0))
index_case("R36", "shards of three", change_shard=lambda d: d.header.update(shard_count=3))
index_case("R11", "a manifest that does not parse", second_manifest=b"{]}")


@case("R36")
def index_with_another_method():

    def change(index):
        index.manifest["quantization"]["method"] = "row-wise"
        index.header["features"] |= 16

    return sharded_with(change_index=change)


@case("R36")
def index_of_an_index():
    files = octavo_writer.sharded()
    inner = files["sharded.8vo"]
    outer = Draft()
    outer.header.update(features=2)
    outer.manifest["shards"] = [{
        "name": "sharded.8vo",
        "bytes": len(inner),
        "manifest_xxh3": inner[64:80].hex()
    }]
    return {**files, "outer.8vo": outer.build(body=b"")}
