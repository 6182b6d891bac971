"""State that several processes move apart: each its own copy, by its own images, and then the mean of the copies.

So the released code moves relation matrices, deletion counts and class memory after every step. Here the number of those
processes is part of the configuration, and the machine's own number changes nothing: every process knows all images'
observations and moves all copies.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor


def images_of_processes(images: int, processes: int) -> list[slice]:
    """The images of each process: runs of a batch, as equal as can be; with fewer images than processes some have none."""
    return [slice(p * images // processes, (p + 1) * images // processes) for p in range(processes)]


def average_copies_(state: Tensor, copies: Iterable[Tensor]) -> Tensor:
    """`state` becomes the mean of its copies, each divided first and then added in the order of processes.

    As in the released code, apart from the order, which there is the network's. Always in the same order, the mean does
    not depend, in any bit, on where the copies were moved.
    """
    copies = list(copies)
    mean = copies[0] / len(copies)
    for copy in copies[1:]:
        mean += copy / len(copies)
    return state.copy_(mean)
