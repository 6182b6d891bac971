"""State that several processes learn together. Every function is the identity when there is one process."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(x: Tensor) -> Tensor:
    """The sum over all ranks, on every rank."""
    if world_size() == 1:
        return x
    total = x.clone()
    dist.all_reduce(total)
    return total


def average_over_ranks_(tensors: Iterable[Tensor]) -> None:
    """Replaces each tensor by its mean over all ranks."""
    if world_size() == 1:
        return
    for x in tensors:
        dist.all_reduce(x)
        x.div_(world_size())


def gather_over_ranks(x: Tensor) -> Tensor:
    """Concatenates along the first axis, in the order of ranks; every rank holds as many rows."""
    if world_size() == 1:
        return x
    x = x.contiguous()
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x)
    return torch.cat(parts)


def from_first_rank(x: Tensor) -> Tensor:
    """What the first rank holds, on every rank: a draw that all must agree on."""
    if world_size() == 1:
        return x
    x = x.contiguous()
    dist.broadcast(x, src=0)
    return x
