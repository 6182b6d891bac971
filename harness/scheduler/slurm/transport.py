"""The Slurm transport: submits jobs and follows them through the shared folder; the front end may die and restart."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.errors import Exit, UserError
from harness.jobs.job import Job
from harness.jobs.kinds import KINDS
from harness.plan.durations import durations
from harness.scheduler.code_snapshot import snapshot
from harness.scheduler.machine_causes import REPEATED_AS
from harness.scheduler.relations import Relations
from harness.scheduler.slurm import sbatch
from harness.scheduler.slurm.causes import TaskState, cause_of, tail
from harness.scheduler.slurm.cluster_file import Cluster, minutes_for
from harness.scheduler.slurm.controller import Controller, SubmissionRefused
from harness.scheduler.slurm.ledger import Array, Attempt, Ledger
from harness.scheduler.slurm.sbatch import ArrayBatch, Shape
from harness.scheduler.transport import SKIPPED, Event
from harness.scheduler.worker import Request
from harness.store.interruption import read_progress
from harness.store.store import Failure, Store
from harness.text import duration, plural

Submit = Callable[[Array, Sequence[Path], Cluster, Shape, Path, str | None], str]

_SETTLE = 5.0  # seconds a shared folder may take to show what a node wrote before Slurm called the job over
_LOST_AFTER = 60.0  # seconds Slurm must know nothing of a job before it counts as lost
_BACK_OFF = 1.5  # while nothing happens the controller is asked less and less often,
_SELDOM = 6.0  # down to once in so many polls
_TICK = 1.0  # seconds between looks at the progress of running jobs: a shared folder is not to be asked in haste
_AGAIN = 30.0  # seconds before a submission that Slurm could not take is repeated


class Slurm:
    """One plan's jobs on one cluster. Ctrl-C stops the following, not the jobs; `cancel` does that."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        *,
        data_dir: Path | None,
        controller: Controller | None = None,
        submit: Submit = sbatch.submit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._cluster, self._submit, self._clock = store, cluster, submit, clock
        self._results = Store(store.root.resolve())  # paths sent to nodes must not depend on the working directory
        self._data_dir = data_dir.resolve() if data_dir else None
        self.controller = controller or Controller()
        self.ledger = Ledger(self._results)
        self.slots = cluster.array.parallel
        self._jobs: dict[str, Job] = {}
        self._relations = Relations(self._results.folder)
        self._attempts: dict[str, Attempt] = {}  # in Slurm's hands
        self._places: dict[tuple[Path, str], Attempt] = {}  # the same by where their notes appear
        self._held_jobs: dict[str, dict[str, int]] = {}  # to be submitted; what each has met before
        self.refusal = ""  # why Slurm has not taken them
        self._failed_keys: set[str] = set()
        self._code: Path | None = None
        self._earlier: dict[str, Failure | None] = {}  # by key: the failure that this run is to repeat
        self._events: list[Event] = []
        self._seconds: dict[str, float | None] = {}
        self._is_following = True
        self._interval = cluster.poll
        self._ask_at = clock() + cluster.poll
        self._submit_at = 0.0
        self._array_limit: int | None = None

    def start(self, jobs: Sequence[Job], among: Mapping[str, Job]) -> None:
        """Follows those that are in the queue already, whoever put them there, and submits the others."""
        self._jobs.update(among)
        self._relations.add(among)
        self._seconds = durations(jobs, self._store, device=self._cluster.card, processes=self._cluster.processes)
        self._earlier |= {job.key: self._store.failure(job) for job in jobs}
        with self.ledger.lock():
            open_attempts = self.ledger.open_attempts()
            for job in jobs:
                attempt = open_attempts.get(job.key)
                failure = self._earlier[job.key]
                if attempt is not None and failure is not None and failure == self._store.failure(job):
                    # it failed while no front end ran, and is to be repeated
                    self.ledger.record(attempt, failure.cause, failure.message, again=True)
                    open_attempts.pop(job.key)
                elif attempt is not None and not self._in_slurm(attempt):
                    self.ledger.record(attempt, "never started", "its front end died while submitting", again=True)
                    open_attempts.pop(job.key)
                self._held_jobs[job.key] = {}
            self._submit_held(open_attempts)

    def active(self) -> bool:
        return self._is_following and bool(self._attempts or self._held_jobs or self._events)

    def events(self, timeout: float) -> list[Event]:
        end = self._clock() + (max(timeout, _TICK) if timeout else 0.0)
        while True:
            self._read_notes()
            if self._clock() >= self._ask_at:
                self._poll()
            if self._held_jobs and self._clock() >= self._submit_at:
                with self.ledger.lock():
                    self._submit_held()
            if self._events or self._clock() >= end or not (self._attempts or self._held_jobs):
                break
            time.sleep(min(_TICK / 4, max(0.0, end - self._clock())))
        events, self._events = self._events, []
        return events

    @property
    def held_count(self) -> int:
        """How many jobs are not with Slurm yet."""
        return len(self._held_jobs)

    def stop(self) -> None:
        """Stops following; the jobs go on."""
        self._is_following = False

    def close(self) -> None:
        """Only the jobs in Slurm's queue outlive the front end."""
        followed = {attempt.array.folder for attempt in self._attempts.values()}
        for folder in {attempt.array.folder for attempt in self._places.values()} - followed:
            self._close(folder)

    def _submit_held(self, open_attempts: Mapping[str, Attempt] | None = None) -> None:
        """Submits what can be; holds the lock. What another front end has submitted (`open_attempts`) is followed instead, and
        jobs whose needed job failed are skipped."""
        open_attempts = self.ledger.open_attempts() if open_attempts is None else open_attempts
        for key in [key for key in self._held_jobs if key in open_attempts and self._in_slurm(open_attempts[key])]:
            del self._held_jobs[key]
            self._adopt(open_attempts[key])
        for key in list(self._held_jobs):
            failure = self._store.failure(self._jobs[key])
            if failure is not None and failure != self._earlier.get(key):  # in another front end's hands
                del self._held_jobs[key]
                self._failed_keys.add(key)
                self._events.append(Event(self._jobs[key], "failed", failure))
        for key in [key for key in self._held_jobs if any(need in self._failed_keys for need in self._jobs[key].needs)]:
            del self._held_jobs[key]
            self._failed_keys.add(key)
            self._events.append(Event(self._jobs[key], "skipped", SKIPPED))
        jobs = [job for key, job in self._jobs.items() if key in self._held_jobs]
        if not jobs:
            return
        dependencies = {key for job in jobs for key in job.needs}
        finished_jobs = {key for key in dependencies if self._store.result(self._jobs[key]) is not None}
        queued_tasks = {key: self._attempts[key].task for key in dependencies if key in self._attempts}
        if self._array_limit is None:
            self._array_limit = min(self._cluster.array.size, self.controller.array_limit())
        if self._code is None:  # once: what is edited later does not reach jobs that are submitted again
            self._code = snapshot(self.ledger.code, self._jobs.values(), cache=self._store.cache, compiled=True)
        code, folder = self._code, self.ledger.new()
        arrays: dict[int, Array] = {}
        try:
            array_batches = sbatch.batches(jobs, self._shape, self._array_limit, queued_tasks, finished_jobs)
            for number, batch in enumerate(array_batches):
                arrays[id(batch)] = self._submit_batch(folder, number, batch, arrays, code)
        except SubmissionRefused as refusal:
            if not arrays:
                shutil.rmtree(folder)
            if not refusal.later:
                raise UserError(f"Slurm refused the jobs: {refusal}") from None
            self._submit_at = self._clock() + _AGAIN
            if not self.refusal:  # printed once, not at every attempt
                message = f"{refusal}; {plural(len(self._held_jobs), 'job')} left here until Slurm takes more"
                first = next(job for job in jobs if job.key in self._held_jobs)
                self._events.append(Event(first, "retried", Failure("refused", message, time=time.time())))
            self.refusal = str(refusal)
        else:
            self.refusal = ""

    def _submit_batch(
        self, folder: Path, number: int, batch: ArrayBatch, arrays: Mapping[int, Array], code: Path
    ) -> Array:
        keys = [job.key for job in batch.jobs]
        array = Array(folder, number, keys, [self._held_jobs[key] for key in keys])
        folders = [self._prepare(job) for job in batch.jobs]
        array.write()  # before: a front end that dies inside sbatch leaves the name by which the jobs are found
        try:
            array.id = self._submit(array, folders, self._cluster, batch.shape, code, sbatch.dependency(batch, arrays))
        except (SubmissionRefused, UserError):
            array.file.unlink(missing_ok=True)
            raise
        array.write()
        for attempt in array.attempts():
            del self._held_jobs[attempt.key]
            self._follow(attempt)
        return array

    def _prepare(self, job: Job) -> Path:
        """The job's folder with its request, and without the traces of an earlier attempt."""
        folder = self._results.folder(job)
        cluster, data_dir = self._cluster, str(self._data_dir) if self._data_dir else None
        place = (str(self._results.root), cluster.data or data_dir, cluster.on, cluster.cpus)
        Request(job, *place, *self._relations.of(job), **cluster.data_of_node).write(folder)
        for earlier in ("progress.json", "failure.json"):
            (folder / earlier).unlink(missing_ok=True)
        return folder

    def _shape(self, job: Job) -> Shape:
        kind, past_causes = KINDS[job.kind], self._held_jobs.get(job.key, {})
        minutes = minutes_for(self._cluster, self._seconds.get(job.key))
        rounded = min(self._cluster.minutes_limit, 1 << (minutes - 1).bit_length())  # few sizes, hence few arrays
        memory = self._cluster.memory << past_causes.get("out of memory", 0)
        return Shape(kind.trains, kind.exclusive, rounded, memory)

    def _follow(self, attempt: Attempt) -> None:
        self._attempts[attempt.key] = attempt
        self._places[attempt.array.folder, attempt.prefix] = attempt

    def _adopt(self, attempt: Attempt) -> None:
        """Follows an attempt that somebody else submitted, from its first note on."""
        self._follow(attempt)
        self.ledger.forget(attempt.array.folder)

    def _in_slurm(self, attempt: Attempt) -> bool:
        """Whether the attempt was really submitted: its front end may have died before it could write the number down."""
        if attempt.array.id is None:
            attempt.array.id = self.controller.find(attempt.array.name)
            if attempt.array.id is not None:
                attempt.array.write()
        return attempt.array.id is not None

    def _read_notes(self) -> None:
        """Reads what jobs have reported since the last time."""
        for folder in {attempt.array.folder for attempt in self._attempts.values()}:
            for prefix, restart, note_kind in self.ledger.news(folder):
                attempt = self._places.get((folder, prefix))
                if attempt is None or self._attempts.get(attempt.key) is not attempt or restart < attempt.restart:
                    continue
                self._interval = self._cluster.poll
                if note_kind == "started":
                    attempt.restart, attempt.end_report = restart, None
                    self._events.append(Event(self._jobs[attempt.key], "started"))
                else:
                    attempt.end_report = self.ledger.note(folder, prefix, restart, "ended")
                    self._end_reported(attempt)

    def _end_reported(self, attempt: Attempt) -> None:
        job, report = self._jobs[attempt.key], attempt.end_report or {}
        if self._is_settled(attempt):
            return
        if report.get("exit") == Exit.RESUMABLE and report.get("requeued"):
            cause = report.get("cause", "preempted")
            failure = Failure(cause, "saved, and back in the queue", time=time.time())
            self._events.append(Event(job, "retried", failure))

    def _is_settled(self, attempt: Attempt) -> bool:
        """Whether the job has a result, or an error of its own; adds the event if so."""
        job = self._jobs[attempt.key]
        if self._store.result(job) is not None:
            self._drop(attempt)
            self._events.append(Event(job, "done"))
            return True
        failure = self._store.failure(job)
        if failure is None or (attempt.end_report or {}).get("exit") == Exit.RESUMABLE:
            return False
        kind = REPEATED_AS.get(failure.cause, "")
        if self._cluster.retries.can_retry(kind, attempt.past_causes):
            self._earlier[attempt.key] = failure  # which the next attempt is to repeat
            self._attempt_ended(attempt, kind, failure.message, None)
            return True
        self.ledger.record(attempt, failure.cause, failure.message, again=False)
        self._fail(attempt, failure)
        return True

    def _drop(self, attempt: Attempt) -> None:
        if self._attempts.get(attempt.key) is attempt:
            del self._attempts[attempt.key]

    def _fail(self, attempt: Attempt, failure: Failure) -> None:
        self._drop(attempt)
        self._failed_keys.add(attempt.key)
        self._events.append(Event(self._jobs[attempt.key], "failed", failure))

    def _poll(self) -> None:
        """One question for all jobs, less often while nothing happens."""
        arrays = {attempt.array.id: attempt.array.name for attempt in self._attempts.values() if attempt.array.id}
        before = len(self._attempts), len(self._events)
        states = self.controller.states(arrays, arrays) if arrays else {}
        if states is None:
            for attempt in self._attempts.values():
                attempt.silence.looked_at = None  # whether it ran meanwhile is not known
        else:  # no answer says nothing about the jobs: the controller may be restarting
            order = {key: place for place, key in enumerate(self._jobs)}
            for attempt in sorted(self._attempts.values(), key=lambda a: order[a.key]):  # needed jobs first
                self._classify(attempt, states.get(attempt.task))
        progressed = before != (len(self._attempts), len(self._events))
        slower = min(self._interval * _BACK_OFF, self._cluster.poll * _SELDOM)
        self._interval = self._cluster.poll if progressed else slower
        self._ask_at = self._clock() + self._interval

    def _classify(self, attempt: Attempt, task_state: TaskState | None) -> None:
        """Acts on Slurm's state of a job, once the shared folder has had time to show the job's notes."""
        job = self._jobs[attempt.key]
        if task_state is not None and task_state.live and not task_state.hopeless and not task_state.orphaned:
            attempt.gone_since = None
            if task_state.queued and attempt.silence.heartbeat is not None and not attempt.end_report:
                failure = Failure("requeued", f"back in Slurm's queue ({task_state.reason})", time=time.time())
                self._events.append(Event(job, "retried", failure))
            self._end_if_stalled(attempt, task_state)
            return
        now = self._clock()
        if attempt.gone_since is None:
            attempt.gone_since = now
        patience = _LOST_AFTER if task_state is None else min(_SETTLE, self._cluster.poll)
        if now - attempt.gone_since < patience or self._is_settled(attempt):
            return
        unfinished = [key for key in job.needs if self._store.result(self._jobs[key]) is None]
        if unfinished:  # it is over because what it needs is: submitted again with that, or after it
            self._hold(attempt)
            return
        has_saved = (attempt.end_report or {}).get("exit") == Exit.RESUMABLE
        cause, detail = cause_of(
            task_state, has_started=attempt.has_started, has_saved=has_saved, log=tail(attempt.log)
        )
        if task_state is not None and task_state.live:
            self.controller.cancel([attempt.task], attempt.array.name)
        self._attempt_ended(attempt, cause, detail, task_state)

    def _end_if_stalled(self, attempt: Attempt, task_state: TaskState) -> None:
        """Ends an attempt that has made no progress for as long as the cluster file allows, whatever Slurm says of it."""
        job = self._jobs[attempt.key]
        try:
            progressed_at = (self._results.folder(job) / "progress.json").stat().st_mtime_ns
        except OSError:  # none yet
            progressed_at = 0
        heartbeat = attempt.restart, progressed_at
        minutes = attempt.silence.look(self._clock(), task_state, heartbeat) / 60
        if minutes < self._cluster.stalled_after or self._is_settled(attempt):
            return
        said = read_progress(self._results.folder(job)) or {}
        last = f"its last: {said.get('done')}/{said.get('total')}" if said else "it never said how far it was"
        where = f"{task_state.state.lower()} on {task_state.node}" if task_state.node else task_state.state.lower()
        detail = f"no progress for {duration(60 * minutes)} ({last}), although Slurm says: {where}"
        if self.controller.cancel([attempt.task], attempt.array.name):
            self._attempt_ended(attempt, "stalled", detail, task_state)

    def _hold(self, attempt: Attempt) -> None:
        with self.ledger.lock():
            latest = self.ledger.open_attempts().get(attempt.key)
            if latest is not None and latest.array.file == attempt.array.file:
                self.ledger.record(attempt, "waiting", "what it needs did not finish", again=True)
        self._drop(attempt)
        self._held_jobs[attempt.key] = attempt.past_causes

    def _attempt_ended(self, attempt: Attempt, cause: str, detail: str, task_state: TaskState | None) -> None:
        """An attempt ended without a result: the job is submitted again or has failed. Another front end may act first."""
        with self.ledger.lock():
            latest = self.ledger.open_attempts().get(attempt.key)
            if latest is None or (latest.array.file, latest.index) != (attempt.array.file, attempt.index):
                self._attempt_superseded(attempt, latest)
                return
            kind = "preempted" if cause == "interrupted" else cause
            again = self._cluster.retries.can_retry(kind, attempt.past_causes)
            log = attempt.log if attempt.log.exists() else self._store.folder(self._jobs[attempt.key]) / "log.txt"
            code = Exit.OUTPUT if task_state is not None and task_state.exit_code == Exit.OUTPUT else Exit.FAILED
            failure = Failure(cause, detail, int(code), time.time(), str(log))
            if not again and self._store.result(self._jobs[attempt.key]) is None:
                # first: a front end that dies here loses no cause
                failure = self._store.fail(self._jobs[attempt.key], failure)
                cause, detail = failure.cause, failure.message
            self.ledger.record(attempt, cause, detail, again=again, node=task_state.node if task_state else "")
            if again:
                self._drop(attempt)
                self._held_jobs[attempt.key] = {**attempt.past_causes, kind: attempt.past_causes.get(kind, 0) + 1}
                self._events.append(Event(self._jobs[attempt.key], "retried", failure))
                self._submit_held()
                return
            self._fail(attempt, failure)

    def _attempt_superseded(self, attempt: Attempt, latest: Attempt | None) -> None:
        self._drop(attempt)
        if latest is not None and self._in_slurm(latest):
            self._adopt(latest)
            return
        where = attempt.array.number, attempt.index
        outcomes = [o for o in self.ledger.outcomes(attempt.array.folder) if (o["array"], o["index"]) == where]
        failure = self._store.failure(self._jobs[attempt.key])
        if failure is not None:
            self._fail(attempt, failure)
        elif outcomes:
            self._fail(attempt, Failure(outcomes[-1]["cause"], outcomes[-1]["detail"], time=outcomes[-1]["time"]))
        else:
            self._fail(attempt, Failure("lost", "another front end has it, and says no more of it"))

    def _close(self, folder: Path) -> None:
        """Marks a submission as over when each of its jobs has a result or an outcome."""
        over = {(o["array"], o["index"]) for o in self.ledger.outcomes(folder)}
        for array in self.ledger.arrays(folder):
            for attempt in array.attempts():
                job = self._jobs.get(attempt.key)
                has_result = job is not None and self._store.result(job) is not None
                if not has_result and (array.number, attempt.index) not in over:
                    return
        self.ledger.close(folder)
