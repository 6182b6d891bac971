"""Whether products of float32 on a GPU may use TF32, whose mantissas have 10 bits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def fp32_products(*, tf32: bool) -> Iterator[None]:
    """Within, products of float32 on a GPU use TF32, or do not; afterwards they are as before."""
    before = {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32}
    allow_tf32(matmul=tf32, cudnn=tf32)
    try:
        yield
    finally:
        allow_tf32(**before)


def allow_tf32(*, matmul: bool, cudnn: bool) -> None:
    """This pair of switches sets `fp32_precision` too. Set by that newer name, this pair can no longer be read, and Inductor
    and `torch.backends.cudnn.flags` read it (pytorch issue 166387)."""
    torch.backends.cuda.matmul.allow_tf32 = matmul
    torch.backends.cudnn.allow_tf32 = cudnn
