"""Submission of jobs as arrays through submitit: batches, dependencies, and the parameters of sbatch."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import MissingError, UserError
from harness.files import output_errors
from harness.jobs.job import Job
from harness.scheduler.slurm import gres as slurm_gres
from harness.scheduler.slurm.cluster_file import Cluster
from harness.scheduler.slurm.controller import SubmissionRefused, may_help_to_wait
from harness.scheduler.slurm.ledger import Array


@dataclass(frozen=True)
class Shape:
    """The resources of a job, equal for all jobs of an array; `distributed`: all GPUs and nodes of the cluster file."""

    distributed: bool
    exclusive: bool
    minutes: int
    memory: int  # MiB per node

    def covering(self, shapes: Sequence[Shape]) -> Shape:
        """The maximum of all times and sizes."""
        return Shape(
            self.distributed,
            self.exclusive,
            max(s.minutes for s in (self, *shapes)),
            max(s.memory for s in (self, *shapes)),
        )


@dataclass(frozen=True)
class ArrayBatch:
    """Jobs for one array. `after`: each waits for the job at its own place in an earlier batch; or all for `tasks`."""

    jobs: Sequence[Job]
    shape: Shape
    after: ArrayBatch | None = None
    tasks: Sequence[str] = ()


def batches(
    jobs: Sequence[Job],
    shape_of: Callable[[Job], Shape],
    size: int,
    queued_tasks: Mapping[str, str],
    finished_jobs: Collection[str],
) -> list[ArrayBatch]:
    """Divides jobs into arrays of at most `size`, needed ones first.

    `queued_tasks`: Slurm's ids of jobs already in its queue, by key; `finished_jobs`: keys that have a result. Jobs
    that one array's jobs need are matched place by place, so that an evaluation starts when its own training has finished.
    """
    batch_keys = {job.key for job in jobs}
    waits = {job.key: [key for key in job.needs if key not in finished_jobs] for job in jobs}
    behind: dict[str, list[Job]] = {}
    array_batches: list[ArrayBatch] = []
    first: dict[Shape, list[Job]] = {}
    for job in jobs:
        if not waits[job.key]:
            first.setdefault(shape_of(job), []).append(job)
        elif len(waits[job.key]) == 1 and waits[job.key][0] in batch_keys and not waits[waits[job.key][0]]:
            behind.setdefault(waits[job.key][0], []).append(job)
    for shape, members in first.items():
        members.sort(key=lambda job: -len(behind.get(job.key, ())))  # then those with an n-th follower come first
        for start in range(0, len(members), size):
            batch = ArrayBatch(members[start : start + size], shape)
            array_batches += [batch, *_followers(batch, behind, shape_of)]
    batched_keys = {job.key for batch in array_batches for job in batch.jobs}
    for job in jobs:
        if job.key not in batched_keys:
            tasks = [queued_tasks[key] for key in waits[job.key] if key in queued_tasks]
            array_batches.append(ArrayBatch([job], shape_of(job), tasks=tasks))
    return array_batches


def _followers(
    batch: ArrayBatch, behind: Mapping[str, Sequence[Job]], shape_of: Callable[[Job], Shape]
) -> Iterator[ArrayBatch]:
    turn = 0
    while row := [behind[job.key][turn] for job in batch.jobs if len(behind.get(job.key, ())) > turn]:
        shapes = [shape_of(job) for job in row]
        yield ArrayBatch(row, shapes[0].covering(shapes), after=batch)
        turn += 1


def dependency(batch: ArrayBatch, arrays: Mapping[int, Array]) -> str | None:
    """sbatch's --dependency; `arrays` by the identity of the batch they were made from."""
    if batch.after is not None:
        array = arrays[id(batch.after)]
        return f"aftercorr:{array.id}" if len(batch.jobs) > 1 else f"afterok:{array.task(0)}"
    return f"afterok:{':'.join(batch.tasks)}" if batch.tasks else None


