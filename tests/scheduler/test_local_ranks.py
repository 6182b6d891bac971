"""Several processes of one job on this machine: they share a batch, end together, and each has a GPU of its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ROOT, environment
from harness.environment import Device
from harness.errors import Exit
from harness.jobs.job import Job
from harness.jobs.key import digest
from harness.scheduler.local import Local
from harness.scheduler.worker import wait_for_first_rank
from harness.store import curve
from harness.store.store import Store
from tests.scheduler.test_local import until
from tests.support import gpu_cases
from tests.support.waiting import Gate

CPU = Device("cpu", "a processor", 2)
SLOW = ROOT / "tests/support/slow_methods.py"


def training(method: str = "fcn", **settings) -> Job:
    config = gpu_cases.job(method, **settings).model_dump(mode="json")
    key = digest(config)
    return Job("train", config, key, key, {"config": config, "code": {}})


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Of the slow methods."""
    made = Gate(tmp_path)
    yield made
    made.close()


def run(store: Store, *jobs: Job, processes: int = 2):
    """How each job ended."""
    transport = Local(store, data_dir=None, device=CPU, gpus_per_job=processes)
    try:
        transport.start(jobs, {j.key: j for j in jobs})
        seen = until(transport, lambda _: not transport.active())
    finally:
        transport.close()
    return {e.job.key: e for e in seen if e.state != "started"}


@pytest.mark.slow
def test_two_processes_share_a_batch_and_one_that_fails_ends_both(store: Store, tmp_path: Path, gate: Gate):
    """That two compute what one does is held by tests/training."""
    gate.open()
    bad, good = training(f"{SLOW}:uneven", options={"marks": str(tmp_path)}), training(iterations=2)
    ended = run(store, bad, good)
    assert (ended[bad.key].state, ended[bad.key].failure.cause) == ("failed", "out of memory")
    assert "CUDA out of memory" in (store.folder(bad) / "log.txt").read_text(), "what the second process says"
    assert ended[good.key].state == "done", ended[good.key].failure
    result = store.result(good)
    assert result is not None
    assert result.environment["processes"] == 2
    assert len(curve.losses(store.folder(good))) == 2


@pytest.mark.slow
def test_a_killed_process_and_a_stopped_job(store: Store, tmp_path: Path, gate: Gate):
    job = training(f"{SLOW}:slow", options={"marks": str(tmp_path)}, iterations=3, checkpoint_every=1)
    transport = Local(store, data_dir=None, device=CPU, gpus_per_job=2)
    try:
        transport.start([job], {job.key: job})
        until(transport, lambda _: _steps(store, job) >= 1)
        second = transport._running_jobs[0].processes[1]
        os.kill(transport._running_jobs[0].server._pids[second], signal.SIGKILL)
        (event,) = (e for e in until(transport, lambda _: not transport.active()) if e.state != "started")
        assert (event.state, event.failure.cause) == ("failed", "killed")
        assert event.failure.exit == Exit.FAILED

        transport.start([job], {job.key: job})
        until(transport, lambda seen: any(e.state == "started" for e in seen) and _steps(store, job) >= 1)
        transport.stop()
        (event,) = (e for e in until(transport, lambda _: not transport.active()) if e.state != "started")
        assert event.state == "interrupted"
    finally:
        transport.close()
    gate.open()
    assert run(store, job)[job.key].state == "done"


def _steps(store: Store, job: Job) -> int:
    return len(list(store.folder(job).glob("checkpoint-*.pt")))


def test_a_rank_waits_while_another_front_end_has_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A rendezvous would end after an hour, and the job with it."""
    monkeypatch.setenv("MASTER_PORT", "4711")
    waiting = threading.Thread(target=wait_for_first_rank, args=(tmp_path,), daemon=True)
    waiting.start()
    for text in ("", "4712"):  # no rank 0 yet; that of the other front end
        (tmp_path / "lock").write_text(text)
        waiting.join(0.15)
        assert waiting.is_alive()
    (tmp_path / "lock").write_text("4711")
    waiting.join(60)
    assert not waiting.is_alive()


class Server:
    """Notes what would be started."""

    is_ready = is_usable = is_idle = True

    def __init__(self) -> None:
        self.started: list[tuple[str, dict[str, str]]] = []

    def start(self, function, arguments, environ, modules) -> int:
        self.started.append((function.rpartition(":")[2], dict(environ)))
        return len(self.started)

    def wait(self, numbers, timeout) -> None: ...

    def exit_code(self, number) -> int:
        return 0

    def signal(self, number, signal) -> None: ...


def test_each_process_sees_a_gpu_of_its_own(store: Store, monkeypatch: pytest.MonkeyPatch):
    server = Server()
    monkeypatch.setattr(Local, "_server", lambda self: server)
    monkeypatch.setattr(Local, "_take_code", lambda self, jobs: None)
    monkeypatch.setattr("harness.scheduler.local.ensure_usable", lambda *_: None)
    monkeypatch.setattr(environment, "cpus", lambda: 16)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,GPU-1")
    monkeypatch.setenv("RANK", "3")  # of the front end's own company
    jobs = [training(seed=seed) for seed in range(3)]
    transport = Local(store, data_dir=None, device=Device("cuda", "NVIDIA H200", 5), gpus_per_job=2)
    transport.start(jobs, {j.key: j for j in jobs})
    assert transport.slots == 2
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "CUDA_VISIBLE_DEVICES")
    assert [(function, *(environ[n] for n in names)) for function, environ in server.started] == [
        ("run_job", "0", "2", "0", "4"),
        ("run_rank", "1", "2", "1", "5"),
        ("run_job", "0", "2", "0", "6"),
        ("run_rank", "1", "2", "1", "7"),
    ]
    ports = [environ["MASTER_PORT"] for _, environ in server.started]
    assert ports[0] == ports[1] != ports[2] == ports[3]
    assert {r.threads for r in map(_request, [store.folder(j) for j in jobs[:2]])} == {4}
    transport.close()


def _request(folder: Path):
    from harness.scheduler.worker import Request

    return Request.read(folder)
