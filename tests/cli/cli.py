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
EXPECTED = pathlib.Path(__file__).parent / "expected"
GPT2 = ROOT / "tests/data/models/gpt2-novels-outliers"
LLAMA = ROOT / "tests/data/models/llama-novels"
OCTAVO = os.environ.get("OCTAVO", str(ROOT / "build/tools/octavo"))
# A CUDA library that works on host memory, for machines without a GPU (tests/runtime/fake_cuda); "" in a build without
# the CUDA backend.
FAKE_CUDA = os.environ.get("FAKE_CUDA", "")
VERBS = ["convert", "join", "inspect", "verify", "diff", "repack", "export", "forward", "devices", "bench"]


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

    def compare(self, name, found):
        """`found` is the committed text tests/cli/expected/NAME; OCTAVO_UPDATE=1 writes it anew."""
        path = EXPECTED / name
        if os.environ.get("OCTAVO_UPDATE"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(found)
        self.assertEqual(found, path.read_text())

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


def write_mixture_of_experts(folder, layers, experts):
    """A DeepSeek-like folder without data: 9 modules in each layer, and 3 for each expert behind the three first layers."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"model.embed_tokens.weight": ("BF16", (64, 16), None), "model.norm.weight": ("BF16", (16,), None),
               "lm_head.weight": ("BF16", (64, 16), None)}
    attention = {"input_layernorm": (16,), "post_attention_layernorm": (16,), "self_attn.q_proj": (16, 16), "self_attn.kv_a_proj_with_mqa": (8, 16),
                 "self_attn.kv_a_layernorm": (8,), "self_attn.kv_b_proj": (16, 8), "self_attn.o_proj": (16, 16)}
    for layer in range(layers):
        shapes = dict(attention)
        if layer < 3:
            shapes |= {"mlp.gate_proj": (32, 16), "mlp.up_proj": (32, 16), "mlp.down_proj": (16, 32)}
        else:
            shapes["mlp.gate"] = (experts, 16)
            for expert in range(experts):
                shapes |= {f"mlp.experts.{expert}.{part}": shape
                           for part, shape in [("gate_proj", (8, 16)), ("up_proj", (8, 16)), ("down_proj", (16, 8))]}
        tensors |= {f"model.layers.{layer}.{name}.weight": ("BF16", shape, None) for name, shape in shapes.items()}
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({"model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"]}))
    return folder
