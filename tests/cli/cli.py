"""What the tests of the command line share: running `octavo`, and making models for it.

The binary is $OCTAVO. Standard library only.
"""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GPT2 = ROOT / "tests/data/models/gpt2-novels-outliers"
LLAMA = ROOT / "tests/data/models/llama-novels"
OCTAVO = os.environ.get("OCTAVO", str(ROOT / "build/tools/octavo"))
# A CUDA library that works on host memory, for machines without a GPU (tests/runtime/fake_cuda); "" in a build without
# the CUDA backend.
FAKE_CUDA = os.environ.get("FAKE_CUDA", "")
VERBS = ["convert", "inspect", "verify", "repack", "forward", "devices", "bench"]


def environment(**changes):
    """This process's environment without what would change a result."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OCTAVO_")}
    return {**kept, "LC_ALL": "C.UTF-8", **changes}


def with_fake_gpus(pretend=""):
    """An environment with two GPUs that are not there; `pretend`: words of tests/runtime/fake_cuda/fake_table.cc."""
    return environment(OCTAVO_CUDA_LIBRARY=FAKE_CUDA, OCTAVO_FAKE_CUDA=pretend)


class CliTest(unittest.TestCase):
    """Each test has its own empty folder, self.dir, which is the current one of what it runs."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="octavo-cli-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def run_any(self, *arguments, env=None, **options):
        """Runs the binary, whatever comes of it."""
        command = [OCTAVO, *map(str, arguments)]
        return subprocess.run(command, cwd=self.dir, env=env or environment(), timeout=250, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, **options)

    def octavo(self, *arguments, code=0, **options):
        """Runs the binary and checks the exit code, and that all of stderr is sentences of its own."""
        result = self.run_any(*arguments, **options)
        result.out = result.stdout.decode("utf-8", "surrogateescape")
        result.err = result.stderr.decode("utf-8", "surrogateescape")
        said = f"{' '.join(result.args)}\nstdout: {result.out[:2000]}\nstderr: {result.err[:2000]}"
        self.assertEqual(result.returncode, code, said)
        for line in result.err.splitlines():
            self.assertTrue(line.startswith("octavo: "), said)
        if code != 0:
            self.assertTrue(result.err, said)
        return result

    def fails(self, code, *arguments, says=(), **options):
        """Like octavo(), and expects one sentence with all of `says`, and nothing on stdout."""
        result = self.octavo(*arguments, code=code, **options)
        self.assertEqual(result.out, "")
        self.assertEqual(len(result.err.splitlines()), 1, result.err)
        for part in [says] if isinstance(says, str) else says:
            self.assertIn(part, result.err)
        return result

    def octavo_json(self, *arguments, **options):
        return json.loads(self.octavo(*arguments, "--json", **options).out)

    def converted(self, source=GPT2, name="model.8vo", *options):
        """The path of a fresh conversion in self.dir."""
        self.octavo("convert", source, "-o", name, "--quiet", *options)
        return self.dir / name

    def files(self):
        return sorted(str(p.relative_to(self.dir)) for p in self.dir.rglob("*"))


def write_safetensors(path, tensors):
    """`tensors`: name -> (dtype, shape, bytes or None). None: as many zeros, as a hole in the file."""
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        size = {"F16": 2, "BF16": 2, "F32": 4, "I8": 1, "I32": 4, "F64": 8}[dtype]
        for extent in shape:
            size *= extent
        assert data is None or len(data) == size, (name, size)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        begin = file.tell()
        for name, (_, _, data) in tensors.items():
            if data is not None:
                file.seek(begin + header[name]["data_offsets"][0])
                file.write(data)
        file.truncate(begin + offset)


def read_safetensors(path):
    """name -> (dtype, shape, bytes)."""
    raw = pathlib.Path(path).read_bytes()
    length = struct.unpack_from("<Q", raw)[0]
    header = json.loads(raw[8:8 + length])
    header.pop("__metadata__", None)
    data = raw[8 + length:]
    return {name: (e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for name, e in header.items()}


def halves(values):
    return struct.pack(f"<{len(values)}e", *values)


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)


def write_small_model(folder, weights=None, **config):
    """A Llama-like folder with one small linear; `weights`: its 64 x 32 fp16 values."""
    folder.mkdir(parents=True, exist_ok=True)
    values = weights or [((i * 37) % 101 - 50) / 100 for i in range(64 * 32)]
    write_safetensors(folder / "model.safetensors", {
        "model.layers.0.self_attn.q_proj.weight": ("F16", (64, 32), halves(values)),
        "model.norm.weight": ("F16", (32,), halves([1.0] * 32)),
    })
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    return folder
