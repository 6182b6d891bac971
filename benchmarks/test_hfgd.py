"""What HFGD's parts cost, as ratios in one run on one CPU thread: guidance, axial attention, CAR's losses.

CPU seconds of the process (the machine may be shared); peak memory is resident memory over that before the step, each in
its own process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from harness import ROOT
from methods import registry
from methods.backbones import build_backbone
from methods.hfgd.attention import AxialAttention
from methods.hfgd.car import class_aware_losses
from methods.segmentor import GivenFeatures
from tests.support.ratios import cpu_seconds, record, report, resident_peak

K = 59
CHANNELS = (256, 512, 1024, 2048)


class ExplicitAxialAttention(nn.Module):
    """Axial attention with both maps of affinities kept, as the released layer computes it.

    x [B, channels, H, W] -> same shape
    """

    def __init__(self, channels: int, *, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, x):
        parts = x.unflatten(1, (self.heads, -1))  # [B, heads, d, H, W]
        scale = parts.shape[2] ** -0.5
        by_column, by_row = parts.permute(0, 1, 4, 3, 2), parts.permute(0, 1, 3, 4, 2)  # [B, heads, W | H, H | W, d]
        columns = (by_column @ by_column.transpose(-2, -1) * scale).softmax(-1)
        rows = (by_row @ by_row.transpose(-2, -1) * scale).softmax(-1)
        mixed = rows @ (columns @ by_column).transpose(2, 3)
        return mixed.permute(0, 1, 4, 2, 3).flatten(1, 2)


AXIAL = {"ours": AxialAttention, "explicit": ExplicitAxialAttention}


def decoder(hfgm: str):
    torch.manual_seed(0)
    options = {"decoder": "sfpn", "encoding": "identity", "hfgm": hfgm, "token_bias": True}
    return registry.build("hfgd", GivenFeatures(CHANNELS, (4, 8, 16, 32)), K, **options).eval()


@pytest.mark.benchmark(group="hfgd")
def test_guidance_costs_nothing_at_inference(benchmark):
    """SemanticFPN on a ResNet-50's maps of a 257 × 257 image."""
    torch.set_num_threads(1)
    features = [torch.randn(1, c, n, n) for c, n in zip(CHANNELS, (65, 33, 17, 9))]
    plain, guided = decoder("none"), decoder("guidance")

    def inference(model):
        def predict() -> None:
            with torch.no_grad():
                model(features)

        return predict

    ours, peer = cpu_seconds(inference(guided), inference(plain), rounds=40)
    record(benchmark, inference(guided))
    report(benchmark, "inference, SemanticFPN + guidance against SemanticFPN", ours, peer, "at most 1.02")
    assert ours <= 1.02 * peer


@pytest.mark.benchmark(group="hfgd")
def test_cars_losses_beside_a_training_step(benchmark):
    """At 513 × 513: CAR's losses, forwards and backwards, on the 65 × 65 map of a dilated backbone, where they are dearest
    (HFGD takes them at 17 × 17), against a step of HFGD at output stride 4."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = registry.build("hfgd", build_backbone("hfgd_resnet50"), K, car_mean="all").train()
    images, targets = torch.randn(1, 3, 513, 513), torch.randint(K, (1, 513, 513))
    x, labels = torch.randn(1, 512, 65, 65, requires_grad=True), torch.randint(K, (1, 65, 65))

    def step() -> None:
        model.zero_grad(set_to_none=True)
        sum(model.losses(images, targets).values()).backward()

    def losses() -> None:
        x.grad = None
        sum(class_aware_losses(x, labels, K, mean="all").values()).backward()

    (ours,) = cpu_seconds(losses, rounds=5)
    start = time.process_time()
    step()
    peer = time.process_time() - start
    record(benchmark, losses)
    report(benchmark, "CAR's losses beside a training step", ours, peer, "at most 0.1")
    assert ours <= 0.1 * peer


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from Linux's /proc")
@pytest.mark.benchmark(group="hfgd")
def test_memory_of_axial_attention(benchmark):
    """Forwards and backwards at output stride 2 of 513 × 1025: a map of 256 × 257 × 513."""
    peaks = {}
    for formulation in AXIAL:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.test_hfgd", formulation],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        peaks[formulation] = json.loads(done.stdout)
    record(benchmark, lambda: None)
    report(benchmark, "peak memory of axial attention", peaks["ours"], peaks["explicit"], "at most 0.5", "MiB")
    assert peaks["ours"] <= 0.5 * peaks["explicit"]


def peak_memory(formulation: str) -> float:
    """MiB that one forward and backward pass adds to the peak of this process."""
    torch.set_num_threads(1)
    layer = AXIAL[formulation](256)
    # a pass over a small map first, so that the code that is loaded lazily is not counted
    layer(torch.randn(1, 256, 9, 9, requires_grad=True)).sum().backward()
    x = torch.randn(1, 256, 257, 513, requires_grad=True)
    before = resident_peak()
    layer(x).sum().backward()
    return resident_peak() - before


if __name__ == "__main__":
    print(json.dumps(peak_memory(sys.argv[1])))
