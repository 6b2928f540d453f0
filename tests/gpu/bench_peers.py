#!/usr/bin/env python3
"""Octavo's linears beside cuBLAS in 16 bit and bitsandbytes, in one process, checked before they are timed.

    python3 tests/gpu/bench_peers.py --build build-gpu [--budget 200] [--json FILE] [--markdown FILE]

Needs torch and safetensors; bitsandbytes where it can be imported. `--device cpu --tiny` runs the same logic in seconds on a
machine without a GPU. Exit code 0: everything ran and every result was right, whatever the speed.
"""

import argparse
import datetime
import json
import logging
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings

import numpy as np
import safetensors.torch
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "peers")]
import definition  # noqa: E402
import octavo_c  # noqa: E402
import peers_report  # noqa: E402
import plan as plans  # noqa: E402
from timing import Clock  # noqa: E402

for noisy in ("bitsandbytes", "torch.utils.flop_counter"):  # a line for each cast, where no one sees it
    logging.getLogger(noisy).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=RuntimeWarning)

MODULE = "model.layers.0.mlp.up_proj"
CHECKS = {  # tokens, scope, activations
    torch.float16: ((1, "batch", "asymmetric"), (16, "token", "symmetric"), (67, "token", "asymmetric"),
                    (130, "batch", "asymmetric")),
    torch.bfloat16: ((16, "batch", "symmetric"), (130, "token", "asymmetric")),
}
ROTATE_OVER_L2 = 10  # a call's weights have left the cache long before they are used again


def say(text):
    print(f"[{time.monotonic() - START:6.1f} s] {text}", file=sys.stderr, flush=True)


# ---- Inputs -----------------------------------------------------------------------------------

