#!/usr/bin/env python3
"""A second reader of .8vo files, written from docs/format.md alone and in its order.

It shares no code with the C++ reader, so that the two check each other and the page checks both.
It is strict: whatever the page forbids is refused, with the number of the rule in the message. It
prefers being read to being fast.

    file = open_8vo("model.8vo")          raises FormatError("R17: tensor 'x': ...")
    file.tensor("h.0.ln_1.weight")        numpy array
    file.verify()                         list of findings, empty if the file is sound

Needs numpy, xxhash and zstandard. Command line: octavo_reader.py FILE [--verify] [--dump]; exit
code 3 if the file is not valid.
"""

import argparse
import collections
import json
import math
import mmap
import os
import re
import struct
import sys

try:
    import numpy
    import xxhash
    import zstandard
except ImportError as missing:
    sys.exit(f"octavo_reader.py needs numpy, xxhash and zstandard (Debian: python3-numpy "
             f"python3-xxhash python3-zstandard): {missing}")

# ---- 1. Conventions ------------------------------------------------------------------------------

MIB = 1 << 20
GIB = 1 << 30


class FormatError(Exception):
    """The file breaks a rule; .rule is its number ("R17"), or "section 10" for a limit."""

    def __init__(self, rule, message):
        super().__init__(f"{rule}: {message}")
        self.rule = rule


def require(condition, rule, message):
    if not condition:
        raise FormatError(rule, message)


def round_up(value, multiple):
    return -(-value // multiple) * multiple


def ceil_div(a, b):
    return -(-a // b)


# ---- 3. Header -----------------------------------------------------------------------------------

MAGIC = b"\x898VO\r\n\x1a\n"
HEADER_BYTES = 128
MAX_MANIFEST_BYTES = GIB
HEADER = struct.Struct("<8sHHIQQQQQII16s32s16s")
Header = collections.namedtuple(
    "Header", "magic version_major version_minor header_bytes required_features optional_features "
    "file_bytes manifest_offset manifest_bytes shard_index shard_count manifest_xxh3 reserved "
    "commit")


def read_header(data, file_size):
    """data: at least the first 128 bytes, if the file has them."""
    # R1: at least 128 bytes, and the magic.
    require(file_size >= HEADER_BYTES, "R1", f"the file has {file_size} bytes, a header 128")
    require(data[:8] == MAGIC, "R1", "the file does not start with the magic of .8vo")
    header = Header(*HEADER.unpack(data[:HEADER_BYTES]))
    # R2: a known major version; any minor one.
    require(header.version_major == 1, "R2", f"version {header.version_major} is not known")
    # R3: the commit digest; zero while the file is being written.
    require(header.commit != bytes(16), "R3",
            "the commit digest is zero: the file was never finished")
    require(
        xxhash.xxh3_128_digest(data[:112]) == header.commit, "R3",
        "the header does not have its commit digest")
    # R4: no unknown required feature.
    for bit in range(64):
        if header.required_features >> bit & 1:
            require(bit < len(FEATURES), "R4", f"required feature bit {bit} is not known")
    # R5: constant fields.
    require(header.header_bytes == HEADER_BYTES, "R5",
            f"header_bytes is {header.header_bytes}, not 128")
    require(header.reserved == bytes(32), "R5", "the reserved bytes are not zero")
    # R6: the file's size.
    require(header.file_bytes >= file_size, "R6",
            f"{file_size - header.file_bytes} bytes were appended to the file")
    require(header.file_bytes <= file_size, "R6",
            f"truncated: {file_size} bytes of {header.file_bytes}")
    # R7: the manifest's place.
    start, size = header.manifest_offset, header.manifest_bytes
    require(start % 64 == 0 and start >= HEADER_BYTES, "R7",
            f"manifest_offset {start} is not a multiple of 64 from 128 on")
    require(2 <= size <= MAX_MANIFEST_BYTES, "R7",
            f"manifest_bytes {size} is not between 2 and 1 GiB")
    require(start + size == header.file_bytes, "R7",
            f"manifest ends at {start + size}, the file at {header.file_bytes}")
    return header


def check_manifest_digest(header, text):
    # R8: the manifest's digest.
    require(
        xxhash.xxh3_128_digest(text) == header.manifest_xxh3, "R8",
        "the manifest does not have its digest")


def check_shard_numbers(header):
    # R9: the position among the shards; an index stands at 0.
    index, count = header.shard_index, header.shard_count
    require(index < count, "R9", f"shard_index {index} is not below shard_count {count}")
    if header.required_features & FEATURE["index"]:
        require(index == 0, "R9", f"an index has shard_index {index}")


# ---- 4. Features ---------------------------------------------------------------------------------

FEATURES = ["zstd", "index", "full-range", "packed", "comparison-method", "kept-columns"]
FEATURE = {name: 1 << bit for bit, name in enumerate(FEATURES)}


def features_of(manifest):
    """The required bits that a manifest stands for."""
    schemes = [m["scheme"] for m in manifest["modules"] if m["quantized"]]
    meaning = {
        "zstd": any("codec" in entry for entry in manifest["tensors"] + manifest["assets"]),
        "index": "shards" in manifest,
        "full-range": any(s.get("full_range", False) for s in schemes),
        "packed": any(s["codes"]["layout"] != "plain" for s in schemes),
        "comparison-method": manifest["quantization"]["method"] != "vector-wise",
        "kept-columns": any("kept" in m for m in manifest["modules"]),
    }
    return sum(FEATURE[name] for name, is_set in meaning.items() if is_set)


def check_features(header, manifest):
    # R10: each bit is set exactly when the manifest says the same.
    difference = header.required_features ^ features_of(manifest)
    for name in FEATURES:
        if difference & FEATURE[name]:
            is_set = "is set" if header.required_features & FEATURE[name] else "is not set"
            raise FormatError("R10", f"feature '{name}' {is_set}, against the manifest")


# ---- 5. Manifest ---------------------------------------------------------------------------------

MAX_DEPTH = 16
MAX_ENTRIES = 4194304
MAX_NAME_BYTES = 1024
MAX_STRING_BYTES = 65536
MAX_FEATURES = 1 << 23
STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def nesting(text):
    """How deep brackets stand in one another; the outermost counts 1."""
    depth = deepest = 0
    for match in STRING_OR_BRACKET.finditer(text):
        if match[0] in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif match[0] in b"]}":
            depth -= 1
    return deepest


def parse_object(pairs):
    result = dict(pairs)
    # R12: no key twice. The keys are compared after their escapes are resolved.
    if len(result) != len(pairs):
        key = next(key for key, n in collections.Counter(key for key, _ in pairs).items() if n > 1)
        raise FormatError("R12", f"key '{printable(key)}' stands twice in one object")
    return result


def parse_integer(digits):
    # "-0" and numbers of no sane length become floats, which R14 refuses where it wants an integer.
    return parse_float(digits) if digits == "-0" or len(digits) > 20 else int(digits)


def parse_float(digits):
    value = float(digits)
    require(math.isfinite(value), "R11", f"number {digits[:24]} is beyond float64")
    return value


def parse_constant(word):
    raise FormatError("R11", f"{word} is not JSON")


def check_unicode(value):
    """R11: an escape for half a surrogate pair stands for no character, so it has no UTF-8."""
    if isinstance(value, str):
        require(not re.search("[\ud800-\udfff]", value), "R11",
                "a string has half a surrogate pair")
    elif isinstance(value, (dict, list)):
        for item in value:
            check_unicode(item)
        for item in value.values() if isinstance(value, dict) else ():
            check_unicode(item)


def parse_manifest(text):
    # R11: it parses, is one object and nothing else, and is not too deep. (That is checked first:
    # the parser recurses.)
    require(text[:1] == b"{" and text[-1:] == b"}", "R11",
            "the manifest is not one object, with nothing before or after")
    require(nesting(text) <= MAX_DEPTH, "R11", f"the manifest is nested deeper than {MAX_DEPTH}")
    try:
        manifest = json.loads(text.decode("utf-8"),
                              object_pairs_hook=parse_object,
                              parse_int=parse_integer,
                              parse_float=parse_float,
                              parse_constant=parse_constant)
    except ValueError as error:  # of the JSON parser or of the UTF-8 decoder
        raise FormatError("R11", f"the manifest does not parse: {error}") from None
    check_unicode(manifest)
    return manifest


def printable(text, limit=200):
    """For messages: one line, without control characters."""
    text = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:limit + 1])
    return text if len(text) <= limit else text[:limit] + "…"


