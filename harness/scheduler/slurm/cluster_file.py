"""Cluster files: the resources that jobs request of a Slurm cluster, and whether it has them. A file describes only
the cluster (partition, sizes, limits, how Python starts there); which jobs run is the
plan's business. Errors in a file come all at once, and so do those found by asking the cluster.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.environment import Device
from harness.errors import Problem, Problems, nearest
from harness.scheduler.slurm import gres as slurm_gres
from harness.scheduler.slurm.causes import Retries
from harness.scheduler.slurm.controller import Controller, Partition
from harness.spec import Positive, Spec
from harness.yamlfile import Document, read, validate

_WORD = r"^[A-Za-z0-9_.@+:,/-]+\z"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*\z"
_PLACE = r"^[/$~][^\x00-\x1f]*\z"
_OPTION = r"^[a-z][a-z0-9-]*\z"
_OURS = {  # options of sbatch that the harness sets itself
    *("array", "dependency", "job-name", "output", "error", "signal", "time", "chdir", "open-mode", "requeue"),
    *(
        "partition",
        "account",
        "qos",
        "nodes",
        "ntasks-per-node",
        "cpus-per-task",
        "gpus-per-node",
        "gres",
        "mem",
        "exclusive",
    ),
    "kill-on-invalid-dep",
}

Word = Annotated[str, Field(pattern=_WORD)]


class ArrayLimits(Spec):
    """How many jobs go to the controller as one array, and how many of an array's jobs run at once."""

    size: Positive = 1000  # never above the cluster's MaxArraySize
    parallel: Positive = 64  # at once


class Stage(Spec):
    """Copies of datasets on a node's own disk: made by the first job of a node, checked, and used by the others."""

    # where on a node, such as $SLURM_TMPDIR/data (for one job) or /local/$USER/data (kept for the next jobs)
    folder: Annotated[str, Field(pattern=_PLACE)]
    # folder of archives, such as ade20k.tar (tar -C DATA -cf ade20k.tar ade20k), that are unpacked in place of copying files
    archives: Annotated[str, Field(pattern=_PLACE)] | None = None


class Cluster(Spec):
    """One Slurm cluster. Times in minutes, memory in MiB per node."""

    title: str  # what people call it
    partition: Word  # of Slurm
    account: Word | None = None  # of Slurm
    qos: Word | None = None  # of Slurm
    constraint: Annotated[str, Field(pattern=r"^[ -~]+\z")] | None = None  # features that a node must have
    nodes: Positive = 1  # of one training or test
    gpus: int = Field(0, ge=0)  # per node of a job; with several, or several nodes, a training is distributed
    # resources of a node as Slurm names them, such as gpu:h100:4 (in place of `gpus`, with the kind) or lscratch:100; a job on
    # one GPU asks for gpu:h100:1
    gres: str | None = None
    cpus: Positive = 1  # per process: per GPU, or per node without GPUs
    memory: Positive = 4000  # MiB per node
    minutes: Positive = 60  # asked for where no stored duration says better
    minutes_limit: Positive = 1440  # never asked for more
    array: ArrayLimits = ArrayLimits()
    device: Literal["cpu", "cuda"] | None = None  # default: cuda with GPUs
    processor: str | None = None  # what latencies hold for, e.g. NVIDIA H200; without it none are measured
    python: str | None = None  # default: the Python of the front end, on a folder that nodes share
    container: str | None = None  # put before Python, e.g. apptainer exec --nv /images/torch.sif
    # the datasets' folder on a node, such as /local/data or $TMPDIR/data (copied there by `setup`); its files must be those
    # of --data; null: --data itself, on a disk that nodes share
    data: str | None = None
    stage: Stage | None = None  # the datasets of --data are copied to the node's own disk by the jobs themselves
    setup: tuple[str, ...] = ()  # shell lines before Python, run as written
    environment: dict[Annotated[str, Field(pattern=_VARIABLE)], str] = {}  # {variable: value} of every job
    options: dict[Annotated[str, Field(pattern=_OPTION)], str | bool] = {}  # further options of sbatch
    warning: int = Field(120, ge=10)  # seconds before the limit at which a job saves and goes back into the queue
    stalled_after: float = Field(
        60, gt=0
    )  # minutes without progress after which a job is ended; suspended ones not counted
    poll: float = Field(10, ge=0.2)  # at least so many seconds between two questions to the controller
    retries: Retries = Retries()

    @model_validator(mode="before")
    @classmethod
    def _gpus_of_gres(cls, record: Any) -> Any:
        """`gpus` is what `gres` says where it is left out."""
        text = record.get("gres") if isinstance(record, dict) and "gpus" not in record else None
        gpu = slurm_gres.gpu(text) if isinstance(text, str) else None
        return record if gpu is None else {**record, "gpus": int(gpu.count)}

    @field_validator("gres")
    @classmethod
    def _resources(cls, text: str | None) -> str | None:
        if text is not None:
            slurm_gres.parse(text)
        return text

    @field_validator("options")
    @classmethod
    def _not_ours(cls, options: dict[str, str | bool]) -> dict[str, str | bool]:
        reserved = sorted(set(options) & _OURS)
        if reserved:
            raise ValueError(f"{', '.join(reserved)}: set by the harness; use the file's own keys")
        for name, value in options.items():
            if isinstance(value, str) and not value.isprintable():
                raise ValueError(f"{name}: one line of printable text")
        return options

    @field_validator("setup")
    @classmethod
    def _single_lines(cls, setup: tuple[str, ...]) -> tuple[str, ...]:
        if any("\n" in line for line in setup):
            raise ValueError("one command per item")
        return setup

    @property
    def data_of_node(self) -> dict[str, Any]:
        """What a job's request says of data on the node's own disk."""
        stage = {"folder": self.stage.folder, "archives": self.stage.archives or ""} if self.stage else None
        return {"data_copied": self.data is not None, "stage": stage}

    @property
    def on(self) -> str:
        """The device its jobs use: cpu or cuda."""
        return self.device or ("cuda" if self.gpus else "cpu")

    @property
    def card(self) -> str:
        """How results of jobs that take as long as here begin to describe their device."""
        return Device(self.on, self.processor or "", 1).card

    @property
    def tasks_per_node(self) -> int:
        """Processes of a distributed training on each node."""
        return max(1, self.gpus)

    @property
    def processes(self) -> int:
        """Processes of a training, each with a GPU where there are any."""
        return self.tasks_per_node * self.nodes


