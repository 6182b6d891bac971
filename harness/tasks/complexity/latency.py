"""Latency of a forward pass and its peak memory beyond input and weights."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Timing:
    """Milliseconds of single passes, in the order they ran."""

    milliseconds: tuple[float, ...]

    def quantile(self, q: float) -> float:
        """Linear interpolation between the sorted times."""
        return float(torch.tensor(self.milliseconds, dtype=torch.float64).quantile(q))


def timed(forward: Callable[[], object], device: str, repeats: int, *, after: Callable[[int], None]) -> Timing:
    """Times `repeats` passes: CUDA events around each on a GPU, the monotonic clock on a CPU. No warm-up of its own.

    `after(i)` runs, untimed, when i passes are done.
    """
    times = []
    for i in range(repeats):
        times.append(_cuda_pass(forward) if device == "cuda" else _cpu_pass(forward))
        after(i + 1)
    return Timing(tuple(times))


class CpuContention:
    """CPU contention: the share of the machine's CPU time used by other processes since the object was created. A
    timing under contention is no property of the model; the report marks it.
    """

    def __init__(self) -> None:
        self._start = self._read()

    def percent(self) -> float | None:
        """0 … 100 of all CPUs; None where the system does not report it, or the interval is too short."""
        end = self._read()
        if self._start is None or end is None or end[1] - self._start[1] < 1.0:  # the clock ticks in hundredths
            return None
        busy, total, own_time = (after - before for before, after in zip(self._start, end))
        return 100 * min(1.0, max(0.0, (busy - own_time) / total))

    @staticmethod
    def _read() -> tuple[float, float, float] | None:
        """CPU seconds of the machine: used, in total, and used by this process."""
        try:
            with open("/proc/stat", encoding="ascii") as file:
                ticks = [int(n) for n in file.readline().split()[1:9]]  # user nice system idle iowait irq softirq steal
        except (OSError, ValueError):
            return None
        total, idle = sum(ticks), ticks[3] + ticks[4]
        second = os.sysconf("SC_CLK_TCK")
        return (total - idle) / second, total / second, time.process_time()


def _cpu_pass(forward: Callable[[], object]) -> float:
    start = time.perf_counter()
    forward()
    return (time.perf_counter() - start) * 1e3


def _cuda_pass(forward: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    forward()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def peak_bytes(forward: Callable[[], object], device: str) -> int:
    """Most bytes that PyTorch held at once during one pass, beyond what it held before (input and weights).

    On a GPU from the allocator's own peak; on a CPU by adding up every allocation and release that the allocator
    reports to the profiler, scratch memory of its kernels included. Memory that a library takes past PyTorch's
    allocator is not seen.
    """
    gc.collect()
    return _peak_cuda(forward) if device == "cuda" else _peak_cpu(forward)


def _peak_cuda(forward: Callable[[], object]) -> int:
    forward()  # libraries take workspaces at their first call and keep them; they are not this pass's
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    forward()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _peak_cpu(forward: Callable[[], object]) -> int:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it writes about absent GPUs to stderr otherwise
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        forward()
    assert profiler.profiler is not None
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    current = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    return peak