JSON_TYPES = {
    "string": str,
    "object": dict,
    "array": list,
    "bool": bool,
    "number": (int, float),
    "size": (int, float)
}


def check_value(value, kind, where):
    """One value has the type that the page names: string, object, array, bool, number or size."""
    # R13: the JSON type. (In Python a bool is an int, in JSON it is no number.)
    fits = isinstance(value, JSON_TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))
    require(fits, "R13", f"{where} is not of type {'integer' if kind == 'size' else kind}")
    # R14: sizes.
    if kind == "size":
        require(
            isinstance(value, int) and 0 <= value < 1 << 63, "R14",
            f"{where} is not an integer from 0 to 2^63 - 1")
    # Section 10: strings.
    if kind == "string":
        require(
            len(value.encode()) <= MAX_STRING_BYTES, "section 10",
            f"{where} is longer than {MAX_STRING_BYTES} bytes")
    return value


def field(owner, key, kind, where, optional=False):
    """owner[key], checked by R13 and R14; None if it is optional and absent."""
    if key not in owner:
        # R13: required keys are present.
        require(optional, "R13", f"{where} has no '{key}'")
        return None
    return check_value(owner[key], kind, f"'{key}' of {where}")


def array_of(owner, key, kind, where, optional=False):
    items = field(owner, key, "array", where, optional)
    if items is not None:
        require(
            len(items) <= MAX_ENTRIES or key in ("xxh3", "stored"), "section 10",
            f"'{key}' of {where} has more than {MAX_ENTRIES} entries")
        for i, item in enumerate(items):
            check_value(item, kind, f"entry {i} of '{key}' of {where}")
    return items


def is_name(name):
    return 1 <= len(name.encode()) <= MAX_NAME_BYTES and not re.search("[\x00-\x1f\x7f]", name)


def check_names(entries, what):
    seen = set()
    for i, entry in enumerate(entries):
        name = field(entry, "name", "string", f"{what} {i}")
        # R15: length, characters, and no name twice.
        require(is_name(name), "R15",
                f"{what} {i}, '{printable(name)}': not 1 to 1024 bytes without control characters")
        require(name not in seen, "R15", f"there are two {what}s '{printable(name)}'")
        seen.add(name)


