"""What benchmarks of a method against a peer in the same run share: CPU seconds, resident memory, the printed ratio."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def cpu_seconds(*works: Callable[[], None], rounds: int) -> list[float]:
    """Least CPU seconds of each after a warm-up, taken in turn: what a neighbour on the machine adds is not theirs."""
    seconds: list[list[float]] = [[] for _ in works]
    for work in works:
        work()
    for _ in range(rounds):
        for work, taken in zip(works, seconds):
            start = time.process_time()
            work()
            taken.append(time.process_time() - start)
    return [min(taken) for taken in seconds]


def report(benchmark, title: str, ours: float, peer: float, bound: str, unit: str = "CPU s") -> None:
    print(f"\n{title}: ours {ours:.2f} {unit}, peer {peer:.2f} {unit}, ours/peer {ours / peer:.3f} ({bound})")
    benchmark.extra_info.update({"ours": ours, "peer": peer, "ratio": ours / peer, "unit": unit})


def record(benchmark, work: Callable[[], None]) -> None:
    benchmark.pedantic(work, rounds=1)


def resident_peak() -> float:
    """MiB of this program's resident peak. Not getrusage's, which a child process inherits from its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
