"""Small trainings for the tests that need a GPU; on a CPU the same tests can be gone through with HARNESS_GPU_TESTS=cpu."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from harness.jobs.context import Context
from harness.jobs.kinds import Data, Model, TrainConfig
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import Augmentation, Recipe
from harness.tasks.segmentation.loader import Batch
from harness.tasks.segmentation.train import build_training
from harness.training.loop import Training

DEVICE = "cuda" if torch.cuda.is_available() else os.environ.get("HARNESS_GPU_TESTS", "")
"""What the tests run on; empty where there is no GPU and nobody asked for a CPU."""


def job(
    method: str = "fcn",
    *,
    backbone: str = "resnet18",
    options: dict | None = None,
    images: int = 8,
    side: int = 64,
    seed: int = 3,
    **recipe,
) -> TrainConfig:
    """A training on embedded scenes with CamVid's classes, from random weights."""
    crop = Augmentation(resize=(side, side), crop=(side, side))
    settings = {"batch_size": 4, "iterations": 6, "dataset": "camvid", "augmentation": crop, **recipe}
    return TrainConfig(
        model=Model(name=method, num_classes=11, backbone=backbone, options=options or {}),
        data=Data(name="camvid", synthetic=Synthetic(train_images=images, test_images=4, size=(side, side))),
        recipe=Recipe(**settings),
        profile="gpu",
        seed=seed,
    )


def context(folder: Path, cache: Path, *, threads: int = 1, device: str = DEVICE, **settings) -> Context:
    return Context(folder=folder, cache=cache, data_dir=None, device=device, threads=threads, **settings)


def training(config: TrainConfig, folder: Path, *, threads: int = 1, device: str = DEVICE) -> Training:
    """The training on the device; scenes lie beside `folder`."""
    return build_training(config, context(folder, folder.parent / "cache", threads=threads, device=device))


def pinned(batch: Batch) -> Batch:
    """As the data loader hands it over beside a GPU."""
    if DEVICE != "cuda":
        return batch
    return batch._replace(**{name: getattr(batch, name).pin_memory() for name in ("images", "targets", "valid")})


def relative_error(value: torch.Tensor, exact: torch.Tensor) -> float:
    """‖value − exact‖ / ‖exact‖ in float64."""
    value, exact = value.detach().double().cpu(), exact.detach().double().cpu()
    return ((value - exact).norm() / exact.norm().clamp(min=1e-30)).item()