def check_top_level(manifest, is_index):
    """Types of the top level, of `source`, and the names; the sections below check the rest."""
    where = "the manifest"
    field(manifest, "converter", "string", where)
    source = field(manifest, "source", "object", where)
    for key in ("format", "model_type", "architecture"):
        field(source, key, "string", "source")
    field(source, "known_architecture", "bool", "source")
    for i, file in enumerate(array_of(source, "files", "object", "source")):
        field(file, "name", "string", f"source file {i}")
        field(file, "bytes", "size", f"source file {i}")
        field(file, "xxh3", "string", f"source file {i}")
        field(file, "sha256", "string", f"source file {i}", optional=True)
        # R13: a base name, an XXH3-128, and maybe a SHA-256.
        require(
            is_base_name(file["name"]) and HEX32.fullmatch(file["xxh3"]), "R13",
            f"source file {i} does not have a base name and 32 hex digits")
        require(HEX64.fullmatch(file.get("sha256", "0" * 64)), "R13", f"source file {i} has a sha256 without 64 hex digits")
    field(manifest, "quantization", "object", where)
    for key in ("module", "tensor", "asset"):
        check_names(array_of(manifest, key + "s", "object", where), key)
    array_of(manifest, "shards", "object", where, optional=not is_index)


ENUMERATIONS = {
    "method": ["vector-wise", "tensor-wise", "row-wise", "zeropoint-tensor", "zeropoint-vector"],
    "compat": ["none", "paper", "bitsandbytes"],
    "scope": ["batch", "token"],
    "row_rule": ["inlier_columns", "below_threshold"],
    "activations": ["asymmetric", "symmetric"],
}


def check_quantization(quantization):
    where = "quantization"
    for key, values in ENUMERATIONS.items():
        value = field(quantization, key, "string", where)
        # R16: the values are among those listed.
        require(value in values, "R16", f"{key} '{printable(value)}' is not known")
    for key in ("weights_via_fp16", "activations_via_fp16"):
        field(quantization, key, "bool", where)
    threshold = field(quantization, "threshold", "number", where)
    # R16: the threshold is finite, not negative, and the exact value of a float32.
    with numpy.errstate(over="ignore"):
        is_float32 = float(numpy.float32(threshold)) == threshold
    require(threshold >= 0 and is_float32, "R16",
            f"threshold {threshold} is not a finite float32 from 0 on")
    # R16: methods with one scale for the whole tensor know no scope `token`.
    if quantization["method"] in ("tensor-wise", "zeropoint-tensor"):
        require(quantization["scope"] == "batch", "R16",
                f"method {quantization['method']} does not come with scope token")


# ---- 6. Tensors and assets -----------------------------------------------------------------------

DTYPES = {  # BF16 and the F8 types have no numpy type: their bits
    "BOOL": "?",
    "U8": "<u1",
    "I8": "<i1",
    "I16": "<i2",
    "U16": "<u2",
    "F16": "<f2",
    "BF16": "<u2",
    "I32": "<i4",
    "U32": "<u4",
    "F32": "<f4",
    "I64": "<i8",
    "U64": "<u8",
    "F64": "<f8",
    "F8_E4M3": "<u1",
    "F8_E5M2": "<u1"
}
MAX_RANK = 8
MAX_CHUNK_BYTES = 64 * MIB
MAX_ASSET_BYTES = GIB
MAX_WINDOW_BYTES = 1 << 26
BIG_PAYLOAD = 65536
HEX32 = re.compile("[0-9a-f]{32}")
HEX64 = re.compile("[0-9a-f]{64}")
HEX16 = re.compile("[0-9a-f]{16}")

Chunk = collections.namedtuple("Chunk", "raw_bytes stored_bytes xxh3 offset")


