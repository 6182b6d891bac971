"""Collective operations of data-parallel training. Every function is the identity in a single process.

None takes part in gradients. All ranks must call the same ones in the same order, whatever their data: a rank without a
single valid pixel takes part like any other.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


def sum_over_ranks(x: Tensor) -> Tensor:
    """The sum over all ranks, on every rank."""
    if world_size() == 1:
        return x
    total = x.detach().clone()
    dist.all_reduce(total)
    return total


def average_over_ranks(x: Tensor) -> Tensor:
    """The mean over all ranks, on every rank."""
    return x if world_size() == 1 else sum_over_ranks(x) / world_size()


def gather_over_ranks(x: Tensor) -> Tensor:
    """Concatenates along the first axis, in the order of ranks; every rank holds as many rows."""
    if world_size() == 1:
        return x
    x = x.detach().contiguous()
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x)
    return torch.cat(parts)


def from_first_rank(x: Tensor) -> Tensor:
    """The first rank's tensor, on every rank: for random draws on which all must agree."""
    if world_size() == 1:
        return x
    x = x.detach().clone()
    dist.broadcast(x, src=0)
    return x


def divisor(mask: Tensor) -> Tensor:
    """The divisor of a sum over `mask` (bool): the number of true elements per process, never zero.

    The processes' quotients then average to the mean over all that is counted on any of them, and so do the gradients,
    which data-parallel training averages. An average of the processes' own means would not: their numbers differ.
    """
    return average_over_ranks(mask.sum().float()).clamp(min=1 / world_size())
