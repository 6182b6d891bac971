"""A checkpoint of gigabytes: the step goes on while it is written, and one that is cut short costs the one before nothing."""

import time

import pytest
import torch

from harness.training import checkpoint
from tests.support.gpu_cases import DEVICE

pytestmark = pytest.mark.gpu
GIB = 3.7 if DEVICE == "cuda" else 0.05


def test_the_host_does_not_wait_for_the_disk(tmp_path):
    state = {"model": {str(i): torch.full((int(GIB * 2**28 / 8),), float(i), device=DEVICE) for i in range(8)}}
    writer = checkpoint.Writer(tmp_path)
    writer.save(state, 1)  # takes the page-locked memory that the next ones use
    writer.wait()
    start = time.perf_counter()
    writer.save(state, 2)
    handed_over = time.perf_counter() - start
    for tensor in state["model"].values():
        tensor.add_(1000)  # the next step
    writer.wait()
    written = time.perf_counter() - start
    writer.close()
    saved = checkpoint.load(tmp_path)
    assert saved is not None
    assert all((tensor == float(name)).all() for name, tensor in saved["model"].items())
    assert handed_over < written
    assert DEVICE == "cpu" or handed_over < 0.01 * 600


def test_one_cut_short_leaves_the_one_before(tmp_path):
    checkpoint.save(tmp_path, {"x": torch.ones(1000, device=DEVICE)}, 1)
    newest = checkpoint.save(tmp_path, {"x": torch.zeros(1000, device=DEVICE)}, 2)
    newest.write_bytes(newest.read_bytes()[:-100])
    state = checkpoint.load(tmp_path)
    assert state is not None
    assert state["x"].to(DEVICE).sum() == 1000
