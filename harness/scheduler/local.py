"""The local transport: a bounded queue with device slots, one process per job, forked from a server with modules loaded."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from harness import environment
from harness.errors import Exit
from harness.jobs.context import RANK_VARIABLES
from harness.jobs.job import Job
from harness.jobs.kinds import KINDS
from harness.scheduler.gpu_check import ensure_usable
from harness.scheduler.transport import SKIPPED, Event, State
from harness.scheduler.waiting import WaitingJobs
from harness.scheduler.worker import Request, describe_silent_exit, execute
from harness.store.store import Failure, Store

_GRACE = 30.0  # seconds a job may take to save and stop before it is killed


@dataclass
class _RunningJob:
    job: Job
    process: BaseProcess
    slots: list[int]


class Local:
    """Runs up to `slots` jobs at once (default: one per GPU, or per CPU); an exclusive job runs alone.

    The CPUs are divided between the slots as threads; on GPUs each job sees only its own.
    """

    def __init__(
        self, store: Store, *, data_dir: Path | None, device: environment.Device, slots: int | None = None
    ) -> None:
        self._store, self._data_dir, self._device = store, data_dir, device
        self.slots = slots or device.slots
        self._free = list(range(self.slots))
        self._waiting_jobs = WaitingJobs()
        self._running_jobs: list[_RunningJob] = []
        self._jobs: dict[str, Job] = {}
        self._earlier: dict[str, Failure | None] = {}  # by key: the failure that this run is to repeat
        self._events: list[Event] = []
        self._deadline: float | None = None
        self._server = multiprocessing.get_context("forkserver")
        self._server.set_forkserver_preload(["harness.scheduler.preload"])

    def start(self, jobs: Sequence[Job], among: Mapping[str, Job]) -> None:
        if jobs and self._device.kind == "cuda":
            ensure_usable(self._device, self._server)
        self._jobs.update(among)
        self._waiting_jobs.add(jobs, (r.job.key for r in self._running_jobs))
        self._earlier |= {job.key: self._store.failure(job) for job in jobs}
        self._fill()

    def active(self) -> bool:
        return bool(self._waiting_jobs or self._running_jobs or self._events)

    def events(self, timeout: float) -> list[Event]:
        if not self._events and self._running_jobs:
            wait([r.process.sentinel for r in self._running_jobs], timeout)
        for running_job in [r for r in self._running_jobs if not r.process.is_alive()]:
            self._finish(running_job)
        if self._deadline is not None and time.monotonic() > self._deadline:
            for running_job in self._running_jobs:
                running_job.process.kill()
        self._fill()
        events, self._events = self._events, []
        return events

    def stop(self) -> None:
        self._waiting_jobs.clear()
        self._deadline = time.monotonic() + _GRACE
        for running_job in self._running_jobs:
            running_job.process.terminate()

    def close(self) -> None:
        for running_job in self._running_jobs:
            running_job.process.kill()
            running_job.process.join()

    # -------------------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Starts what can start: ordinary jobs while a slot is free, an exclusive one when nothing else is left to."""
        while (job := self._waiting_jobs.first()) is not None:
            exclusive = KINDS[job.kind].exclusive
            if not self._free or (exclusive and self._running_jobs):
                return
            self._waiting_jobs.remove(job)
            self._launch(job, self._free[:] if exclusive else self._free[:1])
            if exclusive:
                return

    def _end(self, job: Job, state: State, failure: Failure | None = None) -> None:
        """Notes how a job ended; those that need it become ready, or never start."""
        self._events.append(Event(job, state, failure))
        if state == "done":
            self._waiting_jobs.finished(job.key)
        else:
            self._events += [Event(other, "skipped", SKIPPED) for other in self._waiting_jobs.failed(job.key)]

    def _launch(self, job: Job, slots: list[int]) -> None:
        if (failure := self._new_failure(job)) is not None:  # another front end was first with it
            self._end(job, "failed", failure)
            return
        self._free = [s for s in self._free if s not in slots]
        folder = self._store.folder(job)
        threads = max(1, environment.cpus() * len(slots) // self.slots)
        dependencies = [self._jobs[key] for key in job.needs]
        needs = {n.kind: str(self._store.folder(n)) for n in dependencies}
        data_dir = str(self._data_dir) if self._data_dir else None
        request = Request(job, str(self._store.root), data_dir, self._device.kind, threads, needs)
        request.write(folder)
        environ = {"CUDA_VISIBLE_DEVICES": self._gpu(slots[0])} if self._device.kind == "cuda" else {}
        process = self._server.Process(target=_child, args=(str(folder), environ, self._earlier[job.key]), daemon=False)
        process.start()
        self._running_jobs.append(_RunningJob(job, process, slots))
        self._events.append(Event(job, "started"))

    def _gpu(self, slot: int) -> str:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [str(i) for i in range(self._device.slots)]
        return devices[slot % len(devices)].strip()

    def _finish(self, running_job: _RunningJob) -> None:
        running_job.process.join()
        self._running_jobs.remove(running_job)
        self._free = sorted(self._free + running_job.slots)
        job, code = running_job.job, running_job.process.exitcode or 0
        if self._store.result(job) is not None:  # also of one that was killed after it had stored it
            self._end(job, "done")
        elif code == Exit.RESUMABLE or (self._deadline is not None and code <= 0):
            self._end(job, "interrupted")
        else:
            self._end(job, "failed", self._new_failure(job) or self._died(job, code))

    def _new_failure(self, job: Job) -> Failure | None:
        """The job's failure since this run began."""
        failure = self._store.failure(job)
        return failure if failure != self._earlier[job.key] else None

    def _died(self, job: Job, code: int) -> Failure:
        """The failure record of a job whose process ended without writing one."""
        cause, message, kind = "died", describe_silent_exit(code), Exit.OUTPUT if code == Exit.OUTPUT else Exit.FAILED
        if code < 0:
            hint = " (often the kernel's answer to too little memory; try --jobs 1)" if -code == signal.SIGKILL else ""
            cause, message = "killed", f"killed by {signal.Signals(-code).name}{hint}"
        failure = Failure(cause, message, int(kind), time.time(), str(self._store.folder(job) / "log.txt"))
        return self._store.fail(job, failure, instead_of=self._earlier[job.key])


def _child(folder: str, environ: dict[str, str], earlier: Failure | None) -> None:
    """Runs in the forked process."""
    os.setpgrp()  # Ctrl-C in a terminal must not reach it
    for name in RANK_VARIABLES:  # of what started the front end, and not of this job
        os.environ.pop(name, None)
    code = execute(Path(folder), environ, earlier=earlier)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(
            OSError, ValueError
        ):  # a log that takes no more, or is closed, must not change the code
            stream.flush()
    os._exit(code)  # no clean-up of what belongs to the server
