"""What a command costs before any number is measured, and what a warm-started job costs beyond its work.

CPU seconds (user + system) of whole processes, the least of several, so that a shared machine does not decide. Peers, in
the same run: an interpreter that only imports what every such tool needs (argparse, yaml, pydantic), and `pytest
--version`, a command line of similar size that does nothing. Cold: the first command after a clone, without any cache.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from harness import ROOT
from harness.environment import Device
from harness.jobs.job import Job
from harness.jobs.key import digest
from harness.jobs.kinds import KINDS
from harness.scheduler.local import Local
from harness.store.store import Store

TABLES = ("tables/idrnet_table2.yaml", "tables/idrnet_table5.yaml")
PEERS = {"imports": ("-c", "import argparse, yaml, pydantic"), "pytest --version": ("-m", "pytest", "--version")}
COMMANDS = {  # arguments, target in CPU seconds
    "--help": (("--help",), 0.1),
    "list": (("list",), 0.15),
    "plan of both IDRNet tables": (("plan", *TABLES), 0.5),
}
REPEATS = 7


def cpu_seconds(arguments: tuple[str, ...], results: Path) -> float:
    """CPU seconds of one interpreter with these arguments, its own children included."""
    environ = {**os.environ, "HARNESS_RESULTS": str(results), "PYTHONPATH": str(ROOT)}
    with open(os.devnull, "w") as null:
        files = [(os.POSIX_SPAWN_DUP2, null.fileno(), 1), (os.POSIX_SPAWN_DUP2, null.fileno(), 2)]
        pid = os.posix_spawn(sys.executable, [sys.executable, *arguments], environ, file_actions=files)
    _, status, usage = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 3)  # 3: a plan whose data is not here
    return usage.ru_utime + usage.ru_stime


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("peers")
    return {name: min(cpu_seconds(code, folder) for _ in range(REPEATS)) for name, code in PEERS.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_cpu_of_a_command(name: str, peers: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    arguments, target = COMMANDS[name]
    cold = cpu_seconds(("-m", "harness", *arguments), tmp_path / "results")
    warm = min(cpu_seconds(("-m", "harness", *arguments), tmp_path / "results") for _ in range(REPEATS))
    ratios = " · ".join(f"{warm / seconds:.2f} × {peer}" for peer, seconds in peers.items())
    print(f"\n{name}: {1000 * warm:.0f} ms CPU ({1000 * cold:.0f} ms cold, target {1000 * target:.0f} ms) · {ratios}")
    assert warm <= target


def counting(number: int) -> Job:
    """A count that takes no time: a 1×1 convolution's worth of a module."""
    model = {"kind": "context", "name": "fcn", "options": {"channels": 1}, "num_classes": 2}
    config = {"model": model, "input": [[1, 1 + number, 4, 4]], "convention": "mmcv-hooks"}
    record = KINDS["complexity"].config.model_validate(config).model_dump(mode="json")
    return Job("complexity", record, digest(record), digest(record), {"config": record, "code": {}})


def test_a_warm_started_job_costs_under_half_a_second(tmp_path: Path):
    """Wall seconds per job beyond its own work, one after another, once the server that jobs are forked from is warm."""
    store = Store(tmp_path)
    store.prepare()

    def run(jobs: list[Job]) -> float:
        transport = Local(store, data_dir=None, device=Device("cpu", "a processor", 1), slots=1)
        started = time.perf_counter()
        transport.start(jobs, {job.key: job for job in jobs})
        while transport.active():
            transport.events(timeout=0.05)
        seconds = time.perf_counter() - started
        transport.close()
        return seconds

    first = run([counting(0)])
    jobs = [counting(number) for number in range(1, 11)]
    total = run(jobs)
    work = sum(store.result(job).seconds for job in jobs)
    overhead = (total - work) / len(jobs)
    print(
        f"\nwarm-started job: {1000 * overhead:.0f} ms beyond its work (target 500 ms); the first, with the server: {first:.1f} s"
    )
    assert all(store.result(job) is not None for job in jobs)
