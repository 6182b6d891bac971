"""What a new cluster file says: the partition's own sizes where Slurm's sinfo answers, else sizes to be edited."""

from __future__ import annotations

import shutil

from harness.errors import MissingError, UserError, nearest
from harness.scheduler.slurm.controller import Controller, Partition

_MEMORY_SHARE = 0.95  # of a node's memory: Slurm's own daemons need some
_MINUTES = 1440  # asked for at first, where the partition allows more


def values_of(partition: str | None) -> dict[str, str]:
    """The values of the skeleton. UserError for a partition that sinfo does not list; MissingError where one is named and Slurm
    does not answer."""
    if shutil.which("sinfo") is None:
        return _values(
            partition or "gpu", Partition(_MINUTES, 1, 8, 64000, 1), "# There is no sinfo here: edit every value."
        )
    try:
        partitions = Controller().partitions()
    except MissingError as error:
        if partition is not None:
            raise
        return _values("gpu", Partition(_MINUTES, 1, 8, 64000, 1), f"# Edit every value: {error}.")
    if not partitions:
        raise MissingError("sinfo lists no partition (sinfo --Node says what it sees)")
    if partition is not None and partition not in partitions:
        raise UserError(f"--partition {partition}: sinfo lists none called so.{nearest(partition, partitions)}")
    chosen = partition or max(partitions, key=lambda name: (partitions[name].gpus, partitions[name].nodes))
    lines = [f"#   {name}: {_sizes(partitions[name])}" for name in partitions]
    return _values(chosen, partitions[chosen], "\n".join(["# What sinfo lists (a node's largest values):", *lines]))


def _sizes(partition: Partition) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in partition.gpu_kinds.items() if kind)
    gpus = f", {partition.gpus} GPUs" + (f" ({kinds})" if kinds else "") if partition.gpus else ""
    return f"{partition.nodes} nodes, {partition.cpus} CPUs{gpus}, {partition.memory} MiB, {partition.minutes} minutes"


def _values(name: str, partition: Partition, seen: str) -> dict[str, str]:
    """One GPU per job, with its share of a node; without GPUs a quarter of a node."""
    share = max(1, partition.gpus or min(4, partition.cpus))
    limit = max(1, min(partition.minutes, 2 * _MINUTES))
    numbers = {
        "gpus": min(1, partition.gpus),
        "cpus": max(1, partition.cpus // share),
        "memory": max(1, int(partition.memory * _MEMORY_SHARE / share)),
        "minutes": min(limit, _MINUTES),
        "limit": limit,
    }
    kind = max(filter(None, partition.gpu_kinds), key=lambda kind: partition.gpu_kinds[kind], default="h100")
    return {
        "partition": name,
        "gres": f"gpu:{kind}:1",
        "seen": seen,
        **{key: str(number) for key, number in numbers.items()},
    }
