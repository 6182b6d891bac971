"""Kill -9 at any instant of a run: of a worker, of the front end, or of both; at random, or aimed at a write's fsync and rename.

The front end is a forked child that runs a plan's jobs one after another, each in a forked child of its own that is the worker
as it always is. So a run takes no import, and dies as a real one does.
"""

from __future__ import annotations

import fnmatch
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

from harness.jobs.job import Job
from harness.scheduler import run
from harness.scheduler.transport import SKIPPED, Event
from harness.scheduler.worker import Request, execute
from harness.store.store import Failure, Store

FORK = multiprocessing.get_context("fork")
Victims = Literal["worker", "front end", "both"]
VICTIMS: tuple[Victims, ...] = ("worker", "front end", "both")
PHASES = ("before fsync", "half-way through fsync", "before replace", "half-way through replace")


@dataclass(frozen=True)
class Aim:
    """Kills whoever writes `file` (a pattern of its name) for the n-th time, at this phase of the write; or both."""

    file: str
    phase: str
    count: int = 1
    both: bool = False

    def __str__(self) -> str:
        return f"{self.phase} of {self.file} {self.count}{', both' if self.both else ''}"


def aim_at(aim: Aim) -> None:
    """From now on this process and its children die as `aim` says; it is to be called in the front end."""
    front, seen = os.getpid(), FORK.Value("i", 0)  # of all processes together
    fsync, replace = os.fsync, os.replace

    def die() -> None:
        if aim.both:
            os.kill(front, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    def is_target(aside: str) -> bool:
        if not fnmatch.fnmatch(Path(aside).name, f".{aim.file}.*.tmp"):
            return False
        seen.value += 1
        return seen.value == aim.count

    def aimed_fsync(handle: int) -> None:
        aside = os.readlink(f"/proc/self/fd/{handle}")
        if "fsync" in aim.phase and is_target(aside):
            if aim.phase.startswith("half-way"):
                os.truncate(aside, os.path.getsize(aside) // 2)
            die()
        fsync(handle)

    def aimed_replace(source: str | Path, target: str | Path) -> None:
        hit = "replace" in aim.phase and is_target(str(source))
        if hit and aim.phase.startswith("before"):
            die()
        replace(source, target)
        if hit:
            die()

    os.fsync, os.replace = aimed_fsync, aimed_replace  # type: ignore[assignment]


class Forked:
    """A transport of one slot whose workers are forked from the front end."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[Job] = []
        self._jobs: Mapping[str, Job] = {}

    def start(self, jobs: Sequence[Job], among: Mapping[str, Job]) -> None:
        self._waiting, self._jobs = list(jobs), among

    def active(self) -> bool:
        return bool(self._waiting)

    def events(self, timeout: float) -> list[Event]:
        job = self._waiting.pop(0)
        if any(self._store.result(self._jobs[key]) is None for key in job.needs):
            return [Event(job, "skipped", SKIPPED)]
        store, folder, earlier = self._store, self._store.folder(job), self._store.failure(job)
        needs = {self._jobs[key].kind: str(store.folder(self._jobs[key])) for key in job.needs}
        Request(job, str(store.root), None, "cpu", 1, needs).write(folder)
        worker = os.fork()
        if worker == 0:
            os._exit(execute(folder, earlier=earlier))
        code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        if store.result(job) is not None:
            return [Event(job, "done")]
        died = Failure("killed" if code < 0 else "died", f"exit code {code}", time=float(os.getpid()))
        return [Event(job, "failed", store.fail(job, died, instead_of=earlier))]

    def stop(self) -> None: ...

    def close(self) -> None: ...


def front_end(store: Store, jobs: Sequence[Job], aim: Aim | None = None) -> BaseProcess:
    """A started front end that runs those of the jobs that have no result, also what failed before."""

    def work() -> None:
        if aim is not None:
            aim_at(aim)
        plan = SimpleNamespace(
            jobs={job.key: job for job in jobs},
            jobs_to_run=lambda store, keep_weights: [job for job in jobs if store.result(job) is None],
            reason=lambda job: None,
        )
        listener = SimpleNamespace(event=lambda event: None, progress=lambda running: None)
        run.run(plan, store, Forked(store), listener, retry_failed=True)  # type: ignore[arg-type]

    process = FORK.Process(target=work)
    process.start()
    return process


def kill(front: BaseProcess, victims: Victims) -> bool:
    """Kills them; whether any was there to be killed."""
    workers = _children(front.pid) if victims != "front end" else []
    hit = False
    for pid in [*([front.pid] if victims != "worker" else []), *workers]:
        try:
            os.kill(pid, signal.SIGKILL)
            hit = True
        except ProcessLookupError:
            continue
    return hit and front.exitcode in (None, -signal.SIGKILL)


def _children(pid: int | None) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def over(process: BaseProcess, patience: float, check: Callable[[], object] = lambda: None) -> int:
    """Its exit code when it has ended."""
    process.join(patience)
    assert process.exitcode is not None, "it hangs"
    check()
    return process.exitcode
