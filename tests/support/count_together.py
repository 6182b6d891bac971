"""Evaluates a fixed model, alone or as one of several processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch import nn

from harness.jobs.context import Context
from harness.jobs.kinds import Data, EvaluateConfig, Model
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import TestProtocol
from harness.tasks.segmentation import evaluate


def measured(folder: Path) -> dict[str, float]:
    """What a fixed model measures on five scenes; its confusion.npy lies in the folder."""
    torch.manual_seed(0)
    model = nn.Conv2d(3, 11, 3, 2, 1).eval()
    evaluate.trained_model = lambda config, training, device: model
    data = Data(name="camvid", synthetic=Synthetic(train_images=1, test_images=5, size=(32, 48)))
    protocol = TestProtocol()
    config = EvaluateConfig(
        model=Model(name="any", num_classes=11), data=data, protocol=protocol, profile="smoke", seed=0
    )
    context = Context(folder=folder, cache=folder / "cache", data_dir=None, device="cpu", threads=1)
    return {m.name: m.value for m in evaluate.evaluate(config, context)}


def measure_as_rank(folder: Path) -> None:
    """Leaves the numbers in RANK.json of the folder."""
    numbers = measured(folder)
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(numbers))
