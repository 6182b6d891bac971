"""Several front ends on one results folder: a job that fails is run once, and its first cause is what each of them says."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import Exit
from harness.jobs.job import Job
from harness.scheduler.local import Local
from harness.scheduler.transport import Event
from harness.scheduler.worker import Request, execute
from harness.store.store import Failure, Store
from tests.scheduler.test_local import job, local, run, until
from tests.support.waiting import PATIENCE


def follow(transports: Sequence[Local]) -> list[dict[str, Event]]:
    """How each job ended, as each front end says; they take turns."""
    said: list[dict[str, Event]] = [{} for _ in transports]
    deadline = time.monotonic() + PATIENCE
    while any(transport.active() for transport in transports):
        assert time.monotonic() < deadline, said
        for transport, ends in zip(transports, said):
            ends |= {e.job.key: e for e in transport.events(timeout=0.01) if e.state != "started"}
    return said


def attempts(store: Store, made: Job) -> int:
    return (store.folder(made) / "log.txt").read_text().count("Traceback (most recent call last)")


@contextlib.contextmanager
def locked(store: Store, jobs: Sequence[Job]) -> Iterator[None]:
    """Nobody runs one of these jobs meanwhile."""
    with contextlib.ExitStack() as locks:
        for each in jobs:
            store.folder(each).mkdir(parents=True, exist_ok=True)
            fcntl.flock(locks.enter_context((store.folder(each) / "lock").open("w")), fcntl.LOCK_EX)
        yield


def test_four_front_ends_say_the_first_cause(store: Store):
    """Each starts with the same jobs, one at a time: whoever comes second waits for the first, and takes its word."""
    jobs = [job("raises", name=str(i)) for i in range(4)] + [job("killed")]
    transports = [local(store, slots=1) for _ in range(4)]
    try:
        with locked(store, jobs):  # a front end that starts when one has failed is asked to repeat it
            for transport in transports:
                transport.start(jobs, {j.key: j for j in jobs})
        said = follow(transports)
    finally:
        for transport in transports:
            transport.close()
    for ends in said:
        assert {j.key: ends[j.key].failure for j in jobs} == {j.key: store.failure(j) for j in jobs}
    assert {store.failure(j).message for j in jobs[:4]} == {"ValueError: the widths do not fit"}
    assert "killed by SIGKILL" in store.failure(jobs[4]).message
    assert [attempts(store, j) for j in jobs[:4]] == [1] * 4


def test_a_job_that_failed_elsewhere_while_it_waited_for_its_turn_is_not_run_again(store: Store, tmp_path: Path):
    bad, busy = job("raises"), job("good", marks=str(tmp_path), name="busy")
    transport = local(store, slots=1)
    try:
        transport.start([busy, bad], {j.key: j for j in (busy, bad)})
        other = run(store, [bad])[bad.key]
        seen = until(transport, lambda _: not transport.active())
    finally:
        transport.close()
    (own,) = [e for e in seen if e.job.key == bad.key and e.state == "failed"]
    assert own.failure == other.failure == store.failure(bad)
    assert attempts(store, bad) == 1


def test_a_repeated_job_says_its_new_cause_and_only_once(store: Store):
    """With --retry-failed in two front ends: the cause of old does not stand, that of the first repetition does."""
    bad = job("raises")
    store.fail(bad, Failure("killed", "an hour ago"))
    transports = [local(store) for _ in range(2)]
    try:
        with locked(store, [bad]):  # both are asked to repeat the cause of old
            for transport in transports:
                transport.start([bad], {bad.key: bad})
        said = follow(transports)
    finally:
        for transport in transports:
            transport.close()
    assert [ends[bad.key].failure.cause for ends in said] == ["exception"] * 2
    assert store.failure(bad).cause == "exception"
    assert attempts(store, bad) == 1


def test_a_worker_that_waited_takes_the_word_of_the_one_before(store: Store):
    """What `execute` does once it has the lock: nothing, where another attempt has failed meanwhile."""
    bad = job("raises")
    Request(bad, str(store.root), None, "cpu", 1).write(store.folder(bad))
    first = store.fail(bad, Failure("out of memory", "the first", int(Exit.FAILED)))
    assert in_child(store.folder(bad), None) == Exit.FAILED
    assert store.failure(bad) == first
    assert in_child(store.folder(bad), first) == Exit.FAILED
    assert store.failure(bad).message == "ValueError: the widths do not fit"


def in_child(folder: Path, earlier: Failure | None) -> int:
    """The exit code of a worker, forked from the test with its modules loaded."""
    importlib.import_module("harness.scheduler.preload")
    child = multiprocessing.get_context("fork").Process(target=lambda: os._exit(execute(folder, earlier=earlier)))
    child.start()
    child.join(PATIENCE)
    assert child.exitcode is not None, "it hangs"
    return child.exitcode


def test_traces_of_an_attempt_are_removed_by_whoever_holds_the_lock(store: Store):
    """A front end that starts a job which runs elsewhere leaves that one's progress where it is."""
    shared = job("good")
    folder = store.folder(shared)
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text('{"done": 3, "total": 9}')
    transport = local(store)
    try:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            transport.start([shared], {shared.key: shared})
            until(transport, lambda _: (folder / "log.txt").exists())
            assert (folder / "progress.json").exists()
        until(transport, lambda _: not transport.active())
    finally:
        transport.close()
    assert store.result(shared) is not None
