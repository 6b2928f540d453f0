"""Clocks: CUDA graphs replayed between events, eager wall time, and both with plain wall time where there is no GPU.

A Task is one function of one variant, called on copy after copy of the weights so that no cache serves them twice.
`interleaved` times tasks in rounds, so that a change of the machine's clock meets all of them.
"""

import statistics
import time

import torch


class Sample:
    """Seconds of one call, one figure for each round."""

    def __init__(self, seconds):
        self.seconds = sorted(seconds)
        self.median = statistics.median(self.seconds)

    @property
    def spread(self):
        """(third quartile - first quartile) / median."""
        n = len(self.seconds)
        return (self.seconds[(3 * n) // 4 if n > 1 else 0] - self.seconds[n // 4]) / self.median

    def json(self):
        return {"ms": self.median * 1e3, "spread": self.spread, "min_ms": self.seconds[0] * 1e3,
                "max_ms": self.seconds[-1] * 1e3}


class EagerTask:
    """Wall time from the first call's begin until the device has finished the last."""

    def __init__(self, function, copies):
        self.function, self.copies = function, copies

    def run(self):
        for copy in range(self.copies):
            self.function(copy)

    def time(self, device):
        synchronize(device)
        begin = time.perf_counter()
        self.run()
        synchronize(device)
        return (time.perf_counter() - begin) / self.copies


class GraphTask:
    """The calls captured once as a CUDA graph. Capture itself fails on a synchronization or an allocation that CUDA
    would have to make, so a graph that exists is a proof of their absence."""

    def __init__(self, function, copies, stream, pool, at_least=1e-3):
        self.copies = copies
        with torch.cuda.stream(stream):
            function(0)  # loads modules, chooses plans
            stream.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            self.graph.capture_begin(pool=pool)  # torch.cuda.graph would empty torch's cache each time
            try:
                for copy in range(copies):
                    function(copy)
            finally:
                self.graph.capture_end()
            self.graph.replay()
            stream.synchronize()
            self.replays = 1
            self.replays = max(1, min(64, round(at_least / max(self.submit(stream)(), 1e-7) / copies)))

    def submit(self, stream):
        """Enqueues one sample on `stream`; the function returned gives its seconds for each call, and waits."""
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        with torch.cuda.stream(stream):
            begin.record()
            for _ in range(self.replays):
                self.graph.replay()
            end.record()

        def seconds():
            end.synchronize()
            return begin.elapsed_time(end) / 1e3 / (self.replays * self.copies)
        return seconds


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


class Clock:
    def __init__(self, device, rounds):
        self.device, self.rounds = device, rounds
        on_gpu = device.type == "cuda"
        self.stream = torch.cuda.Stream() if on_gpu else None
        # One pool of memory for all graphs, for none needs another's outputs. It lives as long as a graph has it.
        self.pool = torch.cuda.graph_pool_handle() if on_gpu else None
        self.anchor = self.graph(lambda _: torch.zeros(1, device=device), 1) if on_gpu else None

    def graph(self, function, copies):
        """On the CPU: the same calls, timed by the wall clock."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # what other streams prepared
            return GraphTask(function, copies, self.stream, self.pool)
        return EagerTask(function, copies)

    def eager(self, function, copies):
        return EagerTask(function, copies)

    def interleaved(self, tasks):
        """name -> task, all graph tasks or all eager ones; name -> Sample."""
        seconds = {name: [] for name in tasks}
        if all(isinstance(task, GraphTask) for task in tasks.values()):
            pending = [(name, task.submit(self.stream)) for _ in range(self.rounds) for name, task in tasks.items()]
            for name, wait in pending:
                seconds[name].append(wait())
        else:
            for task in tasks.values():
                task.run()
            for _ in range(self.rounds):
                for name, task in tasks.items():
                    seconds[name].append(task.time(self.device))
        return {name: Sample(values) for name, values in seconds.items()}
