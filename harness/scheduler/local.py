"""The local transport: a bounded queue with device slots, one process per job.

Jobs run the code that they were planned with, from a snapshot (harness.scheduler.code_snapshot), forked from a server with
modules loaded (harness.scheduler.fork_server) and recorded here before they start.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import environment
from harness.errors import Exit
from harness.jobs.context import RANK_VARIABLES
from harness.jobs.job import Job
from harness.jobs.kinds import KINDS
from harness.scheduler import code_snapshot, fork_server
from harness.scheduler.fork_server import GRACE, LIBRARIES, RUN_JOB, RUN_RANK, ForkServer, deferred_interrupts
from harness.scheduler.gpu_check import ensure_usable
from harness.scheduler.relations import Relations
from harness.scheduler.transport import SKIPPED, Event, State
from harness.scheduler.waiting import WaitingJobs
from harness.scheduler.worker import Request, describe_silent_exit
from harness.store.store import Failure, Store


@dataclass
class _RunningJob:
    """`first`, `processes`: numbers by which the server knows the job's rank 0, and those that have not ended."""

    job: Job
    server: ForkServer
    first: int
    processes: list[int]
    slots: list[int]
    code: int | None = None

    def exit_code(self) -> int | None:
        """When all of its processes have ended: rank 0's exit code, or that of the rank that failed first.

        The others are then killed: they would wait for the one that is gone, and what rank 0 stores is whole when it ends.
        """
        for number in self.processes[:]:
            code = self.server.exit_code(number)
            if code is None:
                continue
            self.processes.remove(number)
            if number == self.first or code not in (Exit.OK, Exit.RESUMABLE):
                self.code = code if self.code is None else self.code
                for other in self.processes:
                    self.server.signal(other, signal.SIGKILL)
        return None if self.processes else self.code


