"""IDRNet's head against its equations written as loops over classes (idrnet_loops.py), in one run on one CPU thread.

Head without backbone at features [2, 2048, 64, 64], 150 classes, 512 channels, images 512 × 512. CPU seconds of the
process (the machine may be shared); peak memory is resident memory over that before the step, each in its own process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from methods import registry
from methods.segmentor import IGNORE, GivenFeatures
from tests.support.host_waits import Synchronisations
from tests.support.idrnet_loops import logits as loop_logits
from tests.support.idrnet_loops import losses as loop_losses
from tests.support.ratios import cpu_seconds, record, report, resident_peak

K = 150
FORMULATIONS = {
    "ours": (lambda head, x, y: head.losses(x, y), lambda head, x: head(x)),
    "loops": (loop_losses, loop_logits),
}


def setting(classes: int, **options):
    """Head, features and targets; stage 1 chooses among, and the truth contains, the first `classes` classes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    head = registry.build("idrnet", GivenFeatures((2048,)), K, **options).head
    head.stage1.classify.bias.data[classes:] -= 100
    features = [torch.randn(2, 2048, 64, 64, requires_grad=True)]
    targets = F.interpolate(torch.randint(0, classes, (2, 1, 12, 12)).float(), size=(512, 512)).long().squeeze(1)
    targets[:, :25] = IGNORE
    return head, features, targets


def training_step(formulation: str, head, features, targets) -> Callable[[], None]:
    def step() -> None:
        head.train().zero_grad(set_to_none=True)
        features[0].grad = None
        sum(FORMULATIONS[formulation][0](head, features, targets).values()).backward()

    return step


def inference(formulation: str, head, features) -> Callable[[], None]:
    @torch.no_grad()
    def predict() -> None:
        FORMULATIONS[formulation][1](head.eval(), features)

    return predict


@pytest.mark.benchmark(group="idrnet", timer=time.process_time)
def test_training_step(benchmark):
    head, features, targets = setting(60)
    ours, loops = (training_step(f, head, features, targets) for f in FORMULATIONS)
    mine, theirs = cpu_seconds(ours, loops, rounds=2)
    record(benchmark, ours)
    report(benchmark, "training step, 60 classes", mine, theirs, "at least 2.2 × faster")
    assert theirs >= 2.2 * mine


@pytest.mark.benchmark(group="idrnet", timer=time.process_time)
def test_inference(benchmark):
    head, features, _ = setting(60)
    ours, loops = (inference(f, head, features) for f in FORMULATIONS)
    mine, theirs = cpu_seconds(ours, loops, rounds=12)
    record(benchmark, ours)
    report(benchmark, "inference, 60 classes", mine, theirs, "at least 1.5 × faster")
    assert theirs >= 1.5 * mine


@pytest.mark.benchmark(group="idrnet", timer=time.process_time)
def test_cost_does_not_depend_on_the_classes_present(benchmark):
    few, many = setting(10), setting(60)
    present = [int(head.encode(x).assignment.present_BK.sum(1).float().mean()) for head, x, _ in (few, many)]
    works = [training_step("ours", *s) for s in (few, many)]
    cheap, dear = cpu_seconds(*works, rounds=4)
    record(benchmark, works[1])
    report(benchmark, f"training step, {present[1]} against {present[0]} classes present", dear, cheap, "within 5 %")
    assert dear <= 1.05 * cheap


@pytest.mark.benchmark(group="idrnet", timer=time.process_time)
def test_deletion_pass(benchmark):
    """The step with deletion diagnostics against that of the same head without; back-propagation needs no second pass."""
    with_deletion = training_step("ours", *setting(60))
    without = training_step("ours", *setting(60, update="backprop", threshold="mean"))
    dear, cheap = cpu_seconds(with_deletion, without, rounds=3)
    record(benchmark, with_deletion)
    report(benchmark, "step with deletion pass against without", dear, cheap, "at most 1.35")
    assert dear <= 1.35 * cheap


@pytest.mark.benchmark(group="idrnet")
def test_host_synchronisations(benchmark):
    """Counted, so a small map does; on a GPU each would stall the queue of kernels."""
    counts = {}
    for formulation in FORMULATIONS:
        head, _, targets = setting(60, channels=64)
        features = [torch.randn(2, 2048, 16, 16, requires_grad=True)]
        for what, work in (
            ("training step", training_step(formulation, head, features, targets)),
            ("inference", inference(formulation, head, features)),
        ):
            with Synchronisations() as seen:
                work()
            counts[what, formulation] = seen.count
    record(benchmark, lambda: None)
    for what, most in (("training step", 1), ("inference", 0)):
        mine, theirs = counts[what, "ours"], counts[what, "loops"]
        print(f"\nhost synchronisations, {what}: ours {mine}, peer {theirs} (at most {most})")
        benchmark.extra_info[what] = {"ours": mine, "peer": theirs}
        assert mine <= most < theirs


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from Linux's /proc")
@pytest.mark.benchmark(group="idrnet")
def test_peak_memory(benchmark):
    peaks = {}
    for formulation in FORMULATIONS:
        done = subprocess.run(
            [sys.executable, __file__, formulation],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
        peaks[formulation] = json.loads(done.stdout)
    record(benchmark, lambda: None)
    report(benchmark, "peak memory of a training step", peaks["ours"], peaks["loops"], "at most 0.6", "MiB")
    assert peaks["ours"] <= 0.6 * peaks["loops"]


def peak_memory(formulation: str) -> float:
    """MiB that one training step adds to the peak of this process."""
    step = training_step(formulation, *setting(60))
    before = resident_peak()
    step()
    return resident_peak() - before


if __name__ == "__main__":
    print(json.dumps(peak_memory(sys.argv[1])))