class Entry:
    """One tensor or asset of the manifest, checked. An asset is one row of `size` bytes."""

    def __init__(self, item, is_asset, in_index):
        self.name = item["name"]
        self.label = f"{'asset' if is_asset else 'tensor'} '{printable(self.name)}'"
        self.is_asset = is_asset
        self._read_shape(item)
        self.offset = field(item, "offset", "size", self.label)
        self.bytes = field(item, "bytes", "size", self.label)
        self.codec = field(item, "codec", "string", self.label, optional=True)
        self.stored = array_of(item, "stored", "size", self.label, optional=True)
        self.xxh3 = array_of(item, "xxh3", "string", self.label)
        # R13: `shard` is a key of entries in an index.
        self.shard = field(item, "shard", "size", self.label, optional=not in_index)
        require(in_index or self.shard is None, "R13",
                f"{self.label} has a 'shard', but the file is no index")
        self._check_chunk_rows()
        self._check_stored()
        self._check_chunk_sizes()

    def _read_shape(self, item):
        if self.is_asset:
            self.dtype, self.shape, self.itemsize = None, None, 1
            self.rows, self.row_bytes = 1, field(item, "size", "size", self.label)
            self.chunk_rows, self.matrix_rows = 1, None
            # R25: base names, and at most 1 GiB.
            require(is_base_name(self.name), "R25", f"{self.label} is not named by a base name")
            require(self.row_bytes <= MAX_ASSET_BYTES, "R25", f"{self.label} has more than 1 GiB")
        else:
            self.dtype = field(item, "dtype", "string", self.label)
            self.shape = tuple(array_of(item, "shape", "size", self.label))
            # R17: a known type, few dimensions, a size below 2^63.
            require(self.dtype in DTYPES, "R17",
                    f"{self.label}: dtype '{printable(self.dtype)}' is not known")
            require(
                len(self.shape) <= MAX_RANK, "R17",
                f"{self.label}: {len(self.shape)} dimensions, 8 are allowed")
            self.itemsize = numpy.dtype(DTYPES[self.dtype]).itemsize
            self.rows = math.prod(self.shape[:-1])
            size = math.prod(self.shape) * self.itemsize
            require(
                max(self.rows, size) < 1 << 63, "R17", f"{self.label}: its size overflows 63 bits")
            self.row_bytes = (self.shape[-1] if self.shape else 1) * self.itemsize
            self.chunk_rows = field(item, "chunk_rows", "size", self.label)
            self.matrix_rows = field(item, "matrix_rows", "size", self.label, optional=True)
        self.raw_bytes = self.rows * self.row_bytes

    def _check_chunk_rows(self):
        # R19: chunk_rows and matrix_rows are sound, and each chunk has a digest.
        require(self.chunk_rows >= 1, "R19", f"{self.label}: chunk_rows is 0")
        group = self.rows
        if self.matrix_rows is not None:
            require(
                self.matrix_rows >= 1 and self.rows % self.matrix_rows == 0, "R19",
                f"{self.label}: matrix_rows {self.matrix_rows} does not divide {self.rows} rows")
            group = self.matrix_rows
        self._group_rows = group
        is_empty = self.raw_bytes == 0
        self.num_chunks = 0 if is_empty else self.rows // group * ceil_div(group, self.chunk_rows)
        require(
            len(self.xxh3) == self.num_chunks, "R19",
            f"{self.label}: {len(self.xxh3)} digests for {self.num_chunks} chunks")
        for digest in self.xxh3:
            require(HEX16.fullmatch(digest), "R19",
                    f"{self.label}: digest '{printable(digest)}' is not 16 hex digits")

    def _check_stored(self):
        # R18: the stored sizes.
        if self.codec is None:
            require(self.stored is None, "R18", f"{self.label} has 'stored' without a codec")
            require(self.bytes == self.raw_bytes, "R18",
                    f"{self.label}: bytes is {self.bytes}, not {self.raw_bytes}")
            return
        require(self.codec == "zstd", "R18",
                f"{self.label}: codec '{printable(self.codec)}' is not known")
        require(self.stored is not None and len(self.stored) == self.num_chunks, "R18",
                f"{self.label}: 'stored' does not have {self.num_chunks} entries")
        for i, (stored, raw) in enumerate(zip(self.stored, self._raw_sizes())):
            require(1 <= stored <= raw, "R18",
                    f"{self.label}: chunk {i} of {raw} bytes is stored in {stored}")
        require(self.bytes == sum(self.stored), "R18",
                f"{self.label}: bytes is {self.bytes}, not {sum(self.stored)}")

    def _check_chunk_sizes(self):
        # R20: chunks can be read without much memory.
        rows = min(self.chunk_rows, self._group_rows)
        raw = rows * self.row_bytes
        require(rows <= 1 or raw <= MAX_CHUNK_BYTES, "R20",
                f"{self.label}: chunks of {rows} rows have {raw} bytes")
        if self.codec is not None and raw > MAX_CHUNK_BYTES:  # then it is of one row
            require(all(stored == raw for stored in self.stored), "R20",
                    f"{self.label}: compressed chunks of {raw} bytes")

    def _raw_sizes(self):
        """Raw size of each chunk: full ones, and a shorter last one in each group of rows."""
        for chunk in range(self.num_chunks):
            first_row = chunk % ceil_div(self._group_rows, self.chunk_rows) * self.chunk_rows
            yield min(self.chunk_rows, self._group_rows - first_row) * self.row_bytes

    def chunks(self):
        offset = self.offset
        for i, raw in enumerate(self._raw_sizes()):
            stored = raw if self.stored is None else self.stored[i]
            yield Chunk(raw, stored, self.xxh3[i], offset)
            offset += stored


def is_base_name(name):
    return not re.search(r"[/\\\0]", name) and name not in ("", ".", "..")


def check_places(entries):
    """Returns where the manifest has to start. entries: those of one file, tensors first."""
    end = HEADER_BYTES
    for entry in entries:
        # R21: each payload follows the one before at its alignment, which goes by its raw size.
        place = round_up(end, 4096 if entry.raw_bytes >= BIG_PAYLOAD else 64)
        require(entry.offset == place, "R21",
                f"{entry.label} is at {entry.offset}, its place is {place}")
        end = place + entry.bytes
    return round_up(end, 64)


def zstd_frame_bytes(data, label):
    """Length of the zstd frame at the start of data (RFC 8878, 3.1.1): header, blocks, checksum."""
    at = zstandard.frame_header_size(data)
    is_last = False
    while not is_last:
        require(at + 3 <= len(data), "R24", f"{label}: the zstd frame is cut off")
        block = int.from_bytes(data[at:at + 3], "little")
        is_last, block_type, size = block & 1, block >> 1 & 3, block >> 3
        at += 3 + (1 if block_type == 1 else size)  # a block of type 1 is one byte, repeated
    return at + (4 if zstandard.get_frame_parameters(data).has_checksum else 0)