class Local:
    """Runs up to `slots` jobs at once (default: as many as there are GPUs, or CPUs, for); an exclusive job runs alone.

    A training or a test has `gpus_per_job` processes, each with a GPU of its own where there are any, joined by NCCL or gloo.
    The CPUs are divided between all processes as threads; on GPUs each sees only its own.
    """

    def __init__(
        self,
        store: Store,
        *,
        data_dir: Path | None,
        device: environment.Device,
        slots: int | None = None,
        gpus_per_job: int = 1,
    ) -> None:
        self._store, self._data_dir, self._device = store, data_dir, device
        self.slots, self._gpus_per_job = slots or max(1, device.slots // gpus_per_job), gpus_per_job
        self._free = list(range(self.slots))
        self._waiting_jobs = WaitingJobs()
        self._running_jobs: list[_RunningJob] = []
        self._relations = Relations(store.folder)
        self._earlier: dict[str, Failure | None] = {}  # by key: the failure that this run is to repeat
        self._events: list[Event] = []
        self._deadline: float | None = None
        self._code: Path | None = None
        self._locks: list[int] = []  # while they are open, no other run removes the code

    @deferred_interrupts()
    def start(self, jobs: Sequence[Job], among: Mapping[str, Job]) -> None:
        """Takes over these jobs. UserError where code was edited after they were planned, MissingError for an unusable GPU."""
        if jobs:
            self._take_code(jobs)
            server = self._server()
            if self._device.kind == "cuda":
                ensure_usable(self._device, server, self._store.cache, jobs)
        self._relations.add(among)
        self._waiting_jobs.add(jobs, (r.job.key for r in self._running_jobs))
        self._earlier |= {job.key: self._store.failure(job) for job in jobs}
        self._fill()

    def active(self) -> bool:
        return bool(self._waiting_jobs or self._running_jobs or self._events)

    @deferred_interrupts()
    def events(self, timeout: float) -> list[Event]:
        if not self._events and self._running_jobs:
            self._wait(timeout)
        for running_job in list(self._running_jobs):
            code = running_job.exit_code()
            if code is not None:
                self._finish(running_job, code)
        if self._deadline is not None and time.monotonic() > self._deadline:
            self._signal(signal.SIGKILL)
        self._fill()
        events, self._events = self._events, []
        return events

    @deferred_interrupts()
    def stop(self) -> None:
        self._waiting_jobs.clear()
        self._deadline = time.monotonic() + GRACE
        self._signal(signal.SIGTERM)

    @deferred_interrupts()
    def close(self) -> None:
        self._signal(signal.SIGKILL)
        deadline = time.monotonic() + GRACE
        while self._running_jobs:
            running_job = self._running_jobs[0]
            self._wait(deadline - time.monotonic())
            if running_job.exit_code() is not None or running_job.server.is_idle or time.monotonic() > deadline:
                del self._running_jobs[0]
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()

    # -------------------------------------------------------------------------------------------------------------

    def _take_code(self, jobs: Sequence[Job]) -> None:
        """Copies the code of these jobs, and keeps the copy until `close`. UserError where it was edited meanwhile."""
        folder, lock = self._store.cache / "code", None
        while lock is None:  # None: another run has just swept it
            code = code_snapshot.snapshot(folder, jobs, cache=self._store.cache)
            lock = code_snapshot.hold(code)
        self._locks.append(lock)
        self._code = code
        code_snapshot.sweep(folder, keep=code)

    def _server(self) -> ForkServer:
        """The server of the code; a new one where there is none, or no longer."""
        assert self._code is not None
        return fork_server.running(self._code.name) or fork_server.launch(self._code, self._locks[-1])

    def _wait(self, timeout: float) -> None:
        server = self._running_jobs[0].server  # the only one, unless it was lost a moment ago
        server.wait([n for r in self._running_jobs if r.server is server for n in r.processes], timeout)

    def _signal(self, number: signal.Signals) -> None:
        for running_job in self._running_jobs:
            if not running_job.server.is_ready:  # it has started nothing yet
                running_job.server.kill()
                continue
            for process in running_job.processes:
                running_job.server.signal(process, number)

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
        ranks = self._gpus_per_job if KINDS[job.kind].trains else 1
        threads = max(1, environment.cpus() * len(slots) // (self.slots * ranks))
        data_dir = str(self._data_dir) if self._data_dir else None
        place = (str(self._store.root), data_dir, self._device.kind, threads)
        Request(job, *place, *self._relations.of(job)).write(folder)
        environs = self._environs(slots[0], ranks)
        server, earlier = self._server(), self._earlier[job.key]
        modules = self._libraries(job)
        run = [str(folder), asdict(earlier) if earlier is not None else None]
        first = server.start(RUN_JOB, run, environs[0], modules)
        others = [server.start(RUN_RANK, [str(folder)], environ, modules) for environ in environs[1:]]
        self._running_jobs.append(_RunningJob(job, server, first, [first, *others], slots))
        self._events.append(Event(job, "started"))

    def _libraries(self, job: Job) -> list[str]:
        """What the server is to load before this job. Not with GPUs: no library is trusted to leave CUDA alone on import."""
        packages = job.parts.get("packages") or {} if self._device.kind == "cpu" else {}
        return [module for package in packages for module in LIBRARIES.get(package, ())]

    def _environs(self, slot: int, ranks: int) -> list[dict[str, str]]:
        """The environment of each process of a job in this slot: its GPU, and torchrun's variables where it has company."""
        # what started the front end may have set the variables of ranks; they are not this job's
        common = {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
        if ranks > 1:
            common |= {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        environs = []
        for rank in range(ranks):
            company = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}
            gpu = {"CUDA_VISIBLE_DEVICES": self._gpu(slot, rank)} if self._device.kind == "cuda" else {}
            environs.append(common | company | gpu)
        return environs

    def _gpu(self, slot: int, rank: int) -> str:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [str(i) for i in range(self._device.slots)]
        return devices[(slot * self._gpus_per_job + rank) % len(devices)].strip()

    def _finish(self, running_job: _RunningJob, code: int) -> None:
        self._running_jobs.remove(running_job)
        self._free = sorted(self._free + running_job.slots)
        job = running_job.job
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


def _free_port() -> int:
    """A port of this machine that nothing listens on: where the processes of a job meet."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