def parameters(cluster: Cluster, shape: Shape, name: str, code: Path, after: str | None) -> dict[str, object]:
    """submitit's parameters for one array."""
    nodes = cluster.nodes if shape.distributed else 1
    tasks = cluster.tasks_per_node if shape.distributed else 1
    gpus = cluster.gpus if shape.distributed else min(cluster.gpus, 1)
    exports = [f"export {k}={shlex.quote(v)}" for k, v in cluster.environment.items()]
    paths = [f"cd {shlex.quote(str(code))} || exit 1", f"export PYTHONPATH={shlex.quote(str(code))}"]
    settings: dict[str, object] = {
        "job_name": name,
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "nodes": nodes,
        "ntasks_per_node": tasks,
        "cpus_per_task": cluster.cpus,
        "gpus_per_node": None if slurm_gres.gpu(cluster.gres) is not None else gpus or None,
        "mem": f"{shape.memory}M",
        "time": shape.minutes,
        "signal_delay_s": cluster.warning,
        "array_parallelism": cluster.array.parallel,
        "dependency": after,
        "exclusive": True if shape.exclusive else None,
        "setup": [*cluster.setup, *exports, *paths],
        "srun_args": ["--kill-on-bad-exit=1", "--cpus-per-task", str(cluster.cpus)],
        "additional_parameters": {
            "requeue": True,
            **({"gres": slurm_gres.with_gpus(cluster.gres, gpus)} if cluster.gres is not None else {}),
            **({"kill-on-invalid-dep": "yes"} if after else {}),
            **{k: v for k, v in cluster.options.items() if v is not False},
        },
    }
    return {key: value for key, value in settings.items() if value is not None}


def submit(array: Array, folders: Sequence[Path], cluster: Cluster, shape: Shape, code: Path, after: str | None) -> str:
    """Hands one array to Slurm and returns its number. Raises SubmissionRefused, MissingError."""
    from harness.scheduler.slurm import entry

    count, limits = len(folders), cluster.retries
    notes = [str(array.folder / "notes" / f"{array.number}.{index}") for index in range(count)]
    restarts = limits.timeout + limits.preempted + limits.node_failure
    columns: list[Sequence[object]] = [list(map(str, folders)), notes, [shape.minutes] * count, [restarts] * count]
    settings = parameters(cluster, shape, array.name, code, after)
    return hand_over(array.folder / "slurm", entry.run, columns, settings, cluster)


def hand_over(
    where: Path,
    function: Callable[..., None],
    columns: Sequence[Sequence[object]],
    settings: Mapping[str, object],
    cluster: Cluster,
) -> str:
    """Submits `function` once for each place in the columns of its arguments, as one array; returns Slurm's number.

    The function travels as its name and its arguments are text and numbers: what runs is read from the snapshot.
    """
    try:
        import submitit
    except ImportError:
        raise MissingError("submitit is not installed: pip install submitit") from None
    if any(c in str(where) for c in "%\\\n\r"):
        raise UserError(f"{where}: Slurm cannot write to a path with %, backslash or line breaks; choose --results")
    python = " ".join(filter(None, (cluster.container, shlex.quote(cluster.python or sys.executable))))
    # submitit prints what is in its error, too, and writes its payloads to the folder
    with _outside_of_slurm(), contextlib.redirect_stderr(io.StringIO()), output_errors(where):
        try:
            executor = submitit.SlurmExecutor(folder=where, python=python)
            executor.update_parameters(**settings)
            jobs = executor.map_array(function, *columns)
        except submitit.core.utils.FailedJobError as error:
            message = _last_lines(str(error))
            raise SubmissionRefused(message, later=may_help_to_wait(message)) from None
        except submitit.core.utils.FailedSubmissionError as error:
            raise SubmissionRefused(str(error), later=False) from None
    return jobs[0].job_id.partition("_")[0]


@contextlib.contextmanager
def _outside_of_slurm() -> Iterator[None]:
    """Removes Slurm's variables: a front end may itself be a job (the nightly is), and sbatch would inherit its settings."""
    slurm_variables = {
        name: value for name, value in os.environ.items() if name.startswith(("SLURM_", "SRUN_", "SBATCH_"))
    }
    slurm_variables.pop("SLURM_CONF", None)
    for name in slurm_variables:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(slurm_variables)


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "sbatch: error" in line or "slurm_" in line]
    return "; ".join(errors or lines[-2:])