def decompress(stored, raw_bytes, label):
    try:
        frame = zstandard.get_frame_parameters(stored)
        # R24: one frame without dictionary and a small window gives exactly the chunk, and nothing
        # follows.
        require(frame.dict_id == 0, "R24", f"{label}: the zstd frame needs a dictionary")
        require(frame.window_size <= MAX_WINDOW_BYTES, "R24",
                f"{label}: the zstd frame needs a window above 64 MiB")
        require(
            frame.content_size in (raw_bytes, zstandard.CONTENTSIZE_UNKNOWN), "R24",
            f"{label}: the zstd frame says {frame.content_size} bytes, the chunk has {raw_bytes}")
        require(
            zstd_frame_bytes(stored, label) == len(stored), "R24",
            f"{label}: the zstd frame does not fill its chunk")
        raw = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompress(
            stored, max_output_size=raw_bytes)
    except zstandard.ZstdError as error:
        raise FormatError("R24", f"{label}: not a zstd frame: {error}") from None
    require(
        len(raw) == raw_bytes, "R24",
        f"{label}: the zstd frame gives {len(raw)} bytes, the chunk has {raw_bytes}")
    return raw


def read_chunk(data, chunk, label):
    stored = bytes(data[chunk.offset:chunk.offset + chunk.stored_bytes])
    # R23: the digest, before anything is decompressed.
    require(
        xxhash.xxh3_64_hexdigest(stored) == chunk.xxh3, "R23", f"{label} does not have its digest")
    return stored if chunk.stored_bytes == chunk.raw_bytes else decompress(
        stored, chunk.raw_bytes, label)


def read_payload(data, entry):
    """The raw bytes, chunk by chunk."""
    for i, chunk in enumerate(entry.chunks()):
        yield read_chunk(data, chunk, f"{entry.label}: chunk {i}")


def padding_findings(data, entries, manifest_offset):
    # R22: whatever is no payload is zero.
    end = HEADER_BYTES
    for start, after, label in [(e.offset, e.offset + e.bytes, e.label) for e in entries
                               ] + [(manifest_offset, None, "the manifest")]:
        if any(data[end:start]):
            yield FormatError("R22", f"padding before {label}, from {end} to {start}, is not zero")
        end = after


# ---- 7. Values -----------------------------------------------------------------------------------

SMALLEST_SCALE = {"absmax": numpy.float32(127 * 2.0**-126), "step": numpy.float32(2.0**-126)}


def value_findings(file, module):
    """Rules about the payloads of one quantized module."""
    scheme, label = module["scheme"], f"module '{printable(module['name'])}'"
    convention = scheme["scales"]["convention"]
    codes, scales = file.codes(module["name"]), file.scales(module["name"])
    # R26: scales.
    is_good = numpy.isfinite(scales) & ((scales == 0) | (scales >= SMALLEST_SCALE[convention]))
    if not is_good.all():
        yield FormatError(
            "R26",
            f"{label}: scale {scales[~is_good][0]} is not 0 or a finite one from the smallest on")
    if convention == "absmax" and codes[scales == 0].any():
        yield FormatError("R26", f"{label}: a row of scale 0 has codes that are not")
    # R27: codes.
    if not scheme.get("full_range", False) and (codes == -128).any():
        yield FormatError("R27", f"{label}: a code is -128, without full_range")
    # R28: the sums of the codes.
    if not numpy.array_equal(file.tensor(scheme["code_sum"]), codes.sum(axis=-1,
                                                                        dtype=numpy.int64)):
        yield FormatError("R28", f"{label}: code_sum is not the sum of each row's codes")
    # R29: kept columns and zero points.
    if "kept" in module:
        index = file.tensor(module["kept"]["index"]).astype(numpy.int64)
        if (numpy.diff(index) <= 0).any() or index[0] < 0 or index[-1] >= module["in_features"]:
            yield FormatError("R29", f"{label}: kept_index is not ascending and below in_features")
    if "zero_point" in scheme:
        zero_point = file.tensor(scheme["zero_point"])
        if (zero_point < -128).any() or (zero_point > 127).any():
            yield FormatError("R29", f"{label}: a zero point is not in [-128, 127]")
    # Section 8: a packed layout is padded with zero codes.
    if scheme["codes"]["layout"] != "plain" and file.padding_codes(module["name"]).any():
        yield FormatError("R27", f"{label}: a padding code is not zero")


# ---- 8. Modules ----------------------------------------------------------------------------------

KINDS = [
    "linear", "experts", "embedding", "norm", "head", "convolution", "router", "position", "buffer",
    "other"
]
LAYOUTS = ["plain", "vnni16x4-1"]


def known_kind(kind):
    # R31: a reader takes an unknown kind for `other`.
    return kind if kind in KINDS else "other"


def check_scheme_types(scheme, label):
    label = f"the scheme of {label}"
    field(scheme, "name", "string", label)
    codes = field(scheme, "codes", "object", label)
    for key, kind in (("tensor", "string"), ("bits", "size"), ("signed", "bool"), ("layout",
                                                                                   "string")):
        field(codes, key, kind, f"codes in {label}")
    field(scheme, "full_range", "bool", label, optional=True)
    scales = field(scheme, "scales", "object", label)
    for key, kind in (("tensor", "string"), ("axis", "size"), ("group_size", "size"),
                      ("convention", "string"), ("dtype", "string")):
        field(scales, key, kind, f"scales in {label}")
    field(scales, "source_dtype", "string", f"scales in {label}", optional=True)
    field(scheme, "code_sum", "string", label)
    field(scheme, "zero_point", "string", label, optional=True)


