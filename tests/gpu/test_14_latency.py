"""Latency: passes that agree, events that agree with the clock, and peak memory to the MiB."""

import time

import pytest
import torch

from harness.tasks.complexity import latency
from harness.training.tf32 import fp32_products
from methods import registry
from tests.support.gpu_cases import DEVICE

pytestmark = pytest.mark.gpu
SIDE, CHANNELS, PASSES = (128, 2048, 100) if DEVICE == "cuda" else (16, 64, 5)


def forward_of(name: str):
    with torch.device(DEVICE):
        module = registry.build(name, [CHANNELS], kind="context", channels=CHANNELS // 4).eval()
        features = [torch.randn(1, CHANNELS, SIDE, SIDE)]

    def forward():
        with torch.inference_mode():
            return module(features)

    return forward


@pytest.mark.parametrize("tf32", [False, True])
def test_passes_agree_and_so_does_the_clock(tf32):
    forward = forward_of("ppm")
    with fp32_products(tf32=tf32):
        latency.timed(forward, DEVICE, PASSES // 5, after=lambda i: None)
        timing = latency.timed(forward, DEVICE, PASSES, after=lambda i: None)
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(PASSES):
            forward()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        queued = 1000 * (time.perf_counter() - start) / PASSES
    assert len(timing.milliseconds) == PASSES
    if DEVICE == "cuda":
        assert timing.quantile(0.75) <= 1.03 * timing.quantile(0.25)
        assert queued == pytest.approx(timing.quantile(0.5), rel=0.1)


@pytest.mark.parametrize("name", ["ppm", "aspp"])
def test_peak_memory_repeats(name):
    forward = forward_of(name)
    peaks = [latency.peak_bytes(forward, DEVICE) for _ in range(3)]
    assert max(peaks) - min(peaks) <= 2**20
    assert min(peaks) > 0
