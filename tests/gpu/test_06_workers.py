"""Data workers beside a GPU: the same batches as without, deaf to stop signals, on one OpenCV thread; a dead one has a cause."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from harness.errors import Exit
from harness.jobs.job import Job
from harness.scheduler.worker import Request
from harness.store import curve
from harness.store.store import Store
from harness.training import checkpoint
from tests.support.gpu_cases import DEVICE, job, training
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.gpu


def test_the_same_batches_as_without(tmp_path):
    run = training(job(), tmp_path / "job")
    source = run.batches.__self__
    batches = {}
    for workers in (0, 4):
        source.workers = workers
        batches[workers] = list(source.batches(0, 50 if DEVICE == "cuda" else 6))
    for a, b in zip(batches[0], batches[4], strict=True):
        assert a.ids == b.ids
        assert all(torch.equal(x, y) for x, y in zip(a[:3], b[:3]))
    if DEVICE == "cuda":
        assert all(tensor.is_pinned() for batch in batches[4] for tensor in batch[:3])


def started(tmp_path):
    """A training of many iterations in a process group of its own, and its folder."""
    endless = job(iterations=1_000_000).model_dump(mode="json")
    record = Job("train", endless, "k" * 64, "i" * 64, {})
    folder = Store(tmp_path).folder(record)
    Request(record, str(tmp_path), None, DEVICE, 4).write(folder)
    command = [sys.executable, "-m", "harness.scheduler.worker", str(folder)]
    process = subprocess.Popen(command, start_new_session=True)

    def has_begun() -> bool:
        assert process.poll() is None, (folder / "log.txt").read_text()
        return bool(curve.read(folder))

    until(has_begun, "its first step")
    return process, folder, record


def test_sigterm_to_the_whole_group_saves(tmp_path):
    process, folder, _ = started(tmp_path)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE) == Exit.RESUMABLE
    (saved,) = checkpoint.listing(folder)
    assert saved.iteration >= 1
    assert saved.intact()


@pytest.mark.cuda
def test_a_killed_worker_has_a_cause(tmp_path):
    process, _, record = started(tmp_path)
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    assert len(workers) >= 4
    os.kill(int(workers[-1]), signal.SIGKILL)
    assert process.wait(PATIENCE) != 0
    failure = Store(tmp_path).failure(record)
    assert failure is not None
    assert "memory" in f"{failure.cause} {failure.message}"
