"""The local transport: one bad job never costs another, slots are bounded, and what runs elsewhere is waited for."""

from __future__ import annotations

import errno
import fcntl
import io
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness import ROOT
from harness.environment import Device
from harness.errors import Exit
from harness.jobs.job import Job, Measurement
from harness.jobs.key import digest
from harness.jobs.kinds import KINDS
from harness.scheduler.fork_server import ForkServer
from harness.scheduler.local import Local
from harness.scheduler.transport import Event
from harness.scheduler.worker import Request, explain, main, report_failure
from harness.store.store import Store
from harness.training.distributed import place
from tests.support.waiting import PATIENCE

MISBEHAVING = ROOT / "tests/support/misbehaving_methods.py"
CPU = Device("cpu", "a processor", 2)


def job(context: str, *needs: Job, kind: str = "complexity", repeats: int = 1, **options) -> Job:
    model = {"kind": "context", "name": f"{MISBEHAVING}:{context}", "options": options, "num_classes": 2}
    config = {"model": model, "input": [[1, 4, 8, 8]]}
    config |= {"convention": "mmcv-hooks"} if kind == "complexity" else {"device": "cpu", "repeats": repeats}
    record = KINDS[kind].config.model_validate(config).model_dump(mode="json")
    key = digest([kind, record, [n.key for n in needs]])
    return Job(kind, record, key, key, {"config": record, "code": {}}, tuple(n.key for n in needs))


def local(store: Store, slots: int = 2) -> Local:
    return Local(store, data_dir=None, device=CPU, slots=slots)


def until(transport: Local, enough: Callable[[list[Event]], bool]) -> list[Event]:
    """Events until `enough` of them have come."""
    seen: list[Event] = []
    deadline = time.monotonic() + PATIENCE
    while not enough(seen):
        assert time.monotonic() < deadline, [(e.job.config["model"]["name"], e.state) for e in seen]
        seen += transport.events(timeout=0.05)
    return seen


def run(store: Store, jobs: Sequence[Job], slots: int = 2) -> dict[str, Event]:
    """How each job ended."""
    transport = local(store, slots)
    try:
        transport.start(jobs, {j.key: j for j in jobs})
        seen = until(transport, lambda _: not transport.active())
    finally:
        transport.close()
    return {e.job.key: e for e in seen if e.state != "started"}


# ------------------------------------------------------------------------------------------------------- bad company

ENDS = {  # context: (cause, what the message holds, exit code of its kind)
    "raises": ("exception", "ValueError: the widths do not fit", Exit.FAILED),
    "user_error": ("error", "label 21 in 000123.png is outside 0..19", Exit.FAILED),
    "leaves": ("died", "ended with exit code 3 and left no result", Exit.FAILED),
    "leaves_well": ("died", "ended with exit code 0 and left no result", Exit.FAILED),
    "exits": ("exception", "SystemExit: enough", Exit.FAILED),
    "killed": (
        "killed",
        "killed by SIGKILL (often the kernel's answer to too little memory; try --jobs 1)",
        Exit.FAILED,
    ),
    "crashes": ("killed", "killed by SIGSEGV", Exit.FAILED),
    "greedy": ("out of memory", "MemoryError", Exit.FAILED),
    "full": ("error", "the disk is full", Exit.OUTPUT),
    "full_to_the_last": ("died", "could not write its results", Exit.OUTPUT),
}


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Job], dict[str, Event]]:
    """Every misbehaving job among good ones, run together."""
    store = Store(tmp_path_factory.mktemp("company"))
    store.prepare()
    jobs = {name: job(name) for name in [*ENDS, "talks"]}
    jobs |= {f"good {i}": job("good", name=str(i)) for i in range(3)}
    mixed = [j for pair in itertools.zip_longest(*[iter(jobs.values())] * 3) for j in reversed(pair) if j is not None]
    return store, jobs, run(store, mixed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDS)
def test_a_bad_job_fails_alone_with_its_cause(company, name: str):
    store, jobs, ended = company
    cause, message, code = ENDS[name]
    event = ended[jobs[name].key]
    assert event.state == "failed"
    assert (event.failure.cause, event.failure.exit) == (cause, code)
    assert message in event.failure.message
    assert store.failure(jobs[name]) == event.failure
    assert store.result(jobs[name]) is None
    assert Path(event.failure.log) == store.folder(jobs[name]) / "log.txt"


def test_good_jobs_among_bad_ones_finish(company):
    store, jobs, ended = company
    for i in range(3):
        assert ended[jobs[f"good {i}"].key].state == "done"
        assert store.result(jobs[f"good {i}"]).value("parameters").value == 1.0


