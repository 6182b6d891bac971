"""Runs a plan: hands its pending jobs to a transport and follows them until each has ended."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from harness.errors import Exit
from harness.jobs.context import Progress
from harness.jobs.job import Job
from harness.plan.planner import Plan
from harness.scheduler.transport import SKIPPED, Event, Transport
from harness.store import cleaning, weights
from harness.store.interruption import read_progress
from harness.store.store import Failure, Store


class Listener(Protocol):
    """Receives the events and the progress of a run."""

    def event(self, event: Event) -> None: ...

    def progress(self, running: Mapping[str, Progress | None]) -> None: ...

    def stopping(self) -> None:
        """Jobs have been asked to save and stop."""


@dataclass
class Outcome:
    """The outcome of a run, as keys of jobs; `failed` and `blocked` with their reasons."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, Failure] = field(default_factory=dict)
    interrupted: list[str] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    stopped: bool = False
    seconds: float = 0.0

    def exit(self, plan: Plan, store: Store) -> Exit:
        """The exit code of the run."""
        if self.stopped:
            return Exit.INTERRUPTED
        if any(f.exit == Exit.OUTPUT for f in self.failed.values()):
            return Exit.OUTPUT
        causes = {f.exit for f in self.failed.values() if f != SKIPPED}
        if self.interrupted or (self.failed and causes != {Exit.MISSING}):  # weights may be looked for by the job alone
            return Exit.FAILED
        if self.failed:
            return Exit.MISSING
        if self.blocked:
            return Exit.MISSING
        return Exit.OK if plan.cells_to_measure() else Exit.NOTHING


@dataclass(frozen=True)
class Queue:
    """The pending jobs of a plan: to run, blocked, or failed before."""

    run: list[Job]
    blocked: dict[str, str]
    failed: dict[str, Failure]  # failed before; run again only when asked to


def queue(plan: Plan, store: Store, *, retry_failed: bool = False, keep_weights: bool = False) -> Queue:
    """Divides the pending jobs: to run, unable to run here, and failed before. `keep_weights`: as in `Plan.jobs_to_run`."""
    run: list[Job] = []
    blocked: dict[str, str] = {}
    failed: dict[str, Failure] = {}
    for job in plan.jobs_to_run(store, keep_weights=keep_weights):
        failure = None if retry_failed else store.failure(job)
        if failure is not None and failure.exit == Exit.OUTPUT:
            failure = None  # not the job's error: once there is room, the same command resumes from the saved state
        reason = plan.reason(job)
        if reason is not None:
            blocked[job.key] = reason
        elif failure is not None:
            failed[job.key] = failure
        elif any(key in failed for key in job.needs):
            failed[job.key] = SKIPPED
        else:
            run.append(job)
    return Queue(run, blocked, failed)


def run(
    plan: Plan,
    store: Store,
    transport: Transport,
    listener: Listener,
    *,
    retry_failed: bool = False,
    keep_weights: bool = False,
) -> Outcome:
    """Runs what is pending. Ctrl-C once: save and stop; what has finished is kept either way."""
    start_time = time.monotonic()
    todo = queue(plan, store, retry_failed=retry_failed, keep_weights=keep_weights)
    outcome = Outcome(blocked=todo.blocked, failed=dict(todo.failed))
    running_jobs: dict[str, Job] = {}
    reopen_without_weights(todo.run, store)
    try:
        transport.start(todo.run, plan.jobs)
        while transport.active():
            try:
                for event in transport.events(timeout=0.25):
                    _note(event, outcome, running_jobs)
                    listener.event(event)
                listener.progress({key: _progress(store, job) for key, job in running_jobs.items()})
            except KeyboardInterrupt:
                if outcome.stopped:
                    raise
                outcome.stopped = True
                transport.stop()
                listener.stopping()
    except KeyboardInterrupt:
        outcome.stopped = True  # a second Ctrl-C does not wait for jobs to save
    finally:
        transport.close()
    outcome.seconds = time.monotonic() - start_time
    return outcome


def reopen_without_weights(jobs: Iterable[Job], store: Store) -> None:
    """Lets pending trainings that are measured, but whose weights were left out, run again."""
    for job in jobs:
        if store.result(job) is not None and weights.left_out(store.folder(job)):
            weights.reopen(store.folder(job))


def drop_scene_weights(plan: Plan, store: Store, outcome: Outcome) -> int:
    """Deletes the weights of trainings on embedded scenes that this run trained, once all that needs them is measured; the bytes.

    One smoke table leaves 4 GB otherwise, of models that take seconds to train again.
    """
    pending = {key for job in plan.jobs_to_run(store) for key in job.needs}
    heap = cleaning.Heap()
    for key in outcome.done:
        result = store.result(plan.jobs[key]) if plan.jobs[key].kind == "train" and key not in pending else None
        for path in weights.files(result.folder) if result is not None and cleaning.trains_on_scenes(result) else ():
            heap.add(path)
    return cleaning.delete([heap])


def _note(event: Event, outcome: Outcome, running_jobs: dict[str, Job]) -> None:
    key = event.job.key
    if event.state == "started":
        running_jobs[key] = event.job
        return
    running_jobs.pop(key, None)
    if event.state == "retried":
        return
    if event.state == "done":
        outcome.done.append(key)
    elif event.state == "interrupted":
        outcome.interrupted.append(key)
    else:
        assert event.failure is not None
        outcome.failed[key] = event.failure


def _progress(store: Store, job: Job) -> Progress | None:
    record = read_progress(store.folder(job))
    if record is None or not {"done", "total"} <= record.keys():
        return None
    fields = {name: record[name] for name in ("done", "total", "rate", "text", "left") if name in record}
    return Progress(**fields)
