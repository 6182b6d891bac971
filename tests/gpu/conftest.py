"""Tests on a GPU: skipped where there is none. HARNESS_GPU_TESTS=cpu goes through what a CPU can of them.

They are numbered so that the first minute tells most. Each file runs by itself: `pytest -m gpu tests/gpu/test_03_step.py`.
"""

from __future__ import annotations

import os

import pytest
import torch

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first matrix product: `deterministic` needs it
from tests.support.gpu_cases import DEVICE


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu2") is not None and DEVICE == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    if not DEVICE and (item.get_closest_marker("gpu") or item.get_closest_marker("gpu2")):
        pytest.skip("needs a GPU (HARNESS_GPU_TESTS=cpu goes through what a CPU can)")
    if item.get_closest_marker("cuda") is not None and DEVICE != "cuda":
        pytest.skip("is about CUDA itself")


@pytest.fixture(autouse=True)
def _as_found():
    """Switches of torch as they were, whatever a test sets."""
    algorithms = torch.are_deterministic_algorithms_enabled()
    products = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(algorithms)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = products
    if torch.cuda.is_initialized():
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.empty_cache()
