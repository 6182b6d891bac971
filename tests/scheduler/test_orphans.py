"""However and whenever a front end ends, no process of its run is left: jobs, their data workers, the server they come from."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.scheduler.fork_server import deferred_interrupts
from harness.store.store import Store
from tests.scheduler.test_local import job, local, run, until
from tests.support import waiting
from tests.support.checkout import Checkout
from tests.support.waiting import PATIENCE

TABLE = """\
paper: ours
title: A training that nobody waits for
columns:
  miou: {metric: miou, recipe: own/long}
rows:
  fcn: {method: 'FOLDER/own.py:own', model: {backbone: timm/test_resnet}}
"""
METHOD = """
import os
import signal

from methods.fcn import fcn
from methods.registry import register


@register("own")
def own(backbone, num_classes):
    for _ in range(2):  # as data workers are: in the job's process group, and deaf to what stops it
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                signal.pause()
    return fcn(backbone, num_classes, channels=8)
"""
RECIPE = """\
long:
  dataset: synthetic
  batch_size: 2
  iterations: 1000000
  augmentation: {resize: [48, 48], crop: [32, 32]}
  test: {resize: [48, 48]}
"""


def processes(mark: str) -> list[str]:
    """The commands of all processes that have `mark` in the environment they were started with, also of forked ones."""
    commands = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"HARNESS_MARK={mark}".encode() in (folder / "environ").read_bytes():
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                commands += [f"{folder.name} {command}"] if command else []  # else it is a zombie
        except OSError:
            continue
    return commands


def server_starts(results: Path, mark: str) -> bool:
    return len(processes(mark)) > 1


def job_is_recorded(results: Path, mark: str) -> bool:
    return any(results.rglob("job.json"))


def job_runs(results: Path, mark: str) -> bool:
    return any(results.rglob("log.txt"))


def workers_run(results: Path, mark: str) -> bool:
    """Front end, server, job, and two processes of its own."""
    return len(processes(mark)) >= 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("instant", "signals"),
    [
        (server_starts, [signal.SIGINT, signal.SIGINT]),
        (job_is_recorded, [signal.SIGKILL]),
        (job_runs, [signal.SIGINT, signal.SIGINT]),
        (workers_run, [signal.SIGKILL]),
    ],
)
def test_no_process_is_left_over(checkout: Checkout, tmp_path: Path, instant: Callable, signals: list[int]):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/own.yaml").write_text(RECIPE)
    (tmp_path / "long.yaml").write_text(TABLE.replace("FOLDER", str(tmp_path)))
    (tmp_path / "own.py").write_text(METHOD)
    mark = uuid.uuid4().hex
    command = ("run", tmp_path / "long.yaml", "--no-figures", "--device", "cpu")
    process = checkout.start(*command, start_new_session=True, environ={"HARNESS_MARK": mark})
    waiting.until(lambda: instant(checkout.results, mark), instant.__name__, process)
    for number in signals:
        if process.poll() is None:
            os.killpg(process.pid, number)  # as a terminal does: to every process of the group
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == (130 if signal.SIGINT in signals else -signal.SIGKILL), out + err
    assert "Traceback" not in err
    waiting.until(lambda: not processes(mark), "no process is left")
    assert checkout.json("train") == []


def test_ctrl_c_is_acted_on_when_what_was_started_is_recorded():
    recorded = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with deferred_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            recorded.append(True)
        recorded.append(False)
    assert recorded == [True]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


@pytest.mark.slow
def test_what_a_job_has_started_ends_with_it(store: Store, marks: Path):
    only = job("leaves_a_process", marks=str(marks))
    assert run(store, [only])[only.key].state == "done"
    pid = int((marks / "process").read_text())
    waiting.until(lambda: is_gone(pid), "the process of the job is gone")


@pytest.mark.slow
def test_jobs_end_with_the_server_they_come_from_and_others_get_a_new_one(store: Store, marks: Path):
    """Killed, as the kernel may do when memory is short: its jobs have failed, and the run goes on."""
    endless = job("good", kind="latency", repeats=1_000_000, marks=str(marks), name="a")
    other = job("good", marks=str(marks), name="b")
    transport = local(store, slots=1)
    try:
        transport.start([endless], {j.key: j for j in (endless, other)})
        until(transport, lambda _: (marks / "a.txt").exists())
        pid = int((marks / "a.txt").read_text().split()[0])
        transport._running_jobs[0].server._process.kill()
        (lost,) = until(transport, lambda seen: bool(seen))
        transport.start([other], {other.key: other})
        seen = until(transport, lambda _: not transport.active())
    finally:
        transport.close()
    assert (lost.state, lost.failure.cause) == ("failed", "killed")
    assert is_gone(pid)
    assert [e.state for e in seen if e.state != "started"] == ["done"]