def check_module_types(module, label):
    """R13 and R14 for one module; the page says which keys may be absent."""
    kind = known_kind(field(module, "kind", "string", label))
    is_quantized = field(module, "quantized", "bool", label)
    field(module, "reason", "string", label)
    for key in ("in_features", "out_features"):
        value = field(module, key, "size", label, optional=True)
        require(value is None or value <= MAX_FEATURES, "section 10",
                f"'{key}' of {label} is above 2^23")
    field(module, "experts", "size", label, optional=kind != "experts")
    require(kind == "experts" or "experts" not in module, "R13",
            f"{label} has 'experts', but is none")
    for key in ("source_tensor", "source_dtype", "weight", "bias", "tied_to"):
        field(module, key, "string", label, optional=True)
    field(module, "transposed", "bool", label, optional=True)
    array_of(module, "tensors", "string", label, optional=True)
    if field(module, "scheme", "object", label, optional=True) is not None:
        check_scheme_types(module["scheme"], label)
    kept = field(module, "kept", "object", label, optional=True)
    if kept is not None:
        field(kept, "index", "string", f"kept in {label}")
        field(kept, "weight", "string", f"kept in {label}")
    error = field(module, "error", "object", label, optional=not is_quantized)
    if error is not None:
        for key in ("max_abs_error", "saturated_share", "absmax_min", "absmax_max"):
            field(error, key, "number", f"error in {label}")
        # snr_db is null for an exact module.
        if "snr_db" not in error or error["snr_db"] is not None:
            field(error, "snr_db", "number", f"error in {label}")


def check_scheme(module, label):
    # R30: a quantized module has a scheme that the reader knows, and its sizes.
    require("scheme" in module, "R30", f"{label} is quantized, but has no scheme")
    require("in_features" in module and "out_features" in module, "R30",
            f"{label} is quantized, but has no sizes")
    scheme = module["scheme"]
    codes, scales = scheme["codes"], scheme["scales"]
    require(scheme["name"] == "int8-rows", "R30",
            f"{label}: scheme '{printable(scheme['name'])}' is not known")
    require(codes["layout"] in LAYOUTS, "R30",
            f"{label}: layout '{printable(codes['layout'])}' is not known")
    require(scales["convention"] in SMALLEST_SCALE, "R30",
            f"{label}: convention '{printable(scales['convention'])}' is not known")
    is_int8_rows = (codes["bits"], codes["signed"], scales["axis"], scales["group_size"],
                    scales["dtype"]) == (8, True, 0, 0, "F32")
    require(is_int8_rows, "R30",
            f"{label}: bits, signed, axis, group_size and dtype are not those of int8-rows")


def check_scheme_tensors(module, check_tensor):
    scheme = module["scheme"]
    rows, columns = module["out_features"], module["in_features"]
    is_experts = known_kind(module["kind"]) == "experts"
    matrices = (module["experts"],) if is_experts else ()
    if scheme["codes"]["layout"] == "plain":
        check_tensor(scheme["codes"]["tensor"], ["I8"], matrices + (rows, columns))
    else:
        check_tensor(scheme["codes"]["tensor"], ["I8"],
                     (ceil_div(rows, 16), ceil_div(columns, 64) * 16, 16, 4))
    check_tensor(scheme["scales"]["tensor"], ["F32"], matrices + (rows,))
    check_tensor(scheme["code_sum"], ["I32"], matrices + (rows,))
    if "zero_point" in scheme:
        check_tensor(scheme["zero_point"], ["I32"], matrices + (rows,))


def check_kept(module, label, tensors, check_tensor):
    # R33: where kept columns may come.
    require(module["quantized"] and known_kind(module["kind"]) == "linear", "R33",
            f"{label} has kept columns, but is no quantized linear")
    require(module["scheme"]["scales"]["convention"] == "absmax", "R33",
            f"{label}: kept columns need convention absmax")
    index = module["kept"]["index"]
    check_tensor(index, ["I32"], None)
    shape = tensors[index].shape
    require(
        len(shape) == 1, "R30", f"{label}: tensor '{printable(index)}' does not have one dimension")
    require(1 <= shape[0] <= module["in_features"], "R33", f"{label}: {shape[0]} kept columns")
    check_tensor(module["kept"]["weight"], ["F16", "BF16"], (shape[0], module["out_features"]))


def check_methods(module, label, method):
    # R34: methods and schemes agree.
    scheme = module["scheme"]
    convention = scheme["scales"]["convention"]
    is_zeropoint = method.startswith("zeropoint-")
    require(
        ("zero_point" in scheme) == is_zeropoint, "R34",
        f"{label}: zero_point is {'absent' if is_zeropoint else 'present'} under method {method}")
    require(not is_zeropoint or convention == "step", "R34",
            f"{label}: method {method} needs convention step")
    require(method not in ("tensor-wise", "row-wise") or convention == "absmax", "R34",
            f"{label}: method {method} needs convention absmax")


