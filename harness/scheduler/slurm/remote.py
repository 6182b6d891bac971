"""Operations of `--on CLUSTER`: read its file, check it, submit jobs, report their states, cancel them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness import environment
from harness.errors import MissingError, UserError
from harness.jobs.job import Job
from harness.plan.planner import Plan
from harness.scheduler.slurm import cluster_file as files
from harness.scheduler.slurm.cluster_file import Cluster
from harness.scheduler.slurm.controller import Controller
from harness.scheduler.slurm.ledger import Attempt, Ledger
from harness.store.store import Store
from harness.text import plural
from harness.yamlfile import Document


@dataclass
class ClusterTarget:
    """A cluster as its file says."""

    cluster: Cluster
    document: Document
    controller: Controller

    @classmethod
    def of(cls, path: str) -> ClusterTarget:
        cluster, document = files.load(path)
        return cls(cluster, document, Controller())

    def check(self) -> None:
        """MissingError without Slurm here, Problems where the cluster cannot give what the file asks."""
        self.controller.require()
        files.check(self.cluster, self.document, self.controller)

    def device(self, prefer: str = "auto") -> environment.Device:
        """What its jobs run on, for the plan."""
        if prefer not in ("auto", self.cluster.on):
            raise UserError(
                f"--device {prefer}: jobs on {self.document.file} use {self.cluster.on}; its key 'device' says so"
            )
        return environment.Device(self.cluster.on, self.cluster.processor or "", self.cluster.array.parallel)

    @property
    def processes(self) -> int:
        """Of a training, each with a GPU where there are any."""
        return self.cluster.processes

    def block(self, plan: Plan) -> None:
        """Blocks the jobs that cannot be measured there: latencies, unless the file names the device."""
        for job in plan.jobs.values():
            if job.kind == "latency" and (self.cluster.on == "cpu" or self.cluster.processor is None):
                reason = "times of a CPU are taken on the machine itself, without --on"
                if self.cluster.on == "cuda":
                    reason = f"{self.document.file} does not say which processor times would hold for (key 'processor')"
                plan.blocked.setdefault(job.key, reason)


def attempts(jobs: Iterable[Job], store: Store) -> dict[str, Attempt]:
    """{key: attempt} of the jobs without a result that were submitted to Slurm and not closed."""
    ledger = Ledger(Store(store.root.resolve()))
    open_attempts = ledger.open_attempts()
    return {job.key: open_attempts[job.key] for job in jobs if job.key in open_attempts and store.result(job) is None}


def queue_states(jobs: Iterable[Job], store: Store) -> dict[str, str]:
    """{key: how it stands in Slurm}, with one question where this machine has Slurm's commands."""
    queued_attempts = {key: a for key, a in attempts(jobs, store).items() if a.array.id is not None}
    if not queued_attempts:
        return {}
    if shutil.which("squeue") is None:
        return {key: f"submitted to Slurm as {a.task}" for key, a in queued_attempts.items()}
    arrays = {a.array.id: a.array.name for a in queued_attempts.values() if a.array.id is not None}
    states = Controller().states(arrays, arrays)
    if states is None:
        return {
            key: f"submitted to Slurm as {a.task}; the controller does not answer" for key, a in queued_attempts.items()
        }
    return {key: _queue_state(attempt, states) for key, attempt in queued_attempts.items()}


def _queue_state(attempt: Attempt, states) -> str:
    task_state = states.get(attempt.task)
    times = sum(attempt.past_causes.values())
    after = f", after {plural(times, 'attempt')} that failed" if times else ""
    if task_state is None:
        return f"Slurm no longer knows its job {attempt.task}; run it again to go on{after}"
    if not task_state.live:
        return f"its job {attempt.task} ended ({task_state.state.lower()}); run it again to go on{after}"
    reason = f": {task_state.reason}" if task_state.state == "PENDING" and task_state.reason not in ("", "None") else ""
    return f"{task_state.state.lower()} in Slurm as {attempt.task}{reason}{after}"


def cancel(plan: Plan, store: Store) -> Iterator[str]:
    """Cancels what was submitted for a plan's jobs, and says what. Results and checkpoints stay.

    MissingError where there is no Slurm here, or where it does not answer.
    """
    controller, ledger = Controller(), Ledger(Store(store.root.resolve()))
    controller.require()
    with ledger.lock():
        open_attempts = attempts(plan.jobs.values(), store)
        by_array: dict[str, list[Attempt]] = {}
        for attempt in open_attempts.values():
            if attempt.array.id is None:
                attempt.array.id = controller.find(attempt.array.name)
            if attempt.array.id is not None:
                by_array.setdefault(attempt.array.name, []).append(attempt)
        for name, members in by_array.items():
            if not controller.cancel([a.task for a in members], name):
                raise MissingError(
                    "the Slurm controller does not answer (scontrol ping says more); repeat the command when it does"
                )
            for attempt in members:
                ledger.record(attempt, "cancelled", "cancelled with the plan", again=False)
    count = sum(map(len, by_array.values()))
    yield f"{plural(count, 'job')} cancelled" if count else "nothing of this plan is with Slurm"
