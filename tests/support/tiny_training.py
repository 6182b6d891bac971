"""A segmentor small enough to train in milliseconds, and batches that live in memory. Also a script that trains it.

python tests/support/tiny_training.py FOLDER ITERATIONS
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from harness import files
from harness.recipes.common import Optimizer, Schedule
from harness.training import checkpoint, optim
from harness.training.loop import Training
from harness.training.random_state import seed_everything
from methods.segmentor import Backbone, Segmentor, pixel_loss

CLASSES = 5


class TinyBackbone(Backbone):
    channels = (8,)
    strides = (1,)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.body(images)]


class TinySegmentor(Segmentor):
    """Draws from every generator while it trains, and counts something, as a real method may."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = TinyBackbone()
        self.head = nn.Sequential(nn.Dropout2d(0.3), nn.Conv2d(8, CLASSES, 1))
        self.register_buffer("drawn", torch.zeros(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images)[0])

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        self.drawn[np.random.randint(CLASSES)] += 1
        logits = self(images)
        return {"main": pixel_loss(logits, targets), "spread": 0.01 * torch.rand(()) * logits.square().mean()}

    def measurements(self) -> dict[str, list[float]]:
        return {"drawn": self.drawn.tolist()}


class PlainSegmentor(Segmentor):
    """No normalisation, no dropout: a batch may be split in any way."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = TinyBackbone()
        self.backbone.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images)[0])

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"main": self.criterion(self(images), targets)}


@dataclass
class Batch:
    images: Tensor
    targets: Tensor
    ids: list[str]


def batch(iteration: int, size: int = 4, side: int = 8) -> Batch:
    """The batch of an iteration: a pure function of it."""
    draw = torch.Generator().manual_seed(1000 + iteration)
    images = torch.randn(size, 3, side, side, generator=draw)
    targets = torch.randint(0, CLASSES, (size, side, side), generator=draw)
    targets[:, 0] = 255
    return Batch(images, targets, [f"image{iteration}_{i}" for i in range(size)])


def batches(start: int, stop: int):
    return (batch(i) for i in range(start, stop))


def training(folder: Path, iterations: int = 12, *, seed: int = 0, **options) -> Training:
    """A fresh training of the tiny segmentor, with momentum and a falling learning rate."""
    torch.set_num_threads(1)
    seed_everything(seed)
    model = options.pop("model", TinySegmentor)()
    recipe = options.pop("optimizer", Optimizer(lr=0.05, multipliers={"head": 2.0}))
    schedule = options.pop("schedule", Schedule(floor=0.01, warmup_iterations=2))
    settings = {
        "batches": batches,
        "prepare": lambda b: (b.images, b.targets),
        "checkpoint_every": 3,
        "identity": {"model": "tiny", "classes": CLASSES},
        **options,
    }
    return Training(
        model=model,
        optimizer=optim.build_optimizer(model, recipe),
        factor=lambda t: optim.learning_rate_factor(schedule, t, iterations),
        iterations=iterations,
        folder=Path(folder),
        **settings,
    )


def kill_at(event: int) -> None:
    """Kills this process without warning at the given event; checkpoints make several events each: before the file is
    written, while it is half written, before and after the rename."""
    seen = 0

    def tick() -> None:
        nonlocal seen
        seen += 1
        if seen > event:
            os.kill(os.getpid(), signal.SIGKILL)

    def ticking(function):
        def wrapped(*arguments, **options):
            tick()
            result = function(*arguments, **options)
            tick()
            return result

        return wrapped

    files.os.replace = ticking(os.replace)  # curve and checkpoint alike
    checkpoint._HashingWriter.write = ticking(checkpoint._HashingWriter.write)
    TinySegmentor.losses = ticking(TinySegmentor.losses)
    torch.optim.SGD.step = ticking(torch.optim.SGD.step)


if __name__ == "__main__":
    training(Path(sys.argv[1]), int(sys.argv[2])).run()
