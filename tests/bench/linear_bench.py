#!/usr/bin/env python3
"""One linear at a time on a CPU: Octavo beside what a user would pick instead, checked before it is timed.

    linear_bench.py [--octavo build/tools/octavo] [--shape 4096x4096,4096x14336] [--tokens 1,8,64,512] [--threads N] [--cpu NAME]
                    [--rounds 15] [--peers NAME,…] [--onednn PREFIX] [--llama-cpp DIR] [--work DIR] [--alone] [--quick] [--json FILE]

Prints two Markdown tables, one for hot weights (each call repeats the one before) and one for cold ones (calls rotate through copies of more
than 1 GB together), with a summary before them. --shape is OUTxIN. --quick is a smoke test of under a minute whose figures mean nothing.

Each peer is a process of its own (linear_worker.py, onednn_matmul.cc, ggml_matmul.cc), with the threads and the spinning that its library
chooses. Rounds go from peer to peer; all but the one that is asked are stopped by SIGSTOP, so nobody's threads spin into another's time.
--alone times each one with no other peer's process there as well, and prints by how much that differs; 10 % is what may be.

    octavo         octavo_forward: the defaults and the paper's preset (symmetric), t = 6 and t = 0
    bitsandbytes   bitsandbytes.matmul with int8 weights, t = 6 and t = 0
    torch16        torch.nn.functional.linear in bf16, and in fp16 where it is the faster one
    torch-dynamic  torch.ao.quantization.quantize_dynamic on its fastest engine
    onnxruntime    onnxruntime.quantization.quantize_dynamic; weights of 7 bits where the CPU has no VNNI, for 8 saturate there
    torch-onednn   the oneDNN inside torch, from int8 activations to scaled 16 bit
    int-mm         torch._int_mm, the int8 product alone, weights not packed
    onednn         oneDNN's C++ API, where its headers are (Debian's libdnnl-dev; --onednn, repeatable, names another PREFIX with include
                   and lib): from int8 activations to scaled 16 bit, and the int8 product alone
    ggml           llama.cpp's Q8_0, from its source: --llama-cpp

CTranslate2 has no call for one linear; python_bench.py runs its whole models. What cannot be imported or built is left out, and said.

Needs the environment of the peers (tests/peers/make_venv.sh) with the package installed or $OCTAVO_LIBRARY and $PYTHONPATH set, g++ for
oneDNN, CMake for llama.cpp, and 12 GB of memory. Not in that environment, and only used where they are found:

    pip install onnxruntime==1.32.0 onnx==1.23.2
    pip install --no-deps onednn-cpu-gomp==2023.2.0 onednn-devel-cpu-gomp==2023.2.0     # oneDNN 3.2, then --onednn VENV
    pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36                   # unpacked: --llama-cpp …/vendor/llama.cpp

Exit code 0: everything ran and what Octavo multiplied is right, whatever the speed.
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "peers"))
import definition  # noqa: E402

COLD_BYTES = 1_100_000_000
OUTLIER_SHARE = 0.0015
CHECKED_FEATURES = 96
ROUND_SECONDS = 0.05  # what a variant's part of a round lasts at least
CELL_SECONDS = 120  # rounds of slow products are fewer, but not below MIN_ROUNDS
MIN_ROUNDS = 5
FEW_TOKENS = 16  # GB/s up to here, TOPS beyond
SURELY = 3  # more tokens take less than as much more: what is not tried is that many times beyond the limit

PEERS = ("octavo", "bitsandbytes", "torch16", "torch-dynamic", "onnxruntime", "torch-onednn", "int-mm", "onednn", "ggml")
LABELS = {
    "octavo default-t6": "Octavo, t = 6", "octavo default-t0": "Octavo, t = 0",
    "octavo paper-t6": "Octavo, paper's preset, t = 6", "octavo paper-t0": "Octavo, paper's preset, t = 0",
    "bitsandbytes t6": "bitsandbytes, t = 6", "bitsandbytes t0": "bitsandbytes, t = 0",
    "torch16": "torch linear", "torch-dynamic dynamic": "torch dynamic int8", "onnxruntime dynamic": "ONNX Runtime dynamic int8",
    "torch-onednn scaled": "oneDNN in torch, scaled", "int-mm int-mm": "torch._int_mm alone", "ggml q8_0": "llama.cpp Q8_0",
}
BASE = "octavo default-t6-f16"
FRAMEWORKS = ("torch-dynamic dynamic", "onnxruntime dynamic", "ggml q8_0")  # what takes unquantized activations in int8
PLACE = ("cold", "out_features", "in_features", "tokens")
ROUNDING = {"f16": 2.0**-10, "bf16": 2.0**-7, "f32": 2.0**-18, "int32": 0.0}


def say(text):
    print(f"[{time.monotonic() - START:6.1f} s] {text}", file=sys.stderr, flush=True)


# ---- Operands, made once and read by every peer -------------------------------------------------

@dataclasses.dataclass
class Operands:
    """A shape's files in `folder`: codes.i8, absmax.f32, scales.f32 (absmax / 127), features.i64 (those that are checked); for T tokens
    x-T.f32, and for peers that take quantized activations x-codes-T.i8 and x-scales-T.f32, symmetric, by row. Every x is both an fp16
    and a bf16 number, so all peers multiply the same ones."""
    folder: pathlib.Path
    out_features: int
    in_features: int

    @property
    def weights(self):
        return self.out_features * self.in_features

    def write(self, tokens_list):
        rng = np.random.default_rng(self.weights)
        w = np.float32(0.02) * rng.standard_normal((self.out_features, self.in_features), dtype=np.float32)
        self.codes, self.absmax = definition.quantize_weights(w)
        self.scales = self.absmax / np.float32(127)
        count = min(CHECKED_FEATURES, self.out_features)
        inner = rng.choice(np.arange(1, self.out_features - 1), count - 2, replace=False)
        self.features = np.sort(np.concatenate([[0, self.out_features - 1], inner])).astype(np.int64)
        self.outliers = max(1, round(OUTLIER_SHARE * self.in_features))
        columns = rng.choice(self.in_features, self.outliers, replace=False)
        for name in ("codes.i8", "absmax.f32", "scales.f32", "features.i64"):
            getattr(self, name.split(".")[0]).tofile(self.folder / name)
        self.x, self.x_codes, self.x_scales = {}, {}, {}
        for tokens in tokens_list:
            self.x[tokens] = x = make_activations(rng, tokens, self.in_features, columns)
            absmax = np.abs(x).max(axis=1)
            self.x_codes[tokens] = definition.symmetric_codes(x, absmax).astype(np.int8)
            self.x_scales[tokens] = absmax / np.float32(127)
            x.tofile(self.folder / f"x-{tokens}.f32")
            self.x_codes[tokens].tofile(self.folder / f"x-codes-{tokens}.i8")
            self.x_scales[tokens].tofile(self.folder / f"x-scales-{tokens}.f32")


def make_activations(rng, tokens, in_features, columns):
    """Normal values below the threshold, and columns whose every entry is beyond it."""
    x = rng.standard_normal((tokens, in_features), dtype=np.float32).clip(-5.5, 5.5)
    large = 8 + 30 * rng.random((tokens, len(columns)), dtype=np.float32)
    x[:, columns] = np.copysign(large, x[:, columns])
    x[np.abs(x) < 2.0**-10] = 0
    return (x.view(np.uint32) + 0x8000 & 0xffff0000).astype(np.uint32).view(np.float32)


# ---- What a right product is --------------------------------------------------------------------

def rounding_step(rule, x):
    """The step by which a peer's rule rounds activations, for each row or block of them."""
    if rule == "row":
        return np.abs(x).max(axis=1) / 127
    if rule == "row below 6":
        return np.where(np.abs(x) < 6, np.abs(x), 0).max(axis=1) / 127
    if rule == "tensor":  # 7 bits are what torch takes where 8 could saturate
        return np.array([(max(x.max(), 0) - min(x.min(), 0)) / 127])
    if rule == "blocks":
        return np.abs(x).reshape(-1, 32).max(axis=1) / 127
    return np.zeros(1)