def load(path: str | Path) -> tuple[Cluster, Document]:
    """The cluster of a file, and the document for the lines of later errors; Problems with everything that is wrong in it."""
    document = read(path)
    if not isinstance(document.data, dict):
        raise Problems([document.problem((), "a cluster file is a mapping; see slurm/clusters/local.yaml")])
    cluster: Cluster = validate(document, document.data, Cluster)
    problems = []
    if cluster.minutes > cluster.minutes_limit:
        problems.append(document.problem(("minutes",), f"more than minutes_limit ({cluster.minutes_limit})"))
    gpu = slurm_gres.gpu(cluster.gres)
    if gpu is not None and int(gpu.count) != cluster.gpus:
        message = f"{cluster.gpus}, but gres says {gpu.count}; leave one of them out"
        problems.append(document.problem(("gpus",), message))
    if cluster.data is not None and cluster.stage is not None:
        problems.append(document.problem(("data",), "'stage' brings the data to the node; leave one of them out"))
    if cluster.on == "cuda" and not cluster.gpus:
        problems.append(document.problem(("device",), "cuda without GPUs; say gpus: 1"))
    if problems:
        raise Problems(problems)
    return cluster, document


def check(cluster: Cluster, document: Document, controller: Controller) -> None:
    """Whether the cluster can give what its file asks; Problems with all that it cannot."""
    partitions = controller.partitions()
    partition = partitions.get(cluster.partition)
    if partition is None:
        tail = nearest(cluster.partition, partitions, label="partitions are")
        raise Problems(
            [document.problem(("partition",), f"this cluster has no partition '{cluster.partition}'.{tail}")]
        )
    problems = list(_too_much(cluster, document, partition))
    if problems:
        raise Problems(problems)


def _too_much(cluster: Cluster, document: Document, has: Partition):
    def more(key: str, request: float, largest: float, unit: str) -> Problem | None:
        if request <= largest:
            return None
        message = f"{request:g} {unit}, but partition '{cluster.partition}' has at most {largest:g}"
        return document.problem((key,), message)

    processes, gpu = cluster.tasks_per_node, slurm_gres.gpu(cluster.gres)
    kinds = {kind.casefold(): count for kind, count in has.gpu_kinds.items()}
    if gpu is not None and gpu.kind and kinds and int(gpu.count) > kinds.get(gpu.kind.casefold(), 0):
        names = [f"{kind or 'without a kind'} ({count} on a node)" for kind, count in has.gpu_kinds.items()]
        message = f"{gpu}, but the GPUs of partition '{cluster.partition}' are {', '.join(names)}"
        yield document.problem(("gres",), message)
    yield from filter(
        None,
        (
            more("gpus", cluster.gpus, has.gpus, "GPUs on a node"),
            more("cpus", cluster.cpus * processes, has.cpus, f"CPUs on a node ({processes} processes)"),
            more("memory", cluster.memory, has.memory, "MiB on a node"),
            more("nodes", cluster.nodes, has.nodes, "nodes"),
            more("minutes_limit", cluster.minutes_limit, has.minutes, "minutes"),
        ),
    )


def minutes_for(cluster: Cluster, seconds: float | None) -> int:
    """The time limit to ask for a job that took `seconds` before: twice that and the margin to save; or the default."""
    if seconds is None:
        return cluster.minutes
    return min(cluster.minutes_limit, math.ceil((2 * seconds + cluster.warning) / 60) + 5)