def check_module(module, tensors, modules, method):
    """tensors: name -> Entry; modules: name -> object."""
    label = f"module '{printable(module['name'])}'"

    def check_tensor(name, dtypes=None, shape=None):
        # R30: the tensor is there, with the dtype and shape of the table.
        require(name in tensors, "R30",
                f"{label} names tensor '{printable(name)}', which is not there")
        tensor = tensors[name]
        require(dtypes is None or tensor.dtype in dtypes, "R30",
                f"{label}: tensor '{printable(name)}' is {tensor.dtype}, not one of {dtypes}")
        require(shape is None or tensor.shape == shape, "R30",
                f"{label}: tensor '{printable(name)}' has shape {tensor.shape}, not {shape}")

    # R30: no other module has a scheme.
    require(module["quantized"] or "scheme" not in module, "R30",
            f"{label} has a scheme, but is not quantized")
    if module["quantized"]:
        check_scheme(module, label)
        check_scheme_tensors(module, check_tensor)
    for name in [module[key] for key in ("weight", "bias") if key in module] + module.get(
            "tensors", []):
        check_tensor(name)
    if "bias" in module and "out_features" in module:
        matrices = (module["experts"],) if known_kind(module["kind"]) == "experts" else ()
        check_tensor(module["bias"], None, matrices + (module["out_features"],))
    # R32: a tie leads to a module with a weight of its own.
    if "tied_to" in module:
        target = modules.get(module["tied_to"])
        require(target is not None, "R32",
                f"{label} is tied to '{printable(module['tied_to'])}', which is not there")
        require("tied_to" not in target, "R32",
                f"{label} is tied to '{printable(target['name'])}', which is tied itself")
    if "kept" in module:
        check_kept(module, label, tensors, check_tensor)
    if module["quantized"]:
        check_methods(module, label, method)


def unpack_vnni(packed):
    """[N/16, K/4, 16, 4] -> [N, K]: code (n, k) stands at [n / 16][k / 4][n % 16][k % 4]."""
    blocks, groups = packed.shape[:2]
    return packed.transpose(0, 2, 1, 3).reshape(blocks * 16, groups * 4)


def to_float32(array, dtype):
    if dtype == "BF16":  # the upper half of a float32
        return (array.astype(numpy.uint32) << 16).view(numpy.float32)
    return array.astype(numpy.float32)


# ---- 9. Shards and the index ---------------------------------------------------------------------


def open_shards(index):
    """The shards of an index, opened and compared with it."""
    count = index.header.shard_count
    items = index.manifest["shards"]
    # R37: an index has no payload.
    require(index.header.manifest_offset == HEADER_BYTES, "R37",
            "an index has payloads: its manifest is not at 128")
    # R9: the header counts the shards.
    require(
        len(items) == count, "R9", f"shard_count is {count}, the index names {len(items)} shards")
    for entry in index.entries.values():
        # R37: in one of the shards. (R21 holds there: each shard is checked, and R36 compares.)
        require(entry.shard < count, "R37", f"{entry.label} is in shard {entry.shard} of {count}")
    # R15: no shard twice.
    names = [item.get("name") for item in items if isinstance(item, dict)]
    require(len(set(map(str, names))) == len(names), "R15", "a shard is named twice")
    return [open_shard(index, number, item) for number, item in enumerate(items)]


def open_shard(index, number, item):
    where = f"shard {number}"
    name = field(item, "name", "string", where)
    size, digest = field(item, "bytes", "size", where), field(item, "manifest_xxh3", "string",
                                                              where)
    # R35: in the folder of the index.
    require(is_base_name(name), "R35", f"{where}: '{printable(name)}' is not a base name")
    # R15: and a name like all others.
    require(is_name(name), "R15",
            f"{where}: '{printable(name)}' is too long or has a control character")
    label = f"shard '{printable(name)}'"
    path = os.path.join(os.path.dirname(index.path), name)
    # R36: the file is the one that the index means.
    require(os.path.isfile(path), "R36", f"{label} is missing")
    require(
        os.path.getsize(path) == size, "R36",
        f"{label} has {os.path.getsize(path)} bytes, the index says {size}")
    shard = File(path)
    header = shard.header
    require(header.manifest_xxh3.hex() == digest, "R36",
            f"{label} has another manifest than the index says")
    require((header.shard_index, header.shard_count) == (number, index.header.shard_count), "R36",
            f"{label} says it is {header.shard_index} of {header.shard_count}")
    require(not shard.is_index, "R36", f"{label} is an index")
    # R36: and so are its quantization, tensors and assets.
    require(shard.manifest["quantization"] == index.manifest["quantization"], "R36",
            f"{label} has another quantization than the index says")
    for key in ("tensors", "assets"):
        said = [{
            k: v for k, v in e.items() if k != "shard"
        } for e in index.manifest[key] if e["shard"] == number]
        require(said == shard.manifest[key], "R36", f"{label} has other {key} than the index says")
    return shard


def check_shards_together(index):
    # R36: the modules of the index are those of its shards.
    said = sorted(index.manifest["modules"], key=lambda m: m["name"])
    have = sorted((m for s in index.shards for m in s.manifest["modules"]), key=lambda m: m["name"])
    require(said == have, "R36", "the modules of the index are not those of its shards")
    # R10: the features of the index are those of its shards.
    together = FEATURE["index"]
    for shard in index.shards:
        together |= shard.header.required_features
    require(together == index.header.required_features, "R10",
            "the features of the index are not those of its shards")


# ---- The file ------------------------------------------------------------------------------------