def test_what_a_job_prints_is_in_its_log(company, capfd: pytest.CaptureFixture):
    store, jobs, ended = company
    log = (store.folder(jobs["talks"]) / "log.txt").read_text()
    assert ended[jobs["talks"].key].state == "done"
    assert all(text in log for text in ("to stdout", "to stderr", "from below"))
    assert "the widths do not fit" in (store.folder(jobs["raises"]) / "log.txt").read_text()
    assert "Traceback" in (store.folder(jobs["raises"]) / "log.txt").read_text()


def test_what_needs_a_failed_job_is_skipped_and_the_rest_runs(store: Store):
    bad, good = job("raises"), job("good", name="a")
    child = job("good", bad, name="b")
    grandchild = job("good", child, name="c")
    other = job("good", good, name="d")
    ended = run(store, [bad, good, child, grandchild, other])
    states = [ended[j.key].state for j in (bad, good, child, grandchild, other)]
    assert states == ["failed", "done", "skipped", "skipped", "done"]
    assert store.failure(child) is None, "a skipped job has not failed: nothing keeps it from running later"


def test_a_second_failure_replaces_the_first(store: Store, marks: Path):
    """A job that ends without a word is not blamed on what the attempt before it said."""
    flaky = job("flaky", marks=str(marks))
    assert run(store, [flaky])[flaky.key].failure.message == "ValueError: first attempt"
    assert "exit code 3" in run(store, [flaky])[flaky.key].failure.message
    assert run(store, [flaky])[flaky.key].state == "done"
    assert store.failure(flaky) is None


# -------------------------------------------------------------------------------------------------------------- slots


def spans(marks: Path) -> dict[str, tuple[float, float]]:
    """{name: (started, ended)} of the good jobs that left a mark."""
    found = {}
    for path in marks.glob("*.txt"):
        _, started, ended = path.read_text().split()
        found[path.stem] = (float(started), float(ended))
    return found


def most_at_once(times: Sequence[tuple[float, float]]) -> int:
    return max(sum(start <= other < end for start, end in times) for other, _ in times)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_slots_bound_how_many_run_at_once(store: Store, marks: Path, slots: int):
    jobs = [job("good", marks=str(marks), name=str(i), seconds=0.15) for i in range(6)]
    assert all(e.state == "done" for e in run(store, jobs, slots).values())
    times = list(spans(marks).values())
    assert len(times) == 6
    assert most_at_once(times) <= slots
    pids = {path.read_text().split()[0] for path in marks.glob("*.txt")}
    assert len(pids) == 6, "every job has a process of its own"


def test_two_slots_run_two_jobs_at_once(store: Store, marks: Path):
    jobs = [job("meets", marks=str(marks), name=name, other=other) for name, other in ("ab", "ba")]
    assert [e.state for e in run(store, jobs, slots=2).values()] == ["done", "done"]


def test_an_exclusive_job_has_the_machine_to_itself(store: Store, marks: Path):
    counts = [job("good", marks=str(marks), name=f"count{i}", seconds=0.1) for i in range(3)]
    times = [job("good", kind="latency", marks=str(marks), name=f"time{i}", seconds=0.1) for i in range(2)]
    ended = run(store, [times[0], counts[0], times[1], *counts[1:]])
    assert all(e.state == "done" for e in ended.values())
    found = spans(marks)
    for name in ("time0", "time1"):
        start, end = found[name]
        overlapping = [n for n, (s, e) in found.items() if n != name and s < end and start < e]
        assert overlapping == []


def test_what_is_needed_ends_before_what_needs_it(store: Store, marks: Path):
    first = job("good", marks=str(marks), name="first", seconds=0.1)
    second = job("good", first, marks=str(marks), name="second")
    run(store, [first, second], slots=3)
    assert spans(marks)["first"][1] <= spans(marks)["second"][0]


# ------------------------------------------------------------------------------------------------ elsewhere, and stopping


def test_a_job_that_runs_elsewhere_is_waited_for_and_not_run_twice(store: Store, marks: Path):
    shared = job("good", marks=str(marks), name="shared")
    folder = store.folder(shared)
    folder.mkdir(parents=True)
    transport = local(store)
    try:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            transport.start([shared], {shared.key: shared})
            until(transport, lambda seen: [e.state for e in seen] == ["started"])
            until(transport, lambda _: (folder / "log.txt").exists())
            assert transport.events(timeout=0.3) == []
            store.finish(shared, [Measurement("parameters", 7.0)], {}, 0.0)
        (ended,) = until(transport, lambda seen: bool(seen))
    finally:
        transport.close()
    assert ended.state == "done"
    assert store.result(shared).value("parameters").value == 7.0
    assert list(marks.iterdir()) == []


