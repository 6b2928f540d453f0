"""A small writer of .8vo files, written from docs/format.md alone: what the C++ reader must open.

A Draft is a file in the making: header fields, manifest and payloads. build() turns it into bytes.
Every field can be changed before that, so that tests can break one rule and no other.

`python3 octavo_writer.py FOLDER` writes one file for each function in SAMPLES.
"""

import json
import os
import struct
import sys

import numpy
import xxhash
import zstandard

MAGIC = b"\x898VO\r\n\x1a\n"
HEADER = struct.Struct("<8sHHIQQQQQII16s32s")
ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
    "F8_E4M3": 1,
    "F8_E5M2": 1
}
NUMPY_NAMES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "int64": "I64",
    "uint64": "U64",
    "float64": "F64"
}


def round_up(value, multiple):
    return -(-value // multiple) * multiple


def align(end, raw_bytes):
    return round_up(end, 4096 if raw_bytes >= 65536 else 64)


def to_json(manifest):
    return json.dumps(manifest, separators=(",", ":"), ensure_ascii=False).encode()


def chunk_sizes(rows, row_bytes, chunk_rows, matrix_rows):
    group = matrix_rows or rows
    sizes = [min(chunk_rows, group - first) * row_bytes for first in range(0, group, chunk_rows)
            ] if group else []
    return sizes * (rows // group) if rows * row_bytes else []


def frame(chunk):
    """The chunk as one zstd frame, or raw if that is not smaller."""
    packed = zstandard.ZstdCompressor(level=3).compress(chunk)
    return packed if len(packed) < len(chunk) else chunk


def split(raw, sizes, codec):
    """Returns the stored chunks."""
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    chunks = [raw[start:start + size] for start, size in zip(starts, sizes)]
    return [frame(chunk) for chunk in chunks] if codec else chunks


class Draft:
    """What a file will be. payloads: stored bytes of each tensor and asset; name -> bytes."""

    def __init__(self, method="vector-wise"):
        self.manifest = {
            "converter": "octavo_writer.py 1.0",
            "source": {
                "format":
                    "safetensors",
                "model_type":
                    "gpt2",
                "architecture":
                    "GPT2LMHeadModel",
                "known_architecture":
                    True,
                "files": [{
                    "name": "model.safetensors",
                    "bytes": 1,
                    "xxh3": xxhash.xxh3_128_hexdigest(b"x")
                }]
            },
            "quantization": {
                "method": method,
                "compat": "none",
                "threshold": 6,
                "scope": "batch",
                "row_rule": "inlier_columns",
                "activations": "asymmetric",
                "weights_via_fp16": False,
                "activations_via_fp16": False
            },
            "modules": [],
            "tensors": [],
            "assets": []
        }
        self.header = {
            "magic": MAGIC,
            "version_major": 1,
            "version_minor": 0,
            "header_bytes": 128,
            "features": None,
            "optional_features": 0,
            "file_bytes": None,
            "manifest_offset": None,
            "manifest_bytes": None,
            "shard_index": 0,
            "shard_count": 1,
            "manifest_xxh3": None,
            "reserved": bytes(32),
            "commit": None
        }
        self.payloads = {"tensors": [], "assets": []}
        self.raw_bytes = {"tensors": [], "assets": []}
        self.raw_sizes = {"tensors": [], "assets": []}  # they decide the alignment

    def entry(self, key, name):
        return next(e for e in self.manifest[key] if e["name"] == name)

    def module(self, name):
        return self.entry("modules", name)

    def tensor(self, name, array, dtype=None, chunk_rows=4, matrix_rows=None, codec=None):
        """array: numpy; dtype: only for types that numpy lacks. Returns the entry."""
        dtype = dtype or NUMPY_NAMES[array.dtype.name]
        raw, shape = array.tobytes(), list(array.shape)
        rows = int(numpy.prod(shape[:-1], dtype=int))
        row_bytes = (shape[-1] if shape else 1) * ITEM_BYTES[dtype]
        chunks = split(raw, chunk_sizes(rows, row_bytes, chunk_rows, matrix_rows), codec)
        entry = {
            "name": name,
            "dtype": dtype,
            "shape": shape,
            "offset": 0,
            "bytes": 0,
            "chunk_rows": chunk_rows
        }
        if matrix_rows:
            entry["matrix_rows"] = matrix_rows
        return self._add("tensors", entry, chunks, codec, len(raw))

    def asset(self, name, raw, codec=None):
        return self._add("assets", {
            "name": name,
            "size": len(raw),
            "offset": 0,
            "bytes": 0
        }, split(raw, [len(raw)] if raw else [], codec), codec, len(raw))

    def _add(self, key, entry, chunks, codec, raw_bytes):
        if codec:
            entry["codec"] = codec
            entry["stored"] = [len(chunk) for chunk in chunks]
        entry["xxh3"] = [xxhash.xxh3_64_hexdigest(chunk) for chunk in chunks]
        entry["bytes"] = sum(map(len, chunks))
        self.manifest[key].append(entry)
        self.payloads[key].append(b"".join(chunks))
        self.raw_bytes[key].append(raw_bytes)
        self.raw_sizes[key].append(raw_bytes)
        self.place()
        return entry

    def place(self):
        """Gives each payload its offset."""
        end = 128
        for (entry, payload), raw in zip(self.entries(),
                                         self.raw_sizes["tensors"] + self.raw_sizes["assets"]):
            entry["offset"] = align(end, raw)
            end = entry["offset"] + len(payload)
        return round_up(end, 64)

    def entries(self):
        for key in ("tensors", "assets"):
            yield from zip(self.manifest[key], self.payloads[key])

    def replace(self, name, array):
        """Other values for a tensor without codec, with right digests."""
        i = [t["name"] for t in self.manifest["tensors"]].index(name)
        old = self.manifest["tensors"][i]
        spare = Draft()
        new = spare.tensor(name, array, old["dtype"], old["chunk_rows"], old.get("matrix_rows"))
        old["xxh3"], self.payloads["tensors"][i] = new["xxh3"], spare.payloads["tensors"][0]

    def features(self):
        manifest = self.manifest
        schemes = [m["scheme"] for m in manifest["modules"] if "scheme" in m]
        bits = [
            any("codec" in e for e in manifest["tensors"] + manifest["assets"]), "shards"
            in manifest,
            any(s.get("full_range") for s in schemes),
            any(s["codes"]["layout"] != "plain" for s in schemes),
            manifest["quantization"]["method"] != "vector-wise",
            any("kept" in m for m in manifest["modules"])
        ]
        return sum(1 << i for i, bit in enumerate(bits) if bit)

    def body(self):
        """Payloads and padding from byte 128 on, at the offsets that place() gives."""
        data = b""
        for (_, payload), raw in zip(self.entries(),
                                     self.raw_sizes["tensors"] + self.raw_sizes["assets"]):
            data = data.ljust(align(128 + len(data), raw) - 128, b"\0") + payload
        return data.ljust(round_up(len(data), 64), b"\0")

    def build(self, text=None, body=None, tail=b""):
        """The file. text: another manifest; body: other payloads; tail: bytes after the end."""
        body = self.body() if body is None else body
        text = to_json(self.manifest) if text is None else text
        fields = dict(self.header)
        right = {
            "manifest_offset": 128 + len(body),
            "manifest_bytes": len(text),
            "file_bytes": 128 + len(body) + len(text),
            "manifest_xxh3": xxhash.xxh3_128_digest(text)
        }
        fields.update({key: value for key, value in right.items() if fields[key] is None})
        if fields["features"] is None:
            fields["features"] = self.features()
        commit = fields.pop("commit")
        header = HEADER.pack(*fields.values())
        return header + (xxhash.xxh3_128_digest(header)
                         if commit is None else commit) + body + text + tail


def quantized_error(absmax):
    return {
        "snr_db": 40.5,
        "max_abs_error": 0.01,
        "saturated_share": 0.01,
        "absmax_min": float(absmax.min()),
        "absmax_max": float(absmax.max())
    }


def pack_vnni(codes):
    rows, columns = codes.shape
    padded = numpy.zeros((round_up(rows, 16), round_up(columns, 64)), numpy.int8)
    padded[:rows, :columns] = codes
    return padded.reshape(len(padded) // 16, 16, -1, 4).transpose(0, 2, 1, 3).copy()


def add_linear(draft,
               name,
               rows=5,
               columns=7,
               experts=None,
               convention="absmax",
               layout="plain",
               full_range=False,
               zero_point=False,
               kept=None,
               bias=True,
               codec=None,
               seed=0):
    """A quantized module with its tensors. kept: dtype of the kept columns."""
    generator = numpy.random.default_rng(seed)
    lead = (experts,) if experts else ()
    codes = generator.integers(-127, 128, lead + (rows, columns), dtype=numpy.int8)
    codes[..., 0, 0] = -128 if full_range else 127
    scales = generator.uniform(0.5, 2, lead + (rows,)).astype(numpy.float32)
    codes[..., 1, :], scales[..., 1] = 0, 0
    weight, group = name + ".weight", rows if experts else None
    stored = codes if layout == "plain" else pack_vnni(codes)
    suffix = {"absmax": "_absmax", "step": "_step"}[convention]
    draft.tensor(weight, stored, matrix_rows=group, codec=codec, chunk_rows=3 if experts else 4)
    draft.tensor(weight + suffix, scales, codec=codec)
    draft.tensor(weight + "_code_sum", codes.sum(axis=-1, dtype=numpy.int32), codec=codec)
    scheme = {
        "name": "int8-rows",
        "codes": {
            "tensor": weight,
            "bits": 8,
            "signed": True,
            "layout": layout
        }
    }
    if full_range:
        scheme["full_range"] = True
    scheme["scales"] = {
        "tensor": weight + suffix,
        "axis": 0,
        "group_size": 0,
        "convention": convention,
        "dtype": "F32"
    }
    scheme["code_sum"] = weight + "_code_sum"
    if zero_point:
        draft.tensor(weight + "_zero_point",
                     generator.integers(-128, 128, lead + (rows,), dtype=numpy.int32))
        scheme["zero_point"] = weight + "_zero_point"
    module = {
        "name": name,
        "kind": "experts" if experts else "linear",
        "quantized": True,
        "reason": "a linear layer",
        "in_features": columns,
        "out_features": rows
    }
    if experts:
        module["experts"] = experts
    module.update(source_tensor=weight, source_dtype="F16", transposed=False)
    if bias:
        draft.tensor(name + ".bias",
                     generator.standard_normal(lead + (rows,)).astype(numpy.float16))
        module["bias"] = name + ".bias"
    module["scheme"] = scheme
    if kept:
        module["kept"] = {"index": weight + "_kept_index", "weight": weight + "_kept"}
        draft.tensor(weight + "_kept_index", numpy.array([0, columns - 1], numpy.int32))
        values = numpy.array([[1.5] * rows, [-2.0] * rows], numpy.float16)
        draft.tensor(weight + "_kept",
                     values if kept == "F16" else values.view(numpy.uint16),
                     dtype=kept)
    module["error"] = quantized_error(scales)
    draft.manifest["modules"].append(module)


def add_plain(draft, name, kind, shape, dtype="F16", tied_to=None):
    """A module that keeps its weight; or a tied one, without tensors of its own."""
    module = {"name": name, "kind": kind, "quantized": False, "reason": "kept in 16 bit"}
    if kind == "head":
        module["in_features"], module["out_features"] = shape[1], shape[0]
    if not tied_to:
        module.update(source_tensor=name + ".weight", source_dtype=dtype)
        values = numpy.arange(numpy.prod(shape), dtype=numpy.float16).reshape(shape)
        draft.tensor(name + ".weight",
                     values if dtype == "F16" else values.view(numpy.uint16),
                     dtype=dtype)
    module.update(transposed=False, weight=(tied_to or name) + ".weight")
    if tied_to:
        module["tied_to"] = tied_to
    draft.manifest["modules"].append(module)


def plain():
    """A linear, an embedding with a tied head, a norm, an asset; payloads of both alignments."""
    draft = Draft()
    add_plain(draft, "wte", "embedding", (9, 7))
    add_linear(draft, "h.0.fc")
    add_plain(draft, "ln_f", "norm", (7,), dtype="BF16")
    add_plain(draft, "lm_head", "head", (9, 7), tied_to="wte")
    draft.tensor("big",
                 numpy.arange(65536 // 4, dtype=numpy.uint32).reshape(-1, 64),
                 chunk_rows=100)
    draft.asset("config.json", b'{"model_type":"gpt2"}\n')
    return draft


def small():
    """One linear and one asset: for tests that try every bit."""
    draft = Draft()
    add_linear(draft, "fc", rows=3, columns=4, bias=False)
    draft.asset("a.txt", b"hello")
    return draft


def zstd():
    """Chunks that shrink, chunks that do not, and an asset."""
    draft = Draft()
    add_linear(draft, "fc", rows=9, columns=33, codec="zstd")
    mixed = numpy.zeros((8, 256), numpy.uint8)
    mixed[4:] = numpy.random.default_rng(1).integers(0, 256, (4, 256))
    draft.tensor("mixed", mixed, codec="zstd")
    draft.asset("vocab.txt", b"the same words again. " * 50, codec="zstd")
    # Aligned by its raw size, though little of it is stored.
    draft.asset("zeros", bytes(65536), codec="zstd")
    return draft


def experts():
    draft = Draft()
    add_linear(draft, "moe.experts", rows=5, columns=6, experts=3)
    return draft


def kept():
    draft = Draft()
    add_linear(draft, "f16", kept="F16")
    add_linear(draft, "bf16", kept="BF16")
    return draft


def packed():
    draft = Draft()
    add_linear(draft, "fc", rows=17, columns=66, layout="vnni16x4-1")
    add_linear(draft, "exact", rows=16, columns=64, layout="vnni16x4-1")
    return draft


def full_range():
    draft = Draft()
    add_linear(draft, "fc", full_range=True)
    return draft


def zeropoint():
    draft = Draft(method="zeropoint-vector")
    add_linear(draft, "fc", full_range=True, zero_point=True, convention="step")
    return draft


def row_wise():
    draft = Draft(method="row-wise")
    add_linear(draft, "fc")
    return draft


def empty():
    """Tensors without elements, of rank 0 and of rank 8, each dtype, and no module at all."""
    draft = Draft()
    draft.tensor("none", numpy.zeros((3, 0), numpy.float32))
    draft.tensor("no_rows", numpy.zeros((0, 5), numpy.int8))
    draft.tensor("scalar", numpy.array(1.5))
    draft.tensor("rank8", numpy.arange(6, dtype=numpy.uint16).reshape(1, 1, 2, 1, 1, 3, 1, 1))
    for name in NUMPY_NAMES:
        draft.tensor(name, numpy.array([[0, 1], [1, 0]], name))
    for name in ("F8_E4M3", "F8_E5M2"):
        draft.tensor(name, numpy.array([0, 127, 255], numpy.uint8), dtype=name)
    draft.asset("empty.txt", b"")
    draft.asset("empty.zst", b"", codec="zstd")
    return draft


SAMPLES = [plain, small, zstd, experts, kept, packed, full_range, zeropoint, row_wise, empty]


def shard_names(stem, shards):
    """shards: built files. STEM-DDDDDDDD-IIIII-of-NNNNN.8vo"""
    digests = [data[64:80] for data in shards]
    mark = xxhash.xxh3_128_hexdigest(b"".join(digests))[:8]
    return [f"{stem}-{mark}-{i + 1:05}-of-{len(shards):05}.8vo" for i in range(len(shards))]


def index_of(drafts, built, names):
    """The Draft of an index over shards."""
    index = Draft()
    for number, draft in enumerate(drafts):
        index.manifest["modules"] += draft.manifest["modules"]
        for key in ("tensors", "assets"):
            for entry in draft.manifest[key]:
                where = {
                    k: v for k, v in entry.items() if k not in ("name", "dtype", "shape", "size")
                }
                what = {k: v for k, v in entry.items() if k not in where}
                index.manifest[key].append({**what, "shard": number, **where})
    index.manifest["shards"] = [{
        "name": name,
        "bytes": len(data),
        "manifest_xxh3": data[64:80].hex()
    } for name, data in zip(names, built)]
    index.header["shard_count"] = len(drafts)
    index.header["features"] = 2
    for draft in drafts:
        index.header["features"] |= draft.features()
    return index


def sharded_drafts():
    drafts = [Draft(), Draft()]
    add_linear(drafts[0], "h.0.fc", codec="zstd")
    add_linear(drafts[1], "h.1.fc", kept="F16", seed=1)
    drafts[1].asset("config.json", b"{}")
    for number, draft in enumerate(drafts):
        draft.header.update(shard_index=number, shard_count=2)
    return drafts


def sharded(stem="sharded"):
    """Files of a sharded model: name -> bytes; the index is the last."""
    drafts = sharded_drafts()
    built = [draft.build() for draft in drafts]
    names = shard_names(stem, built)
    index = index_of(drafts, built, names)
    return {**dict(zip(names, built)), stem + ".8vo": index.build(body=b"")}


def write_samples(folder):
    """Writes every sample; returns the paths of those to open (not of the shards)."""
    files = {f"{sample.__name__}.8vo": sample().build() for sample in SAMPLES}
    shards = sharded()
    for name, data in {**files, **shards}.items():
        with open(os.path.join(folder, name), "wb") as stream:
            stream.write(data)
    return [os.path.join(folder, name) for name in [*files, *shards]]


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    write_samples(sys.argv[1])
