"""Running `octavo` with the I/O shim, on a small model, and looking at what is left. Standard library only.

The binary is $OCTAVO, the shim $IO_SHIM.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cli"))
from cli import OCTAVO, environment, halves, write_safetensors  # noqa: E402

SHIM = os.environ.get("IO_SHIM", "")
OPS = ["open", "read", "write", "sync", "rename", "truncate", "map"]
OUT = "x.8vo"


def write_model(folder, layers=4, extent=48, seed=1):
    """A Llama-like model in two source files, with a tokenizer."""
    folder.mkdir(parents=True)
    values = random.Random(seed)
    norm = ("F16", (extent,), halves([1.0] * extent))
    files = [{}, {}]
    for i in range(layers):
        weight = halves([values.gauss(0, 0.05) for _ in range(extent * extent)])
        files[i * 2 // layers][f"model.layers.{i}.self_attn.q_proj.weight"] = ("F16", (extent, extent), weight)
        files[i * 2 // layers][f"model.layers.{i}.input_layernorm.weight"] = norm
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name, tensors in zip(names, files):
        write_safetensors(folder / name, tensors)
    weight_map = {tensor: name for name, tensors in zip(names, files) for tensor in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    (folder / "tokenizer.json").write_text("{}" * 100)


def write_large_model(folder, layers, extent=2048):
    """Linears of 8 MiB: enough that a save point of the default distance comes now and then."""
    folder.mkdir(parents=True)
    block = bytearray(random.Random(1).randbytes(2 * extent * extent))
    block[1::2] = bytes(block[1::2]).translate(bytes(b & 0xBF for b in range(256)))  # no fp16 of 2 and more
    weights = {f"model.layers.{i}.mlp.up_proj.weight": ("F16", (extent, extent), bytes(block[4096 * i:] + block[:4096 * i]))
               for i in range(layers)}
    write_safetensors(folder / "model.safetensors", weights)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))


def scratch_folder(megabytes):
    """A temporary folder where a sync costs nothing, if there is one with so much room."""
    shm = pathlib.Path("/dev/shm")
    fits = os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > megabytes << 20
    return tempfile.TemporaryDirectory(prefix="octavo-faults-", dir=shm if fits else None)


def digests(folder):
    """name -> SHA-256 of all files but the source."""
    result = {}
    for path in sorted(folder.iterdir()):
        if path.is_file():
            with open(path, "rb") as file:
                result[path.name] = hashlib.file_digest(file, "sha256").hexdigest() if sys.version_info >= (3, 11) else \
                    hashlib.sha256(file.read()).hexdigest()
    return result


def contents(folder):
    """name -> bytes of all files but the source."""
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def visible(files):
    return {name: data for name, data in files.items() if not name.startswith(".")}


def run(folder, arguments, fault=None, counts=None, kill_after=None):
    """Runs the binary in `folder`; `fault`: (op, n, what), what an errno, "short", "kill", "term" or "int"."""
    env = environment()
    env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"  # the shim comes first
    if fault is not None or counts is not None:
        env["LD_PRELOAD"] = SHIM
        env["OCTAVO_SHIM_FOLDER"] = str(folder)
    if fault is not None:
        env["OCTAVO_SHIM_FAULT"] = " ".join(map(str, fault))
    if counts is not None:
        env["OCTAVO_SHIM_COUNTS"] = str(counts)
    process = subprocess.Popen([OCTAVO, *arguments], cwd=folder, env=env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=kill_after if kill_after is not None else 300)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        if kill_after is None:
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out.decode(), err.decode())


@dataclasses.dataclass
class Counts:
    calls: dict
    source_bytes: int
    faults: int


def read_counts(path):
    values = struct.unpack("=9Q", pathlib.Path(path).read_bytes())
    return Counts(dict(zip(OPS, values)), values[7], values[8])


def fresh(template, folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)
    return folder
