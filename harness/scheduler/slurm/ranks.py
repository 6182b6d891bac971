"""The variables by which the processes of one job find each other (torchrun's), from those of Slurm's tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping


def torchrun_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT of a Slurm task; the last two as they are where they are set.

    The processes meet on the job's first node, at a port that follows from the job's number: all its tasks agree on it, and
    two jobs on a node hardly meet. Asks no command: a container has no scontrol.
    """
    nodes = environment.get("SLURM_JOB_NODELIST", "")
    alone = not nodes or environment.get("SLURM_JOB_NUM_NODES", "1") == "1"
    return {
        "RANK": environment.get("SLURM_PROCID", "0"),
        "WORLD_SIZE": environment.get("SLURM_NTASKS", "1"),
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
        "MASTER_ADDR": environment.get("MASTER_ADDR") or ("127.0.0.1" if alone else first_node(nodes)),
        "MASTER_PORT": environment.get("MASTER_PORT") or str(20000 + int(environment.get("SLURM_JOB_ID", "0")) % 20000),
    }


def first_node(nodes: str) -> str:
    """The first name of a list of nodes as Slurm writes it: `gpu[007-010,12],login1` begins with gpu007."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    assert first is not None
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first[0])
