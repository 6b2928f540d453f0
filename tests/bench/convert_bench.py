#!/usr/bin/env python3
"""How fast and how small `octavo convert` is, beside what the machine could do at most and what else people use.

    python3 tests/bench/convert_bench.py disk    [--gb 8] [--runs 3]     a sharded checkpoint: time, memory, the disk's share
    python3 tests/bench/convert_bench.py memory  [--gb 4] [--threads 2]  the same with input and output in memory
    python3 tests/bench/convert_bench.py tensors [--count 100000]        a mixture-of-experts model of tiny tensors
    python3 tests/bench/convert_bench.py sparse                          the tensors of a 70B model as holes: 141 GB on no disk
    python3 tests/bench/convert_bench.py peers   [--python VENV/bin/python] [--ctranslate2 VENV/bin/python]

All: --octavo build/tools/octavo, --dir FOLDER (default: a temporary one in the current folder; its disk is what is measured).
Checkpoints are synthetic (synthetic.py) and removed at the end. Figures go to standard output. Exit code 0: everything ran and
memory stayed below its limits, whatever the speed. Needs Python 3.9 with numpy; docs/benchmarks/convert.md has its figures.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import peers  # noqa: E402
import synthetic  # noqa: E402
from observe import MIB, observe  # noqa: E402

PEAK_LIMIT = 256 * MIB  # RssAnon + RssShmem
DATA_LIMIT = 320 * MIB  # RLIMIT_DATA
COPY_BYTES = 8 << 20


def gb(count):
    return f"{count / 1e9:.2f} GB"


def rate(count, seconds):
    return f"{count / 1e9 / seconds:.2f} GB/s"


# ---- What the machine can do --------------------------------------------------------------------

def files_of(folder):
    return sorted(pathlib.Path(folder).glob("*.safetensors"))


def drop_from_cache(paths):
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_seconds(paths):
    buffer = bytearray(COPY_BYTES)
    start = time.monotonic()
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.monotonic() - start


def write_seconds(path, count):
    """Writing `count` bytes into a new file and syncing it."""
    data = os.urandom(COPY_BYTES)
    start = time.monotonic()
    with open(path, "wb", buffering=0) as file:
        for _ in range(count // COPY_BYTES):
            file.write(data)
        file.write(data[:count % COPY_BYTES])
        os.fsync(file.fileno())
    seconds = time.monotonic() - start
    os.unlink(path)
    return seconds


def both_seconds(paths, path, count):
    """Reading `paths` while a second thread writes `count` bytes and syncs them: what the disk does when both are asked of it."""
    start = time.monotonic()
    reader = threading.Thread(target=read_seconds, args=(paths,))
    reader.start()
    write_seconds(path, count)
    reader.join()
    return time.monotonic() - start


def machine_facts(octavo):
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown CPU")
    memory = int(next(line for line in open("/proc/meminfo") if line.startswith("MemTotal")).split()[1]) * 1024
    version = subprocess.run([octavo, "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    return f"{model}, {len(os.sched_getaffinity(0))} CPUs, {memory / 1e9:.0f} GB; Linux {os.uname().release}; {version}"


# ---- The parts ----------------------------------------------------------------------------------

def convert(args, source, output, extra=(), **limits):
    return observe([args.octavo, "convert", source, "-o", output, "--force", "--quiet", *extra], **limits)


def make_llama(folder, gigabytes):
    config = synthetic.llama_of_bytes(int(gigabytes * 1e9))
    return synthetic.write_folder(folder, config, synthetic.llama_tensors(config), 2 * 10**9, synthetic.NormalBlock())


def check_peak(usage, what):
    ok = usage.peak_bytes <= PEAK_LIMIT
    print(f"{what}: {usage.peak_bytes / MIB:.1f} MiB RssAnon + RssShmem at most, in {usage.samples} samples: "
          f"{'within' if ok else 'OVER'} {PEAK_LIMIT // MIB} MiB")
    return ok


def run_disk(args, work):
    source, output = work / "source", work / "out.8vo"
    source_bytes = make_llama(source, args.gb)
    files = files_of(source)
    print(f"source: {gb(source_bytes)} of fp16 in {len(files)} shards")
    ok = True
    for state in ("warm", "cold"):
        rows = []
        for _ in range(args.runs):
            prepare = read_seconds if state == "warm" else drop_from_cache
            prepare(files)
            usage = convert(args, source, output)
            out_bytes = output.stat().st_size
            output.unlink()
            prepare(files)
            reading, writing = read_seconds(files), write_seconds(work / "copy", out_bytes)
            prepare(files)
            both = both_seconds(files, work / "copy", out_bytes)
            rows.append((usage, reading, writing, both))
            print(f"  {state}: convert {usage}; read {reading:.2f} s, write and sync {writing:.2f} s: "
                  f"{usage.wall / (reading + writing):.2f} times; both at once {both:.2f} s")
            ok &= usage.peak_bytes <= PEAK_LIMIT
        wall = statistics.median(row[0].wall for row in rows)
        reading, writing, both = (statistics.median(row[i] for row in rows) for i in (1, 2, 3))
        print(f"{state} page cache, median of {args.runs}: {wall:.2f} s for {gb(source_bytes)} -> {gb(out_bytes)}, "
              f"{statistics.median(row[0].cpu for row in rows):.2f} CPU seconds")
        print(f"  against reading, then writing and syncing as many bytes: {wall / (reading + writing):.2f} times "
              f"({reading:.2f} + {writing:.2f} s, {rate(source_bytes, reading)} and {rate(out_bytes, writing)})")
        print(f"  share of the disk's write bandwidth: {100 * writing / wall:.0f} % of it alone, {100 * both / wall:.0f} % of it "
              f"while the source is read ({both:.2f} s for both at once)")
        ok &= check_peak(max((row[0] for row in rows), key=lambda usage: usage.peak_bytes), "  memory")
    usage = convert(args, source, output, data_limit=DATA_LIMIT)
    print(f"under RLIMIT_DATA = {DATA_LIMIT // MIB} MiB: completed, {usage}")
    usage = convert(args, source, output, ["--max-shard-size", "100MB"])
    print(f"into {len(list(work.glob('out-*.8vo')))} shards: {usage}")
    return check_peak(usage, "  memory") and ok


def run_memory(args, work):
    source, output = work / "source", work / "out.8vo"
    source_bytes = make_llama(source, args.gb)
    files = files_of(source)
    print(f"source: {gb(source_bytes)} of fp16 in memory, output to memory, {args.threads} threads")
    rows = []
    for _ in range(args.runs + 1):  # the first touches the pages of the output for the first time, which is the host's time
        usage = convert(args, source, output, ["--threads", str(args.threads)])
        out_bytes = output.stat().st_size
        output.unlink()
        rows.append((usage, read_seconds(files), write_seconds(work / "copy", out_bytes)))
        print(f"  convert {usage}: {rate(source_bytes, usage.wall)}; one thread reads {rate(source_bytes, rows[-1][1])}, "
              f"writes {rate(out_bytes, rows[-1][2])}")
    wall = min(row[0].wall for row in rows)
    print(f"best: {rate(source_bytes, wall)} of fp16 input")
    return check_peak(rows[-1][0], "memory")


def run_tensors(args, work):
    config, tensors = synthetic.moe_model(args.count)
    source, output = work / "source", work / "out.8vo"
    source_bytes = synthetic.write_folder(source, config, tensors, 10**8, synthetic.NormalBlock())
    print(f"source: {len(tensors):,} tensors, {gb(source_bytes)}")
    usage = convert(args, source, output)
    print(f"convert: {usage}; {output.stat().st_size / 1e6:.1f} MB")
    for options in ([], ["--json"], ["--manifest"]):
        walls = [observe([args.octavo, "inspect", output, *options]).wall for _ in range(5)]
        print(f"inspect {' '.join(options)}: {min(walls):.2f} s")
    plan = observe([args.octavo, "convert", source, "--dry-run"])
    print(f"convert --dry-run: {plan}")
    return check_peak(usage, "memory")


def run_sparse(args, work):
    config = synthetic.llama_config(8192, 28672, 80, 64, 8, 128256)
    source, output = work / "source", work / "out.8vo"
    tensors = list(synthetic.llama_tensors(config))
    shard_bytes = args.shard_gb * 10**9
    source_bytes = synthetic.write_folder(source, config, tensors, shard_bytes, synthetic.Holes())
    files = files_of(source)
    on_disk = sum(path.stat().st_blocks * 512 for path in files)
    print(f"source: {len(tensors)} tensors, {gb(source_bytes)} in {len(files)} files, largest {gb(max(p.stat().st_size for p in files))}; "
          f"{on_disk / 1e6:.1f} MB on the disk")
    usage = convert(args, source, output)
    info = output.stat()
    print(f"convert: {usage}: {rate(source_bytes, usage.wall)}")
    print(f"output: {gb(info.st_size)}, {gb(info.st_blocks * 512)} on the disk")
    described = json.loads(subprocess.run([args.octavo, "inspect", output, "--json"], capture_output=True, check=True).stdout)
    last = max(described["tensors"], key=lambda tensor: tensor["offset"])
    print(f"last tensor: {last['name']} at {last['offset']:,}, {last['offset'] / 2**32:.1f} times 2^32")
    verify = observe([args.octavo, "verify", output])
    print(f"verify: {verify.output.strip()}; {verify}")
    return check_peak(usage, "memory")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["disk", "memory", "tensors", "sparse", "peers"])
    parser.add_argument("--octavo", default=str(HERE.parents[1] / "build" / "tools" / "octavo"))
    parser.add_argument("--dir", default=None, help="folder for the temporary files; memory: default /dev/shm")
    parser.add_argument("--gb", type=float, default=None, help="size of the fp16 checkpoint (disk 8, memory 4)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--shard-gb", type=int, default=200, help="sparse: size of a source file")
    parser.add_argument("--python", default=sys.executable, help="peers: has torch, transformers and bitsandbytes")
    parser.add_argument("--ctranslate2", default=None, help="peers: a Python that has ctranslate2 and transformers")
    args = parser.parse_args()
    args.octavo = str(pathlib.Path(args.octavo).resolve())
    args.gb = args.gb or {"disk": 8.0, "memory": 4.0}.get(args.part)
    work = pathlib.Path(tempfile.mkdtemp(prefix="convert-bench-", dir=args.dir or ("/dev/shm" if args.part == "memory" else ".")))
    print(f"{args.part}: {machine_facts(args.octavo)}; {time.strftime('%Y-%m-%d')}", flush=True)
    try:
        part = {"disk": run_disk, "memory": run_memory, "tensors": run_tensors, "sparse": run_sparse, "peers": peers.run}[args.part]
        return 0 if part(args, work) else 1
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main())
