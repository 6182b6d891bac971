"""Causes of a job's end that lie with the machine, not with the job, read from the messages of torch and CUDA."""

from __future__ import annotations

import re
from typing import NamedTuple


class MachineCause(NamedTuple):
    """`cause` in a word; `advice` for a person; `repeated_as`: the cause under which a cluster file says how often such a job is
    run again, '' where another attempt would end like this one."""

    cause: str
    advice: str
    repeated_as: str = ""


_PATTERNS = (
    (
        r"killed by signal: Bus error|out of shared memory|unable to (open|write|mmap|allocate) .*(shared memory|/torch_)",
        MachineCause(
            "shared memory",
            "/dev/shm is too small for the batches of its data workers, which need about 300 MB per GPU: give a container "
            "more (docker run --shm-size=8g), or fewer CPUs per process",
        ),
    ),
    (
        r"DataLoader worker.*(killed by signal: Killed|exited unexpectedly)",
        MachineCause(
            "data worker killed",
            "a process that prepares its batches is gone, mostly because the host's memory ran out: ask for more memory, or "
            "for fewer CPUs per process",
            "out of memory",
        ),
    ),
    (
        r"_STATUS_ALLOC_FAILED|_STATUS_NOT_INITIALIZED.*(Create|handle)",
        MachineCause(
            "out of memory",
            "no GPU memory left for cuBLAS or cuDNN: set recipe.accumulate, or lower the batch",
        ),
    ),
    (
        r"ECC error|GPU is lost|fallen off the bus|hardware stack error|CUDA-capable device\(s\) is/are busy or unavailable",
        MachineCause(
            "GPU failure",
            "the GPU or its driver failed; nvidia-smi -q says more",
            "node failure",
        ),
    ),
    (
        r"NCCL|collective operation timeout|Connection (closed|reset) by peer|Timed out waiting for clients|Gloo|gloo",
        MachineCause(
            "lost connection",
            "a process of the training no longer answered: the log of the node that went first says why; NCCL_DEBUG=INFO shows "
            "the network that NCCL uses",
            "node failure",
        ),
    ),
)
REPEATED_AS = {found.cause: found.repeated_as for _, found in _PATTERNS if found.repeated_as}
"""{cause: the one under which it is repeated}"""


def machine_cause(message: str) -> MachineCause | None:
    """What of the machine ended a job with this message; None for an error of the job's own."""
    return next((found for pattern, found in _PATTERNS if re.search(pattern, message, re.DOTALL)), None)
