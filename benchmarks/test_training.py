"""What the training core costs: its loop over the bare step, its checkpoints, and its speed against mmengine's Runner.

CPU seconds of one thread are compared where the machine may be shared; both sides of a ratio run alternately.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from harness.jobs.context import Context
from harness.jobs.kinds import Data, Model, TrainConfig
from harness.recipes.common import Optimizer
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import Augmentation, Recipe
from harness.tasks.segmentation.train import build_training
from harness.training import checkpoint
from harness.training.loop import Training
from harness.training.optim import build_optimizer
from methods.build import build_model

PEERS = Path(__file__).with_name("training_peers.py")
ROUNDS = 5  # the median of fewer moves by more than a tenth on a machine that others share


class Batch:
    ids = ("a", "b")

    def __init__(self) -> None:
        self.images = torch.randn(2, 3, 96, 96)
        self.targets = torch.randint(0, 11, (2, 96, 96))


def model_and_optimizer(backbone: str = "resnet18", stride: int = 16):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_model(Model(name="fcn", num_classes=11, backbone=backbone, output_stride=stride))
    return model, build_optimizer(model, Optimizer())


def bare_steps(batch: Batch, iterations: int) -> list[float]:
    """CPU seconds of each iteration of the shortest loop that trains and looks at its loss."""
    model, optimizer = model_and_optimizer()
    ticks = [time.process_time()]
    for _ in range(iterations):
        optimizer.zero_grad(set_to_none=True)
        loss = sum(model.losses(batch.images, batch.targets).values())
        loss.backward()
        optimizer.step()
        loss.item()
        ticks.append(time.process_time())
    return [b - a for a, b in itertools.pairwise(ticks)]


def loop_steps(batch: Batch, iterations: int, folder: Path) -> list[float]:
    """CPU seconds from one request for a batch to the next."""
    model, optimizer = model_and_optimizer()
    ticks: list[float] = []

    def batches(start: int, stop: int):
        for _ in range(start, stop):
            ticks.append(time.process_time())
            yield batch

    Training(
        model=model,
        optimizer=optimizer,
        factor=lambda t: 1.0,
        batches=batches,
        prepare=lambda batch: (batch.images, batch.targets),
        iterations=iterations,
        folder=folder,
        checkpoint_every=10**6,
    ).run()
    return [b - a for a, b in itertools.pairwise(ticks)]


def test_loop_overhead(tmp_path, benchmark):
    """At most 3 % over the bare step, on batches that are in memory."""
    batch, bare, loop = Batch(), [], []
    for turn in range(8):
        bare += bare_steps(batch, 12)[3:]
        loop += loop_steps(batch, 12, tmp_path / str(turn))[3:]
    ratio = min(loop) / min(bare)  # the quietest step of each: others on the machine only add
    benchmark.extra_info["loop over bare step"] = ratio
    benchmark.pedantic(lambda: None)
    print(f"\nloop / bare step: {ratio:.4f} ({1000 * min(bare):.1f} ms CPU per step)")
    assert ratio <= 1.03


def peer(who: str, dataset: str, layout: str, folder: Path, iterations: int) -> dict[str, float]:
    command = [sys.executable, str(PEERS), who, dataset, layout, str(folder), str(iterations)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("dataset", "at_least"), [("cityscapes", 1.0), ("ade20k", 1.15)])
def test_against_mmengine(tmp_path, benchmark, dataset, at_least):
    """Images per second at least 1.15 times those of mmengine's Runner on mmsegmentation with ADE20K's 150 classes, and no fewer
    with Cityscapes' 19, where three quarters of a step are convolutions that both call alike; memory at most 1.0 times. Each
    side in the memory layout in which it is faster; both in the same layout is printed beside."""
    pytest.importorskip("mmseg")
    layouts, sides = ("contiguous", "channels_last"), ("ours", "mmengine")
    rounds = [
        {(who, layout): peer(who, dataset, layout, tmp_path, 20) for layout in layouts for who in sides}
        for _ in range(ROUNDS)
    ]

    def ratio(metric: str, a: tuple[str, str], b: tuple[str, str]) -> float:
        return statistics.median(one[a][metric] / one[b][metric] for one in rounds)

    def faster(who: str) -> str:
        return max(layouts, key=lambda layout: statistics.median(one[who, layout]["per_cpu_second"] for one in rounds))

    chosen = {who: faster(who) for who in sides}
    pairs = {"best": chosen, **{layout: dict.fromkeys(sides, layout) for layout in layouts}}
    ratios = {
        name: {
            metric: ratio(metric, ("ours", of["ours"]), ("mmengine", of["mmengine"]))
            for metric in ("per_cpu_second", "per_second", "MiB")
        }
        for name, of in pairs.items()
    }
    benchmark.extra_info.update({"ours / mmengine": ratios, "faster layout": chosen})
    benchmark.pedantic(lambda: None)
    print(f"\n{dataset}, ours / mmengine (faster layout: {chosen})")
    for name, measured in ratios.items():
        print(f"  {name:<14}" + ", ".join(f"{measure} {value:.3f}" for measure, value in measured.items()))
    assert ratios["best"]["per_cpu_second"] >= at_least
    assert ratios["best"]["MiB"] <= 1.0


def test_data_wait(tmp_path, benchmark):
    """With a worker that reads ahead the step waits at most 5 % of the time for its data; without, all of the reading."""
    torch.set_num_threads(1)
    shares = {}
    for workers in (0, 1):
        config = TrainConfig(
            model=Model(name="fcn", num_classes=11, backbone="resnet18", output_stride=16, options={"channels": 128}),
            data=Data(name="camvid", synthetic=Synthetic(train_images=24, size=(360, 480))),
            recipe=Recipe(
                dataset="camvid",
                batch_size=4,
                iterations=20,
                augmentation=Augmentation(resize=(240, 180), ratio=(0.75, 1.5), crop=(160, 160)),
                checkpoint_every=10**6,
            ),
            profile="benchmark",
            seed=0,
        )
        folder = tmp_path / str(workers)
        context = Context(folder=folder, cache=tmp_path, data_dir=None, device="cpu", threads=1)
        training = build_training(config, context)
        training.batches.__self__.workers = workers
        tally = training.run()
        shares[workers] = tally.waited / tally.seconds
    benchmark.extra_info["share of waiting by workers"] = shares
    benchmark.pedantic(lambda: None)
    print(f"\nwaiting for data / step: {shares[1]:.3f} with a worker, {shares[0]:.3f} without")
    assert shares[1] <= 0.05


def test_checkpoint_write(tmp_path, benchmark):
    """FCN on ResNet-50 with momentum: at most 1 % of ten minutes."""
    model, optimizer = model_and_optimizer("resnet50", 8)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    seconds = []
    for iteration in range(3):
        start = time.perf_counter()
        path = checkpoint.save(tmp_path, state, iteration)
        seconds.append(time.perf_counter() - start)
    benchmark.extra_info.update({"seconds": seconds, "MiB": path.stat().st_size / 2**20})
    benchmark.pedantic(lambda: None)
    share = statistics.median(seconds) / 600
    print(f"\ncheckpoint of {path.stat().st_size / 2**20:.0f} MiB / ten minutes: {share:.4f}")
    assert share <= 0.01


def test_resume(tmp_path, benchmark):
    """FCN on ResNet-50: from the built model to the first step at most 5 s."""
    torch.set_num_threads(1)
    config = TrainConfig(
        model=Model(name="fcn", num_classes=11, backbone="resnet50", output_stride=16),
        data=Data(name="camvid", synthetic=Synthetic(train_images=4)),
        recipe=Recipe(
            dataset="camvid",
            batch_size=2,
            iterations=3,
            augmentation=Augmentation(resize=(64, 64), crop=(64, 64)),
            checkpoint_every=2,
        ),
        profile="benchmark",
        seed=0,
    )
    context = Context(folder=tmp_path, cache=tmp_path / "cache", data_dir=None, device="cpu", threads=1)
    asked = iter([False, True])
    with pytest.raises(Exception, match="state saved"):
        build_training(config, context).run(should_stop=lambda: next(asked))
    training = build_training(config, context)
    first_step, real = [], training.model.losses

    def losses(images, targets):
        first_step.append(time.perf_counter())
        return real(images, targets)

    training.losses = losses
    start = time.perf_counter()
    training.run()
    seconds = first_step[0] - start
    benchmark.extra_info["seconds"] = seconds
    benchmark.pedantic(lambda: None)
    print(f"\nresumed in {seconds:.2f} s")
    assert len(first_step) == 1
    assert seconds <= 5
