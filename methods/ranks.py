"""What several processes that train together share. Every function is the identity when there is one process."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


def average_over_ranks(x: Tensor) -> Tensor:
    """The mean over all ranks, on every rank; takes no part in gradients."""
    if world_size() == 1:
        return x
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / world_size()
