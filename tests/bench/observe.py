"""Runs a command and says what it took: wall time, CPU seconds, and the peak of its memory, sampled every 10 ms."""

import os
import pathlib
import resource
import subprocess
import threading
import time

SAMPLE_SECONDS = 0.01
MIB = 1 << 20


class Usage:
    """What one run took. Bytes: the largest sum of RssAnon and RssShmem seen."""

    def __init__(self, wall, cpu, peak_bytes, samples, output):
        self.wall, self.cpu, self.peak_bytes, self.samples, self.output = wall, cpu, peak_bytes, samples, output

    def __str__(self):
        return f"{self.wall:7.2f} s wall, {self.cpu:7.2f} s CPU, {self.peak_bytes / MIB:8.1f} MiB at most"


def memory_bytes(pid):
    """RssAnon + RssShmem of a process: what it holds that the page cache does not. 0 once it is gone."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return sum(int(fields.get(name, "0 kB").split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))


def observe(command, data_limit=None, env=None):
    """Runs `command`, under RLIMIT_DATA = data_limit bytes if given. Raises RuntimeError if it fails."""
    def limit():
        if data_limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (data_limit, data_limit))

    start = time.monotonic()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=limit, env={**os.environ, **(env or {})})
    seen = [0, 0]
    done = threading.Event()

    def sample():
        while not done.is_set():
            seen[0] = max(seen[0], memory_bytes(process.pid))
            seen[1] += 1
            done.wait(SAMPLE_SECONDS)

    sampler = threading.Thread(target=sample)
    sampler.start()
    output = {}
    readers = [threading.Thread(target=lambda key, stream: output.__setitem__(key, stream.read()), args=item)
               for item in (("out", process.stdout), ("err", process.stderr))]
    for reader in readers:
        reader.start()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    done.set()
    for thread in (sampler, *readers):
        thread.join()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {process.returncode}\n{output['err'].decode()}")
    return Usage(wall, used.ru_utime + used.ru_stime, seen[0], seen[1], output["out"].decode())
