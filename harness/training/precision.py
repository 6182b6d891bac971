"""Number formats of training and testing (fp32, tf32, bf16, fp16) and the loss scaling of fp16."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from harness.training.tf32 import allow_tf32, fp32_products

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """`fp32`; `tf32` (products of float32 with 10-bit mantissas, on GPUs that can); `bf16` and `fp16` by autocast.

    On a CPU `tf32` is `fp32`. Weights stay float32 in all of them. `scaler` scales losses up in fp16 and does nothing otherwise.
    """

    def __init__(self, name: str = "fp32", device: str = "cpu") -> None:
        self.name = name
        self.device = device
        self.scaler = torch.amp.GradScaler(device, enabled=name == "fp16")

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        dtype = _AUTOCAST.get(self.name)
        return contextlib.nullcontext() if dtype is None else torch.autocast(self.device, dtype=dtype)

    def apply(self) -> None:
        """Sets torch's switches for float32 products, which would otherwise silently be TF32 in convolutions."""
        allow_tf32(matmul=self.name == "tf32", cudnn=self.name == "tf32")

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """This precision within, with its autocast; and float32 products as before afterwards."""
        with fp32_products(tf32=self.name == "tf32"), self.autocast():
            yield


def only_repeatable_algorithms(enabled: bool = True) -> None:
    """Allows deterministic algorithms only, so that a GPU repeats bit for bit, at some cost in speed;
    an operation that cannot raises torch's own error. Otherwise cuDNN tries its algorithms for a crop's size and takes the
    fastest, as the papers' authors train.

    To be called before the first matrix product on a GPU: cuBLAS looks at its workspace then.
    """
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(enabled)
    torch.backends.cudnn.benchmark = not enabled


@contextlib.contextmanager
def sizes_that_vary() -> Iterator[None]:
    """cuDNN takes algorithms by rule: of images that have each their own size, trying them out would take longest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