def make_activations(tokens, in_features, dtype, device, seed):
    """Normal values with whole columns beyond the threshold, 0.15 % of them and at least one; nothing else reaches it."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, in_features, generator=generator).clamp_(-5.5, 5.5)
    count = max(1, round(plans.OUTLIER_SHARE * in_features))
    columns = torch.randperm(in_features, generator=generator)[:count]
    x[:, columns] = torch.sign(x[:, columns]) * (8 + 30 * torch.rand(tokens, count, generator=generator))
    return x.to(dtype).to(device), sorted(columns.tolist())


def relative_difference(y, other):
    """Frobenius, relative to `other`."""
    return float((y.double() - other.double()).norm() / other.double().norm())


class Weights:
    """One linear of random weights: in 16 bit for the peers, as a converted file for Octavo."""

    def __init__(self, bench, shape):
        self.folder = bench.folder / shape.name
        source = self.folder / "source"
        source.mkdir(parents=True)
        generator = torch.Generator(device=bench.device).manual_seed(shape.weights % 2**31)
        self.exact = (0.02 * torch.randn(shape.out_features, shape.in_features, generator=generator,
                                         device=bench.device)).to(torch.float16)
        safetensors.torch.save_file({f"{MODULE}.weight": self.exact.cpu()}, source / "model.safetensors")
        (source / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
        path = self.folder / "model.8vo"
        subprocess.run([bench.octavo, "convert", str(source), "-o", str(path), "--quiet"], check=True)
        shutil.rmtree(source)
        self.model = octavo_c.Model(bench.library, path)
        module = next(m for m in self.model.manifest()["modules"] if m["name"] == MODULE)
        self.codes = self.model.tensor(module["scheme"]["codes"]["tensor"], torch.int8)
        self.absmax = self.model.tensor(module["scheme"]["scales"]["tensor"], torch.float32)
        self.linears, self.prepare_seconds, self.on_device = [], [], None

    def device_codes(self, device):
        if self.on_device is None:
            self.on_device = self.codes.to(device)
        return self.on_device

    def prepare(self, device, copies):
        """Every linear is a device copy of its own. Each upload is timed; the file is in the page cache."""
        while len(self.linears) < copies:
            begin = time.perf_counter()
            self.linears.append(octavo_c.Linear(self.model, MODULE, device))
            self.prepare_seconds.append(time.perf_counter() - begin)

    def close(self):
        for linear in self.linears:
            linear.close()
        self.codes = self.absmax = self.on_device = None
        self.model.close()
        shutil.rmtree(self.folder, ignore_errors=True)


# ---- The peers --------------------------------------------------------------------------------

def import_bitsandbytes():
    try:
        import bitsandbytes
        return bitsandbytes
    except Exception as error:  # whatever its libraries raise
        say(f"bitsandbytes is left out: {error}")
        return None


class BitsAndBytes:
    """What Linear8bitLt.forward does with int8 weights: bitsandbytes.matmul with a state."""

    def __init__(self, bitsandbytes, codes, absmax, threshold):
        """`codes`: a tensor for each copy."""
        self.matmul = bitsandbytes.matmul
        self.states = []
        for copy in codes:
            state = bitsandbytes.MatmulLtState()
            state.CB, state.SCB, state.threshold = copy, absmax, threshold
            state.is_training = state.has_fp16_weights = False
            self.states.append(state)

    def __call__(self, copy, x):
        state = self.states[copy]
        return self.matmul(x, state.CB, bias=None, state=state)


# ---- The run ----------------------------------------------------------------------------------

class Bench:
    def __init__(self, arguments, device):
        self.device, self.plan = device, plans.tiny_plan() if arguments.tiny else plans.full_plan()
        self.tiny, self.budget = arguments.tiny, arguments.budget
        self.build = build = pathlib.Path(arguments.build).resolve()
        self.octavo = str(find(build, "octavo", "tools/octavo"))
        self.library = octavo_c.Library(find(build, "liboctavo.so.1", "liboctavo.so", "runtime/liboctavo.so"))
        self.bitsandbytes = import_bitsandbytes()
        self.clock = Clock(device, arguments.rounds)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="octavo-peers-", dir=fastest_folder()))
        self.errors = []
        self.result = {"environment": self.environment(), "ceilings": {}, "cells": [], "eager": [], "checks": [],
                       "uploads": [], "host": {}, "left_out": [], "errors": self.errors}

    def environment(self):
        facts = {"octavo": self.library.version, "torch": torch.__version__,
                 "bitsandbytes": self.bitsandbytes.__version__ if self.bitsandbytes else None,
                 "rounds": self.clock.rounds, "outlier_share": plans.OUTLIER_SHARE}
        if (self.build / "COMMIT").exists():
            facts["commit"] = (self.build / "COMMIT").read_text().strip()
        if self.device.type == "cuda":
            facts |= {"date": datetime.date.today().isoformat(), "driver": driver_version()}
            properties = torch.cuda.get_device_properties(self.device)
            facts |= {"device": properties.name, "multiprocessors": properties.multi_processor_count,
                      "l2_bytes": properties.L2_cache_size, "memory_bytes": properties.total_memory}
        else:
            facts |= {"device": "cpu", "l2_bytes": 4096}
        return facts

    def guarded(self, what, function, *arguments):
        """An error is a result: it is noted, and the run goes on unless the GPU is lost."""
        try:
            return function(*arguments)
        except Exception as error:
            self.errors.append(f"{what}: {error}")
            say(f"{what}: {traceback.format_exc() if len(self.errors) <= 3 else error}")
            if self.device.type == "cuda" and not gpu_answers():
                raise SystemExit(f"the GPU no longer answers after: {what}") from error
            return None

    def rotation(self, bytes_each):
        return int(min(400, max(2, -(-ROTATE_OVER_L2 * self.result["environment"]["l2_bytes"] // bytes_each))))

    def run(self):
        self.guarded("ceilings", self.measure_ceilings)
        for shape in self.plan.shapes:
            if time.monotonic() - START > self.budget:
                self.result["left_out"].append(shape.name)
                continue
            self.guarded(shape.name, self.run_shape, shape)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- ceilings

    def measure_ceilings(self):
        size, side, dtype = (2**30, 8192, torch.bfloat16) if not self.tiny else (2**20, 64, torch.float32)
        source = torch.randint(-100, 100, (size,), dtype=torch.int8, device=self.device)
        target = torch.empty_like(source)
        a, b = (torch.randn(side, side, device=self.device).to(dtype) for _ in range(2))
        ia, ib = ((20 * t).to(torch.int8) for t in (a, b))
        tasks = {
            "copy": self.clock.graph(lambda _: target.copy_(source), 2),
            "bf16": self.clock.graph(lambda _: torch.nn.functional.linear(a, b), 4),
            "int8": self.clock.graph(lambda _: torch._int_mm(ia, ib.t()), 4),
        }
        best = {name: sample.seconds[0] for name, sample in self.clock.interleaved(tasks).items()}
        flops = 2 * side**3
        self.result["ceilings"] = {
            "copy_gbs": 2 * size / best["copy"] / 1e9, "bf16_tflops": flops / best["bf16"] / 1e12,
            "int8_mm_tops": flops / best["int8"] / 1e12, "upload_gbs": self.upload_rate(target)}
        say(f"ceilings: {self.result['ceilings']}")

    def upload_rate(self, target):
        """Host to device from pinned memory, as long a copy as the largest linear's."""
        host = torch.empty(target.numel(), dtype=torch.int8, pin_memory=self.device.type == "cuda").fill_(1)
        task = self.clock.eager(lambda _: target.copy_(host, non_blocking=True), 1)
        return target.numel() / self.clock.interleaved({"upload": task})["upload"].seconds[0] / 1e9

    # -- one shape

    def run_shape(self, shape):
        weights = Weights(self, shape)
        try:
            copies = self.rotation(shape.weights)
            weights.prepare(self.device, copies)
            say(f"{shape.name}: {copies} copies on {weights.linears[0].backend}")
            self.note_upload(shape, weights)
            for name, tokens in shape.tokens.items():
                dtype = getattr(torch, name)
                self.guarded(f"{shape.name} {name} check", self.check, shape, weights, dtype)
                dense = [weights.exact.to(dtype).clone() for _ in range(self.rotation(2 * shape.weights))]
                most = max(*tokens, *shape.peer_tokens, 1)
                callers = {threshold_scope: octavo_c.Caller(weights.linears[0], most, *threshold_scope)
                           for threshold_scope in ((6.0, "batch"), (0.0, "batch"), (6.0, "token"))}
                for count in tokens:
                    self.guarded(f"{shape.name} {name} {count} tokens", self.run_cell, shape, weights, dense, callers,
                                 dtype, count)
                if shape.peer_tokens:
                    self.guarded(f"{shape.name} {name} eager", self.run_eager, shape, weights, dense, callers, dtype)
            if not self.result["host"]:
                self.guarded(f"{shape.name} host", self.check_host, shape, weights)
        finally:
            weights.close()

    def note_upload(self, shape, weights):
        while len(weights.prepare_seconds) < 5:
            weights.prepare(self.device, len(weights.linears) + 1)
        warm = weights.prepare_seconds[1:]
        self.result["uploads"].append({
            "shape": shape.name, "bytes": shape.weights, "first_ms": weights.prepare_seconds[0] * 1e3,
            "ms": sorted(warm)[len(warm) // 2] * 1e3, "gbs": shape.weights / sorted(warm)[len(warm) // 2] / 1e9})

    def check(self, shape, weights, dtype):
        """y against docs/numerics.md in float64, by its bound, for some output features; and against the 16-bit layer."""
        rng = np.random.default_rng(shape.weights)
        features = np.sort(rng.choice(shape.out_features, min(96, shape.out_features), replace=False))
        linear = definition.Weights(weights.codes.numpy()[features],
                                    weights.absmax.numpy()[features].astype(np.float64) / 127)
        for tokens, scope, activations in CHECKS[dtype]:
            x, planted = make_activations(tokens, shape.in_features, dtype, self.device, tokens)
            caller = octavo_c.Caller(weights.linears[0], tokens, 6.0, scope, activations)
            y = caller(weights.linears[0], x)
            whole = torch.nn.functional.linear(x, weights.exact.to(dtype))
            exact = x.float().cpu().numpy()
            quantized = definition.quantize_activations(exact, definition.Settings(scope=scope, activations=activations))
            y64, magnitude = definition.multiply(exact, quantized, linear)
            ours = y.float().cpu().numpy()[:, features]
            # The product of G runs on tensor cores, which truncate; an X is at most three 16-bit terms there.
            bad, share = definition.violations(ours, y64, magnitude, quantized,
                                               "F16" if dtype == torch.float16 else "BF16", terms=3, g=2.0**-23)
            record = {
                "shape": shape.name, "dtype": str(dtype), "tokens": tokens, "scope": scope, "activations": activations,
                "outlier_columns": len(planted), "found_columns": int(len(quantized.outlier_columns)),
                "beyond_bound": int(bad.sum()), "worst_share": float(share.max()),
                "error_from_float64": definition.relative_error(ours, y64),
                "error_from_16_bit": relative_difference(y, whole)}
            self.result["checks"].append(record)
            if record["beyond_bound"] or record["error_from_16_bit"] > 0.05 or planted != list(quantized.outlier_columns):
                self.errors.append(f"wrong result: {record}")

    def run_cell(self, shape, weights, dense, callers, dtype, tokens):
        x, _ = make_activations(tokens, shape.in_features, dtype, self.device, 7)
        linears = weights.linears

        def ours(key):
            return lambda copy: callers[key](linears[copy], x)

        tasks = {
            "cublas": self.clock.graph(lambda copy: torch.nn.functional.linear(x, dense[copy]), len(dense)),
            "octavo": self.clock.graph(ours((6.0, "batch")), len(linears)),
            "octavo_t0": self.clock.graph(ours((0.0, "batch")), len(linears)),
            "octavo_token": self.clock.graph(ours((6.0, "token")), len(linears)),
        }
        if tokens >= self.plan.limits.many_tokens and dtype == torch.float16 and not shape.in_features % 8:
            tasks["int8_mm"] = self.int8_product(weights, tokens)
        record = {"shape": shape.name, "out_features": shape.out_features, "in_features": shape.in_features,
                  "dtype": str(dtype).removeprefix("torch."), "tokens": tokens, "paper_dim": shape.paper_dim}
        record |= {name: sample.json() for name, sample in self.clock.interleaved(tasks).items()}
        self.result["cells"].append(record)

    def int8_product(self, weights, tokens):
        """cuBLASLt's product alone: int8 in, int32 out, nothing quantized or scaled."""
        codes = [weights.device_codes(self.device).clone() for _ in range(2)]
        x = torch.randint(-127, 128, (tokens, codes[0].shape[1]), dtype=torch.int8, device=self.device)
        return self.clock.graph(lambda copy: torch._int_mm(x, codes[copy].t()), len(codes))

    def run_eager(self, shape, weights, dense, callers, dtype):
        copies = min(len(weights.linears), len(dense), 24)
        peers = {}
        if self.bitsandbytes:
            codes, absmax = [weights.device_codes(self.device).clone() for _ in range(copies)], weights.absmax.to(self.device)
            peers = {f"bitsandbytes{suffix}": BitsAndBytes(self.bitsandbytes, codes, absmax, threshold)
                     for suffix, threshold in (("", 6.0), ("_t0", 0.0))}
        for tokens in shape.peer_tokens:
            x, _ = make_activations(tokens, shape.in_features, dtype, self.device, 11)
            calls = copies if tokens <= self.plan.limits.few_tokens else min(copies, 8)
            tasks = {
                "cublas": self.clock.eager(lambda copy: torch.nn.functional.linear(x, dense[copy]), calls),
                "octavo": self.clock.eager(lambda copy: callers[(6.0, "batch")](weights.linears[copy], x), calls),
                "octavo_t0": self.clock.eager(lambda copy: callers[(0.0, "batch")](weights.linears[copy], x), calls),
            }
            tasks |= {name: self.clock.eager(lambda copy, peer=peer: peer(copy, x), calls) for name, peer in peers.items()}
            record = {"shape": shape.name, "dtype": str(dtype).removeprefix("torch."), "tokens": tokens}
            with torch.no_grad():
                record |= {name: sample.json() for name, sample in self.clock.interleaved(tasks).items()}
            for name, peer in peers.items():
                threshold = 6.0 if name == "bitsandbytes" else 0.0
                record[f"{name}_difference"] = relative_difference(
                    callers[(threshold, "batch")](weights.linears[0], x), peer(0, x))
            self.result["eager"].append(record)

    # -- what Forward must not do

    def check_host(self, shape, weights):
        linear, tokens, dtype = weights.linears[0], 16, torch.float16
        x, _ = make_activations(tokens, shape.in_features, dtype, self.device, 1)
        other, _ = make_activations(tokens, shape.in_features, dtype, self.device, 2)
        caller, by_row = (octavo_c.Caller(linear, tokens, 6.0, scope) for scope in ("batch", "token"))
        expected, expected_by_row = caller(linear, other), by_row(linear, other)
        facts = {}
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            free = torch.cuda.mem_get_info()[0]
            done = torch.cuda.Event()
            torch.cuda._sleep(400_000_000)  # cycles: about 0.2 s, while the host goes on
            for _ in range(50):
                caller(linear, x)
            done.record()
            facts["waits_for_the_device"] = done.query()
            torch.cuda.synchronize()
            facts["allocates"] = torch.cuda.mem_get_info()[0] != free
            facts |= self.replay_with_other_outliers(caller, by_row, linear, x, other, expected, expected_by_row)
        self.result["host"] = {"checked": self.device.type == "cuda"} | facts

    def replay_with_other_outliers(self, caller, by_row, linear, x, other, expected, expected_by_row):
        stream, graph, live = self.clock.stream, torch.cuda.CUDAGraph(), x.clone()
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            graph.capture_begin()
            y, y_by_row = caller(linear, live), by_row(linear, live)
            graph.capture_end()
            live.copy_(other)
            graph.replay()
            stream.synchronize()
        close = torch.allclose(y, expected, rtol=2e-3, atol=1e-3)
        facts = {"captured": True, "replay_right": close and torch.equal(y_by_row, expected_by_row),
                 "replay_equal": torch.equal(y, expected)}
        if not facts["replay_right"]:
            self.errors.append("a replayed graph with other outliers gives another result than a call")
        return facts


def find(build, *names):
    for name in names:
        if (build / name).exists():
            return build / name
    raise SystemExit(f"bench_peers: none of {', '.join(names)} in {build}")


def fastest_folder():
    shared = pathlib.Path("/dev/shm")
    try:
        return str(shared) if shutil.disk_usage(shared).free > 8e9 else None
    except OSError:
        return None


def driver_version():
    try:
        return subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], check=True,
                              capture_output=True, text=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def gpu_answers():
    try:
        torch.cuda.synchronize()
        return True
    except Exception:  # torch has several classes for a lost GPU
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True, help="folder with octavo and liboctavo.so.1")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu with --tiny")
    parser.add_argument("--tiny", action="store_true", help="small shapes: only to see that everything runs")
    parser.add_argument("--budget", type=float, default=200, help="seconds after which no further shape is begun")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json")
    parser.add_argument("--markdown")
    arguments = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was measured is still written
    torch.set_grad_enabled(False)
    device = torch.device(arguments.device, 0) if arguments.device == "cuda" else torch.device(arguments.device)
    bench = Bench(arguments, device)
    code = 1
    try:
        bench.run()
        code = 1 if bench.errors else 0
    finally:
        bench.result["seconds"] = time.monotonic() - START
        text = peers_report.markdown(bench.result, bench.plan)
        if arguments.json:
            pathlib.Path(arguments.json).write_text(json.dumps(bench.result, indent=1))
        if arguments.markdown:
            pathlib.Path(arguments.markdown).write_text(text)
        print(text, flush=True)
    return code


START = time.monotonic()
if __name__ == "__main__":
    sys.exit(main())
