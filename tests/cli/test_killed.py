"""The command itself and the processes of its jobs, killed at random instants and started again: `pytest -m kills`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.kills import VICTIMS, Victims
from tests.support.slurm_machine import SlurmBench, bench_in

KILLS = 6


def workers(results: Path) -> list[int]:
    """The processes that run jobs of this folder: each holds its job's lock open."""
    found = []
    for handle in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            target = Path(os.readlink(handle))
            if target.name == "lock" and target.is_relative_to(results / "jobs"):
                found.append(int(handle.parts[2]))
    return found


def kill(front: subprocess.Popen[str], results: Path, victims: Victims) -> bool:
    """Kills them; whether any was there to be killed."""
    pids = workers(results) if victims != "front end" else []
    pids += [front.pid] if victims != "worker" and front.poll() is None else []
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(pids)


@pytest.mark.slow
@pytest.mark.kills
def test_a_run_that_is_killed_again_and_again_measures_what_an_undisturbed_one_does(tmp_path: Path):
    bench: SlurmBench = bench_in(tmp_path, dict(os.environ))
    bench.gate.open()
    tables = [bench.trainings(iterations=30), bench.counts(one=("good", {}))]
    command = ["run", *tables, "--profile", "scenes", "--repetitions", 2, "--no-figures", "--jobs", 2, "--retry-failed"]
    began = time.perf_counter()
    bench(*command, results=tmp_path / "undisturbed")
    lasts, truth = time.perf_counter() - began, bench.numbers(tmp_path / "undisturbed")
    draw, waiting, folders = random.Random(17), [*VICTIMS] * (KILLS // 3), 1
    results = tmp_path / "0"
    while waiting:
        front = bench.start(*command, results=results)
        hit = False
        while front.poll() is None and not hit:  # a worker may not be there yet
            with suppress(subprocess.TimeoutExpired):
                front.wait(draw.uniform(0, lasts / 2))
            hit = kill(front, results, waiting[0])
        front.communicate()
        waiting = waiting[hit:]
        assert bench.numbers(results).items() <= truth.items()
        if bench.numbers(results) == truth:
            results, folders = tmp_path / str(folders), folders + 1
    bench(*command, results=results)
    assert bench.numbers(results) == truth
    assert list(results.glob("jobs/*/*/*/failure.json")) == []