def test_a_waiting_job_stops_when_asked(store: Store):
    shared = job("good")
    store.folder(shared).mkdir(parents=True)
    transport = local(store)
    try:
        with (store.folder(shared) / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            transport.start([shared], {shared.key: shared})
            until(transport, lambda _: (store.folder(shared) / "log.txt").exists())
            transport.stop()
            seen = until(transport, lambda _: not transport.active())
    finally:
        transport.close()
    assert seen[-1].state == "interrupted"


def test_a_stopped_job_can_be_run_again_and_waiting_ones_are_forgotten(store: Store, marks: Path):
    endless = job("good", kind="latency", repeats=1_000_000, marks=str(marks), name="a")
    waiting = job("good", endless, name="b")
    transport = local(store)
    try:
        transport.start([endless, waiting], {j.key: j for j in (endless, waiting)})
        until(transport, lambda _: (store.folder(endless) / "progress.json").exists())
        transport.stop()
        seen = until(transport, lambda _: not transport.active())
    finally:
        transport.close()
    assert [(e.job.key, e.state) for e in seen] == [(endless.key, "interrupted")]
    assert store.failure(endless) is None
    assert not store.folder(waiting).exists()


def test_a_job_is_no_rank_of_what_started_the_front_end(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Some clusters set RANK and WORLD_SIZE in every container; the job would wait for seven others."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "8", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    environs = []
    monkeypatch.setattr(ForkServer, "start", lambda self, _, arguments, environ, modules: environs.append(environ) or 0)
    only = job("good")
    transport = local(store)
    transport.start([only], {only.key: only})
    transport.close()
    assert [place(environ).world for environ in environs] == [1]


def test_closing_ends_what_still_runs(store: Store, marks: Path):
    endless = job("good", kind="latency", repeats=1_000_000, marks=str(marks), name="a")
    transport = local(store)
    transport.start([endless], {endless.key: endless})
    until(transport, lambda _: (marks / "a.txt").exists())
    pid = int((marks / "a.txt").read_text().split()[0])
    transport.close()
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]


# ------------------------------------------------------------------------------------------------------------- the worker


def test_a_request_survives_its_file(store: Store):
    request = Request(job("good"), str(store.root), None, "cpu", 2, {"train": "there"})
    folder = store.folder(request.job)
    request.write(folder)
    assert Request.read(folder) == request


def test_a_worker_on_what_is_no_folder_says_so(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file")]) == Exit.INPUT
    assert "job.json is not there or not whole" in capsys.readouterr().err


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"job": {}}'])
def test_a_worker_without_a_whole_request_says_so(tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture):
    if text is not None:
        (tmp_path / "job.json").write_text(text)
    assert main([str(tmp_path)]) == Exit.INPUT
    assert "job.json is not there or not whole; start the job with python -m harness run" in capsys.readouterr().err


def test_a_worker_needs_its_folder(capsys: pytest.CaptureFixture):
    assert main([]) == Exit.INPUT
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (KeyError("x"), "exception"),
        (RuntimeError(), "exception"),
    ],
)
def test_an_exception_becomes_a_cause_and_a_line(error: BaseException, cause: str):
    failure = explain(error, log="there")
    assert failure.cause == cause
    assert failure.message
    assert failure.log == "there"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_no_fault_of_the_job(number: int):
    """The run's exit code says so, and what a person is told to type is enough."""
    failure = explain(OSError(number, "no room"), log="there")
    assert failure.exit == Exit.OUTPUT
    assert "repeat the command" in failure.message


def test_a_log_that_takes_no_more_costs_no_cause(store: Store, monkeypatch: pytest.MonkeyPatch):
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    made = job("good")
    request = Request(made, str(store.root), None, "cpu", 1)
    request.write(store.folder(made))
    monkeypatch.setattr(sys, "stderr", Full())
    assert report_failure(request, store.folder(made), OSError(errno.ENOSPC, "No space left on device")) == Exit.OUTPUT
    assert store.failure(made).exit == Exit.OUTPUT


# ------------------------------------------------------------------------------------------------- clocks and company


def test_a_clock_set_back_meanwhile_does_not_change_how_long_a_job_took(store: Store):
    jobs = [job("set_back")]
    assert [event.state for event in run(store, jobs).values()] == ["done"]
    assert 0 < store.result(jobs[0]).seconds < PATIENCE


def test_of_several_processes_the_first_to_fail_says_why(store: Store):
    """The others of a distributed job fail because it is gone."""
    made = job("good")
    request = Request(made, str(store.root), None, "cpu", 1)
    folder = store.folder(made)
    request.write(folder)
    assert report_failure(request, folder, MemoryError()) == Exit.FAILED
    assert report_failure(request, folder, RuntimeError("connection closed by peer")) == Exit.FAILED
    assert store.failure(made).cause == "out of memory"
    assert "connection closed by peer" in (folder / "log.txt").read_text()
