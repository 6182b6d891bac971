"""A Slurm that exists only in memory, so that a front end can be put through anything in milliseconds."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.errors import Exit
from harness.files import write_json
from harness.jobs.job import Job, Measurement
from harness.jobs.key import digest
from harness.scheduler.slurm.causes import TaskState
from harness.scheduler.slurm.cluster_file import Cluster
from harness.scheduler.slurm.controller import Controller, SubmissionRefused
from harness.scheduler.slurm.ledger import Array
from harness.scheduler.slurm.sbatch import Shape
from harness.scheduler.slurm.transport import Slurm
from harness.scheduler.transport import Event
from harness.store.store import Failure, Store


def job(name: str, kind: str = "complexity", *needs: Job) -> Job:
    """A job that is never really run."""
    config = {"model": {"name": name, "options": {}}}
    key = digest([name, kind, [n.key for n in needs]])
    return Job(kind, config, key, key, {"config": config}, tuple(n.key for n in needs))


class FakeSlurm(Controller):
    """Its queue is `tasks`; what was handed over is in `submitted`."""

    def __init__(self) -> None:
        super().__init__()
        self.ids = itertools.count(100)
        self.tasks: dict[str, TaskState] = {}
        self.names: dict[str, str] = {}
        self.submitted: list[tuple[Array, Shape, str | None]] = []
        self.places: dict[str, tuple[Array, int, Path]] = {}
        self.cancelled: list[str] = []
        self.refusal: SubmissionRefused | None = None
        self.silent = False

    def array_limit(self) -> int:
        return 1000

    def submit(
        self, array: Array, folders: Sequence[Path], cluster: Cluster, shape: Shape, code: Path, after: str | None
    ) -> str:
        if self.refusal is not None:
            raise self.refusal
        number = str(next(self.ids))
        array.id = number
        self.names[number] = array.name
        self.submitted.append((array, shape, after))
        for index, folder in enumerate(folders):
            self.tasks[array.task(index)] = TaskState("PENDING")
            self.places[array.task(index)] = (array, index, folder)
        return number

    def states(self, arrays: Iterable[str], names: Mapping[str, str]) -> dict[str, TaskState] | None:
        self.questions += 1
        wanted = set(arrays)
        if self.silent:
            return None
        return {task: seen for task, seen in self.tasks.items() if task.partition("_")[0] in wanted}

    def find(self, name: str) -> str | None:
        return next((number for number, given in self.names.items() if given == name), None)

    def cancel(self, tasks: Iterable[str], name: str) -> bool:
        self.cancelled += tasks
        return True

    # ------------------------------------------------------------------------------------------ what happens to jobs

    def task(self, job: Job) -> str:
        """Slurm's latest name of a job."""
        return next(task for task, (a, i, _) in reversed(self.places.items()) if a.keys[i] == job.key)

    def note(self, task: str, restart: int, what: str, **record: object) -> None:
        array, index, _ = self.places[task]
        write_json(array.folder / "notes" / f"{array.number}.{index}.{restart}.{what}", record)

    def begin(self, job: Job, restart: int = 0) -> None:
        self.tasks[self.task(job)] = TaskState("RUNNING", node="n1")
        self.note(self.task(job), restart, "started", node="n1")

    def finish(self, store: Store, job: Job, value: float = 1.0) -> None:
        store.finish(job, [Measurement("parameters", value)], {}, 0.0)
        self.note(self.task(job), 0, "ended", exit=0)
        self.tasks[self.task(job)] = TaskState("COMPLETED")

    def err(self, store: Store, job: Job, cause: str = "exception") -> None:
        store.fail(job, Failure(cause, "ValueError: no"))
        self.note(self.task(job), 0, "ended", exit=1)
        self.tasks[self.task(job)] = TaskState("FAILED", exit_code=1)

    def save(self, job: Job, *, requeued: bool, cause: str = "preempted", restart: int = 0) -> None:
        self.note(self.task(job), restart, "ended", exit=int(Exit.RESUMABLE), requeued=requeued, cause=cause)

    def end(self, job: Job, state: str, **about: object) -> None:
        self.tasks[self.task(job)] = TaskState(state, **about)

    def log(self, job: Job, text: str) -> None:
        array, index, _ = self.places[self.task(job)]
        folder = array.folder / "slurm"
        folder.mkdir(exist_ok=True)
        (folder / f"{array.task(index)}_0_log.err").write_text(text)


class SlurmFrontEnd:
    """A front end whose clock is turned by hand."""

    def __init__(self, root: Path, controller: FakeSlurm, **about: object) -> None:
        self.store = Store(root)
        self.store.prepare()
        self.now = 0.0
        self.controller = controller
        cluster = Cluster(title="pretended", partition="main", poll=10, **about)
        self.slurm = Slurm(
            self.store,
            cluster,
            data_dir=None,
            controller=controller,
            submit=controller.submit,
            clock=lambda: self.now,
        )

    def start(self, *jobs: Job) -> None:
        self.slurm.start(jobs, {job.key: job for job in jobs})

    def after(self, seconds: float) -> list[tuple[str, str, str]]:
        """(job's name, state, cause) of what happens in so many seconds."""
        said: list[Event] = []
        end = self.now + seconds
        while self.now < end:
            self.now += 1
            said += self.slurm.events(0)
        return [(e.job.config["model"]["name"], e.state, e.failure.cause if e.failure else "") for e in said]

    def table(self) -> list[tuple[str, bool]]:
        """(cause, again) of the attempts that came to nothing."""
        folders = sorted((self.store.root / "slurm").glob("h*"))
        lines = [line for f in folders for line in _lines(f / "outcomes.jsonl")]
        return [(line["cause"], line["again"]) for line in lines]


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