class File:
    """One .8vo file, checked but for its payloads; tensor(), asset() and verify() check those."""

    def __init__(self, path):
        self.path = os.fspath(path)
        with open(self.path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            self._data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self.header = read_header(self._data, size)
        text = self._data[self.header.manifest_offset:]
        check_manifest_digest(self.header, text)
        check_shard_numbers(self.header)
        self.manifest = parse_manifest(text)
        self._read_manifest()
        self.shards = open_shards(self) if self.is_index else []
        if self.is_index:
            check_shards_together(self)

    @property
    def is_index(self):
        return bool(self.header.required_features & FEATURE["index"])

    def _read_manifest(self):
        manifest, header = self.manifest, self.header
        check_top_level(manifest, self.is_index)
        check_quantization(manifest["quantization"])
        self.tensors = {t["name"]: Entry(t, False, self.is_index) for t in manifest["tensors"]}
        self.assets = {a["name"]: Entry(a, True, self.is_index) for a in manifest["assets"]}
        if not self.is_index:
            start = check_places(self.entries.values())
            # R21: the manifest follows the payloads.
            require(header.manifest_offset == start, "R21",
                    f"the manifest is at {header.manifest_offset}, not {start}")
        for module in manifest["modules"]:
            check_module_types(module, f"module '{printable(module['name'])}'")
        self.modules = [dict(m, kind=known_kind(m["kind"])) for m in manifest["modules"]]
        self._modules = {m["name"]: m for m in self.modules}
        for module in self.modules:
            check_module(module, self.tensors, self._modules, manifest["quantization"]["method"])
        check_features(header, manifest)

    @property
    def entries(self):
        """Tensors, then assets; their names may coincide."""
        pairs = [(("tensor", n), e) for n, e in self.tensors.items()]
        return dict(pairs + [(("asset", n), e) for n, e in self.assets.items()])

    def _payload(self, entry):
        if entry.shard is None:
            return read_payload(self._data, entry)
        return read_payload(self.shards[entry.shard]._data, entry)

    def tensor(self, name):
        entry = self.tensors[name]
        raw = bytearray().join(self._payload(entry))
        return numpy.frombuffer(raw, dtype=DTYPES[entry.dtype]).reshape(entry.shape)

    def asset(self, name):
        return b"".join(self._payload(self.assets[name]))

    def _padded_codes(self, module):
        codes = module["scheme"]["codes"]
        array = self.tensor(codes["tensor"])
        return array if codes["layout"] == "plain" else unpack_vnni(array)

    def codes(self, module_name):
        """int8 [out_features, in_features]; experts: [experts, out_features, in_features]."""
        module = self._modules[module_name]
        return self._padded_codes(module)[..., :module["out_features"], :module["in_features"]]

    def padding_codes(self, module_name):
        """The codes of a packed layout that belong to no weight."""
        module = self._modules[module_name]
        codes = self._padded_codes(module)
        is_padding = numpy.ones(codes.shape, dtype=bool)
        is_padding[..., :module["out_features"], :module["in_features"]] = False
        return codes[is_padding]

    def scales(self, module_name):
        """float32 [out_features]; experts: [experts, out_features]."""
        return self.tensor(self._modules[module_name]["scheme"]["scales"]["tensor"])

    def dequantized(self, module_name):
        """float32, the shape of codes(): in float64, rounded once; kept columns are put back."""
        module = self._modules[module_name]
        scheme = module["scheme"]
        weight = self.codes(module_name).astype(numpy.float64)
        if "zero_point" in scheme:
            weight -= self.tensor(scheme["zero_point"])[..., None]
        weight *= self.scales(module_name).astype(numpy.float64)[..., None]
        if scheme["scales"]["convention"] == "absmax":
            weight /= 127
        weight = weight.astype(numpy.float32)
        if "kept" in module:
            kept = module["kept"]["weight"]
            columns = self.tensor(module["kept"]["index"])
            weight[:, columns] = to_float32(self.tensor(kept), self.tensors[kept].dtype).T
        return weight

    def verify(self):
        """Everything that a digest or a rule covers; the findings as FormatError."""
        if self.is_index:
            return [finding for shard in self.shards for finding in shard.verify()]
        findings = list(
            padding_findings(self._data, self.entries.values(), self.header.manifest_offset))
        broken = set()
        for entry in self.entries.values():
            for i, chunk in enumerate(entry.chunks()):
                try:
                    read_chunk(self._data, chunk, f"{entry.label}: chunk {i}")
                except FormatError as error:
                    findings.append(error)
                    broken.add(entry.name)
        for module in self.modules:
            if module["quantized"] and not broken:  # values behind a wrong digest say nothing more
                findings += value_findings(self, module)
        return findings


def open_8vo(path):
    return File(path)


def dump(file, out):
    """For each tensor, then each asset: name, dtype, shape, XXH3-64 of its bytes; tabs between."""
    for entry in file.entries.values():
        digest = xxhash.xxh3_64()
        for raw in file._payload(entry):
            digest.update(raw)
        dtype, shape = "-", "-"
        if not entry.is_asset:
            dtype, shape = entry.dtype, "[" + ", ".join(map(str, entry.shape)) + "]"
        print(entry.name, dtype, shape, digest.hexdigest(), sep="\t", file=out)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description="Read a .8vo file, independently of the C++ reader.")
    parser.add_argument("file")
    parser.add_argument("--verify",
                        action="store_true",
                        help="check all digests, padding and values")
    parser.add_argument("--dump",
                        action="store_true",
                        help="print each tensor's name, dtype, shape and XXH3-64")
    options = parser.parse_args(arguments)
    try:
        file = open_8vo(options.file)
        if options.verify:
            for finding in file.verify()[:1]:
                raise finding
        if options.dump:
            dump(file, sys.stdout)
    except FormatError as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"{options.file}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