def check(operands, tokens, variant, y, weights):
    """(error, bound): of Octavo the worst element as a share of the bound of docs/numerics.md; of the others relative, in Frobenius' norm.

    Rounding an activation to a step is an error of step / sqrt(12) on average, and weights that know nothing of it carry it over: half as
    much again is the bound, and the output type's rounding. int8 products have to be exact."""
    x, features = operands.x[tokens], operands.features
    codes = operands.codes[features]
    if variant["rule"].startswith("octavo"):
        _, threshold, activations = variant["rule"].split()
        quantized = definition.quantize_activations(x, definition.Settings(threshold=float(threshold), activations=activations))
        linear = definition.Weights(codes, operands.absmax[features].astype(np.float64) / 127)
        y64, magnitude = definition.multiply(x, quantized, linear)
        bad, share = definition.violations(y, y64, magnitude, quantized, variant["type"].upper())
        return float(max(share.max(), 2 * bad.any())), 1.0
    if weights is None:
        weights = codes.astype(np.float64) * operands.scales[features].astype(np.float64)[:, None]
    if variant["rule"] == "codes":
        exact = operands.x_codes[tokens].astype(np.float64) @ codes.T.astype(np.float64)
        if variant["type"] != "int32":
            exact *= operands.x_scales[tokens].astype(np.float64)[:, None] * operands.scales[features]
        bound = ROUNDING[variant["type"]]
    else:
        exact = x.astype(np.float64) @ weights.T
        step = rounding_step(variant["rule"], x.astype(np.float64))
        bound = 1.5 * np.sqrt(np.mean(step**2) / 12 / np.mean(x.astype(np.float64)**2)) + ROUNDING[variant["type"]]
    error = definition.relative_error(y, exact)
    return (error if np.isfinite(error) else float("inf")), float(bound)


# ---- Processes ----------------------------------------------------------------------------------

class Refused(Exception):
    """What a peer answered instead of a result."""


class Worker:
    """A peer's process, stopped whenever it is not asked."""

    def __init__(self, name, command, environment):
        self.name, self.command, self.environment = name, command, environment
        self.process = None

    def start(self):
        self.process = subprocess.Popen([str(word) for word in self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, env=self.environment)
        self.version = self.reply()["version"]
        return self

    def reply(self):
        line = self.process.stdout.readline()
        if not line:
            raise Refused(f"the process ended with {self.process.wait()}")
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # every thread of it
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def ask(self, *words):
        try:
            os.kill(self.process.pid, signal.SIGCONT)
            print(*words, file=self.process.stdin, flush=True)
        except OSError as error:
            raise Refused(f"the process has ended: {error}") from error
        return self.reply()

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def run_quietly(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refused(f"{shlex.join(map(str, command[:3]))} …: {(done.stderr or done.stdout).strip()[-300:]}")


def build_onednn(prefix, work):
    if not (prefix / "include" / "oneapi" / "dnnl" / "dnnl.hpp").exists():
        raise Refused(f"no oneDNN in {prefix}")
    program = work / f"onednn_matmul{'-'.join(prefix.parts[1:])}"
    here = [] if prefix == pathlib.Path("/usr") else [f"-I{prefix}/include", f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib"]
    run_quietly(["g++", "-std=c++20", "-O3", "-march=native", "-fopenmp", HERE / "onednn_matmul.cc", *here, "-ldnnl", "-o", program])
    return program


def build_ggml(source, work):
    build, program = work / "ggml", work / "ggml_matmul"
    off = [f"-DLLAMA_BUILD_{part}=OFF" for part in ("COMMON", "TESTS", "EXAMPLES", "TOOLS", "SERVER")]
    run_quietly(["cmake", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DGGML_NATIVE=ON",
                 "-DLLAMA_CURL=OFF", *off])
    run_quietly(["cmake", "--build", build, "--target", "ggml", "--parallel"])
    libraries = [build / "ggml" / "src" / f"libggml{part}.a" for part in ("", "-cpu", "-base")]
    run_quietly(["g++", "-std=c++20", "-O2", "-fopenmp", HERE / "ggml_matmul.cc", f"-I{source}/ggml/include", *libraries, "-ldl", "-lpthread",
                 "-o", program])
    return program


class Bench:
    def __init__(self, args):
        self.args = args
        self.work = pathlib.Path(args.work or tempfile.mkdtemp(prefix="linear-bench-")).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "MKL_NUM_THREADS": str(args.threads)}
        if args.cpu:
            self.environment["OCTAVO_CPU"] = args.cpu
        self.cells, self.left_out, self.errors, self.versions, self.alone = [], {}, [], {}, []

    # -- the ceilings

    def ceilings(self):
        command = [self.args.octavo, "bench", "--json", "--shape", "1024x1024", "--tokens", "1", "--threads", str(self.args.threads),
                   "--seconds", "2"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=self.environment)
        return json.loads(done.stdout)

    def note_ceilings(self):
        """Twice in a run, at its begin and at its end; the better counts."""
        told = self.ceilings()
        self.device = {key: told[key] for key in ("device_name", "backend", "threads")}
        seen = told["ceilings"]
        self.best = {key: max(seen[key] or 0, getattr(self, "best", {}).get(key, 0)) for key in seen}
        say(f"ceilings: {seen}")

    # -- the workers

    def make_workers(self):
        """Those whose program can be built."""
        threads = str(self.args.threads)
        workers = []
        for name in self.args.peers:
            commands = {name: lambda name=name: [sys.executable, HERE / "linear_worker.py", name, threads]}
            if name == "onednn":
                commands = {f"onednn {prefix}": lambda prefix=prefix: [build_onednn(prefix, self.work)] for prefix in self.args.onednn}
            elif name == "ggml":
                commands = {name: lambda: [build_ggml(self.args.llama_cpp, self.work), threads]} if self.args.llama_cpp else {}
            for key, command in commands.items():
                try:
                    workers.append(Worker(key, command(), self.environment))
                except Refused as error:
                    self.leave_out(key, error)
        return workers

    def leave_out(self, what, why):
        say(f"left out: {what}: {why}")
        self.left_out.setdefault(what, str(why).split("\n")[0][:200])

    def load(self, worker, operands):
        """Its process with the shape's weights, or None."""
        what = worker.name
        try:
            self.versions[worker.name] = worker.start().version
            what += f", {operands.out_features}x{operands.in_features}"
            cold_bytes = COLD_BYTES if not self.args.quick else 4 * operands.weights
            worker.ask("shape", operands.folder, operands.out_features, operands.in_features, cold_bytes)
            return worker
        except Refused as error:
            self.leave_out(what, error)
            if worker.name == "octavo":
                self.errors.append(f"{what}: {error}")
            worker.stop()
            return None

    # -- the figures

    def admit(self, worker, operands, tokens):
        """Its variants for these tokens, each checked, with the calls of a round. Those that are wrong or take too long are left out."""
        where = f"{operands.out_features}x{operands.in_features}, {tokens} tokens"
        admitted = []
        try:
            variants = worker.ask("tokens", tokens)["variants"]
        except Refused as error:
            self.leave_out(f"{worker.name}, {where}", error)
            return []
        for variant in variants:
            name = f"{worker.name} {variant['name']}"
            slowest = self.slowest.get(name)
            if slowest and slowest[1] * tokens / slowest[0] > SURELY * self.args.slowest:
                self.leave_out(f"{label(name, self.versions)} {variant['type']}, {where}", f"{slowest[0]} took {slowest[1]:.2g} s")
                continue
            try:
                told = worker.ask("check", variant["name"])
                y = np.fromfile(operands.folder / "y.f64").reshape(tokens, -1)
                weights = np.fromfile(operands.folder / "w.f64").reshape(-1, operands.in_features) if told["own_weights"] else None
                error, bound = check(operands, tokens, variant, y, weights)
                if error > bound:
                    if worker.name == "octavo":
                        self.errors.append(f"wrong product: {name}, {where}: {error:.3g} times the bound")
                    raise Refused(f"wrong, an error of {100 * error:.2g} % where {100 * bound:.2g} % would be right")
                once = told["seconds"]
                if once <= self.args.slowest:  # the first call may have done more than one has to
                    once = worker.ask("time", variant["name"], "hot", 1)["seconds"]
                self.slowest[name] = tokens, once
                if once > self.args.slowest:
                    raise Refused(f"a call takes {once:.1f} s")
            except Refused as error:
                self.leave_out(f"{label(name, self.versions)} {variant['type']}, {where}", error)
                continue
            admitted.append(variant | {"key": name, "error": error, "bound": bound, "once": once,
                                       "calls": max(1, min(1000, round(self.round_seconds / max(once, 1e-6))))})
        return admitted

    @property
    def round_seconds(self):
        return ROUND_SECONDS if not self.args.quick else 0.005

    def rounds_of(self, plan):
        seconds = sum(v["once"] * (v["calls"] + 1) for _, variants in plan for v in variants)
        return max(min(MIN_ROUNDS, self.args.rounds), min(self.args.rounds, int(CELL_SECONDS / max(seconds, 1e-9))))

    def time_rounds(self, plan, weights, rounds):
        """(worker, variants) in turn, round after round: variant's key -> seconds of a call, one for each round."""
        seconds = {v["key"]: [] for _, variants in plan for v in variants}
        for _ in range(rounds):
            for worker, v in [(worker, v) for worker, variants in plan for v in variants if v["key"] in seconds]:
                try:
                    seconds[v["key"]].append(worker.ask("time", v["name"], weights, v["calls"])["seconds"])
                except Refused as error:
                    self.leave_out(f"{label(v['key'], self.versions)} {v['type']}, {weights}", error)
                    del seconds[v["key"]]
        return seconds

    def run_shape(self, workers, operands, tokens_list):
        self.slowest = {}
        alone = self.run_alone(workers, operands, tokens_list) if self.args.alone else {}
        self.slowest = {}
        with contextlib.ExitStack() as stack:
            loaded = []
            for worker in workers:
                stack.callback(worker.stop)
                if self.load(worker, operands):
                    loaded.append(worker)
            say(f"{operands.out_features}x{operands.in_features}: {len(loaded)} peers have their weights")
            for tokens in tokens_list:
                plan = [(worker, self.admit(worker, operands, tokens)) for worker in loaded]
                rounds = self.rounds_of(plan)
                for weights in ("hot", "cold"):
                    for key, seconds in self.time_rounds(plan, weights, rounds).items():
                        self.add_cell(operands, tokens, weights, plan, key, seconds)
                        if (tokens, weights, key) in alone:
                            together = statistics.median(seconds)
                            self.alone.append({"in_turn_ms": 1e3 * together, "alone_ms": 1e3 * alone[tokens, weights, key]} | {
                                field: self.cells[-1][field] for field in PLACE + ("label", "type")})
                say(f"{operands.out_features}x{operands.in_features}, {tokens} tokens: {rounds} rounds")

    def run_alone(self, workers, operands, tokens_list):
        """(tokens, weights, key) -> median seconds with no other peer's process."""
        medians = {}
        for worker in workers:
            try:
                for tokens in tokens_list if self.load(worker, operands) else ():
                    plan = [(worker, self.admit(worker, operands, tokens))]
                    for weights in ("hot", "cold"):
                        for key, seconds in self.time_rounds(plan, weights, self.rounds_of(plan)).items():
                            medians[tokens, weights, key] = statistics.median(seconds)
            finally:
                worker.stop()
        return medians

    def add_cell(self, operands, tokens, weights, plan, key, seconds):
        variant = next(v for _, variants in plan for v in variants if v["key"] == key)
        seconds = sorted(seconds)
        median, n = statistics.median(seconds), len(seconds)
        self.cells.append({
            "out_features": operands.out_features, "in_features": operands.in_features, "tokens": tokens, "cold": weights == "cold",
            "outlier_columns": operands.outliers, "key": key, "label": label(key, self.versions), "type": variant["type"],
            "note": variant["note"], "ms": 1e3 * median, "spread": (seconds[min(3 * n // 4, n - 1)] - seconds[n // 4]) / median,
            "rounds": n, "calls": variant["calls"], "tops": 2e-12 * operands.weights * tokens / median,
            "weight_gbs": 1e-9 * operands.weights * variant["weight_bytes"] / median, "error": variant["error"], "bound": variant["bound"]})

    def run(self):
        self.note_ceilings()
        workers = self.make_workers()
        for out_features, in_features in self.args.shape:
            with tempfile.TemporaryDirectory(dir=self.work) as folder:
                operands = Operands(pathlib.Path(folder), out_features, in_features)
                operands.write(self.args.tokens)
                self.run_shape(workers, operands, self.args.tokens)
        self.note_ceilings()
        for cell in self.cells:
            cell["share_of_floor"] = floor_ms(cell, self.best) / cell["ms"]
            base = next((c for c in self.cells if c["key"] == BASE and place(c) == place(cell)), None)
            cell["over_octavo"] = cell["ms"] / base["ms"] if base else None
        if not self.args.work:
            shutil.rmtree(self.work, ignore_errors=True)


def place(cell):
    return tuple(cell[field] for field in PLACE)


def floor_ms(cell, ceilings):
    """The least that this linear takes with int8 weights and 16-bit activations, the same for every peer."""
    out_features, in_features, tokens = cell["out_features"], cell["in_features"], cell["tokens"]
    weights = out_features * in_features
    reading = (weights + 4 * out_features + 2 * tokens * (in_features + out_features)) / (1e6 * ceilings["read_gbs"])
    computing = 2 * weights * tokens / (1e9 * ceilings["int8_tops"]) if ceilings["int8_tops"] else 0
    return max(reading, computing)


def label(key, versions):
    """octavo default-t6-f16 -> Octavo, t = 6"""
    worker, _, variant = key.rpartition(" ")
    if worker.startswith("onednn"):
        return f"{versions[worker]}, {'int8 product alone' if variant == 'bare' else 'scaled'}"
    return next((text for start, text in LABELS.items() if key.startswith(start)), key)


# ---- The report ---------------------------------------------------------------------------------

def table(header, lines):
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)] + ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def commit():
    def git(*words):
        return subprocess.run(["git", "-C", str(HERE), *words], capture_output=True, text=True, check=False).stdout.strip()
    return git("rev-parse", "--short", "HEAD") + (" and changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def head(bench):
    memory = int(next(line for line in open("/proc/meminfo") if line.startswith("MemTotal")).split()[1]) * 1024
    device, best = bench.device, bench.best
    return table(["", ""], [
        ["machine", f"{device['device_name']}, {os.cpu_count()} logical CPUs, {memory / 1e9:.0f} GB; Linux {os.uname().release}"],
        ["threads", f"{device['threads']}, {device['backend']}"],
        ["date, commit", f"{datetime.date.today().isoformat()}, {commit()}"],
        ["command", f"`{shlex.join([pathlib.Path(sys.executable).name, *sys.argv])}`"],
        ["versions", ", ".join(dict.fromkeys(bench.versions.values()))],
        ["ceilings", f"int8 {best['int8_tops']:.3g} TOPS, reads {best['read_gbs']:.3g} GB/s"],
        ["load", f"{os.getloadavg()[2]:.1f} on average in the last 15 minutes"]])


def figures(cells):
    lines = []
    for c in cells:
        rate = f"{c['weight_gbs']:.1f} GB/s" if c["tokens"] <= FEW_TOKENS else f"{c['tops']:.3g} TOPS"
        over = f"{c['over_octavo']:.2f}" if c["over_octavo"] else ""
        lines.append([f"{c['out_features']}x{c['in_features']}", c["tokens"], c["label"], c["type"], f"{c['ms']:.3f}",
                      f"{100 * c['spread']:.1f} %", rate, f"{100 * c['share_of_floor']:.0f} %", over])
    return table(["out x in", "tokens", "", "in, out", "ms", "spread", "rate", "of the floor", "over Octavo"], lines)


def summary(cells):
    """What each place comes to: how many times Octavo's default the others take, and what the outliers cost."""
    lines = []
    for where in dict.fromkeys(map(place, cells)):
        here = {c["key"]: c for c in cells if place(c) == where}
        if BASE not in here:
            continue
        base = here[BASE]

        def over(chosen):
            chosen = [c for c in here.values() if chosen(c["key"])]
            if not chosen:
                return "-"
            best = min(chosen, key=lambda c: c["ms"])
            return f"{best['over_octavo']:.2f} ({best['label']})" if len(chosen) > 1 else f"{best['over_octavo']:.2f}"
        bare = here.get("octavo default-t0-f16")
        cost = f"{100 * (base['ms'] / bare['ms'] - 1):+.1f} %" if bare else "-"
        slowest = max((c["ms"] for c in here.values() if c["key"].startswith("octavo")), default=base["ms"])
        lines.append([f"{where[1]}x{where[2]}", where[3], "cold" if where[0] else "hot", f"{base['ms']:.3f}",
                      f"{100 * base['share_of_floor']:.0f} %", f"{slowest / base['ms']:.2f}", cost, over(lambda k: k == "bitsandbytes t6-f16"),
                      over(lambda k: k.startswith(FRAMEWORKS)), over(lambda k: k.startswith("torch16")), over(lambda k: "scaled" in k),
                      over(lambda k: k.startswith("onednn") and k.endswith("bare"))])
    return table(["out x in", "tokens", "weights", "Octavo, ms", "of the floor", "slowest of Octavo's rows", "t = 6 over t = 0",
                  "bitsandbytes, t = 6", "best int8 of a framework", "torch in 16 bit", "oneDNN scaled", "oneDNN's product alone"], lines)


def chosen_by_trial(cells):
    """What a peer's row stands for: name -> its notes, each with its shapes and tokens."""
    places = {}
    for c in cells:
        if c["note"] and not c["key"].startswith("octavo"):
            shapes = places.setdefault((f"{c['label']} {c['type']}", c["note"]), {})
            shapes.setdefault(f"{c['out_features']}x{c['in_features']}", {})[str(c["tokens"])] = None
    notes = {}
    for (what, note), shapes in places.items():
        where = ", ".join(f"{shape} with {' '.join(tokens)}" for shape, tokens in shapes.items())
        notes.setdefault(what, []).append(f"{note} ({where} tokens)")
    return notes


def markdown(bench):
    out = [*head(bench), ""]
    out += ["Medians; spread: distance of the quartiles over the median. Of the floor: the least time for reading int8 weights, x and y at "
            "the read rate or for the operations at the int8 rate, whichever is longer, over the time. Over Octavo: times its default with t = 6 in fp16. "
            "GB/s are of the weights as the peer has them. oneDNN's and torch._int_mm's rows begin with int8 activations.", ""]
    out += ["**Summary**, times Octavo's default", "", *summary(bench.cells)]
    for name, cold in (("Hot weights", False), ("Cold weights", True)):
        out += ["", f"**{name}**", "", *figures([c for c in bench.cells if c["cold"] == cold])]
    if notes := chosen_by_trial(bench.cells):
        out += ["", "Chosen by trial:", ""] + [f"- {what}: {'; '.join(notes)}" for what, notes in notes.items()]
    if bench.left_out:
        out += ["", "Left out:", ""] + [f"- {what}: {why}" for what, why in bench.left_out.items()]
    if bench.alone:
        lines, beyond = [], 0
        for a in bench.alone:
            difference = a["in_turn_ms"] / a["alone_ms"] - 1
            beyond += abs(difference) > 0.1
            lines.append([f"{a['out_features']}x{a['in_features']}", a["tokens"], "cold" if a["cold"] else "hot", a["label"], a["type"],
                          f"{a['in_turn_ms']:.3f}", f"{a['alone_ms']:.3f}", f"{100 * difference:+.1f} %"])
        out += ["", f"**In turn against alone**: {beyond} of {len(lines)} differ by more than 10 %", "",
                *table(["out x in", "tokens", "weights", "", "in, out", "in turn, ms", "alone, ms", "difference"], lines)]
    if bench.errors:
        out += ["", f"{len(bench.errors)} ERRORS:", ""] + [f"- {error}" for error in bench.errors]
    return "\n".join(out) + "\n"


def shape(text):
    out_features, _, in_features = text.partition("x")
    return int(out_features), int(in_features)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def several(of):
        return lambda text: [of(part) for part in text.split(",")]
    parser.add_argument("--octavo", default=str(HERE.parents[1] / "build" / "tools" / "octavo"))
    parser.add_argument("--shape", type=several(shape), default=None, metavar="OUTxIN,…")
    parser.add_argument("--tokens", type=several(int), default=None, metavar="N,…")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cpu", help="Octavo's kernels by name, see octavo devices")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--slowest", type=float, default=None, metavar="SECONDS", help="leave out what takes longer for a call (default: 10)")
    parser.add_argument("--peers", type=several(str), default=list(PEERS), metavar="NAME,…")
    parser.add_argument("--onednn", type=pathlib.Path, action="append", metavar="PREFIX", help="repeatable (default: /usr)")
    parser.add_argument("--llama-cpp", type=pathlib.Path, metavar="DIR", help="llama.cpp's source")
    parser.add_argument("--work", metavar="DIR", help="for operands and what is built, which stays there (default: a temporary one)")
    parser.add_argument("--alone", action="store_true", help="time each peer alone too: twice the time")
    parser.add_argument("--quick", action="store_true", help="small shapes, few rounds")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    args = parser.parse_args()
    if unknown := set(args.peers) - set(PEERS):
        parser.error(f"unknown peers: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    args.shape = args.shape or ([(500, 1024)] if args.quick else [(4096, 4096), (4096, 14336)])
    args.tokens = sorted(set(args.tokens or ([1, 20] if args.quick else [1, 8, 64, 512])))
    args.rounds = args.rounds or (3 if args.quick else 15)
    args.slowest = args.slowest or (0.2 if args.quick else 10)
    args.onednn = [prefix.resolve() for prefix in args.onednn or [pathlib.Path("/usr")]]
    if any(in_features % 32 or out_features < 3 for out_features, in_features in args.shape):
        parser.error("--shape: at least 3 output features, and input features in multiples of 32")
    return args


def main():
    args = arguments()
    # Every process takes these CPUs, whatever its library thinks of the others.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:args.threads])
    bench = Bench(args)
    bench.run()
    print(markdown(bench), end="")
    if args.json:
        args.json.write_text(json.dumps({
            "device": bench.device, "ceilings": bench.best, "commit": commit(), "date": datetime.date.today().isoformat(),
            "versions": bench.versions, "results": bench.cells, "left_out": bench.left_out, "errors": bench.errors,
            "alone": bench.alone,
        }, indent=1) + "\n")
    return 1 if bench.errors else 0


if __name__ == "__main__":
    START = time.monotonic()
    sys.exit(main())
