"""Trains a job on one process or several, for the tests of distributed training.

Dropout is off: every process draws its own masks, so that with it the weights agree in distribution only. Where the recipe
freezes the backbone's normalisation, the heads' is frozen too, so that a batch may be split in any way.
"""

from pathlib import Path

import torch
from torch import nn

from harness.jobs.context import Context
from harness.jobs.kinds import TrainConfig
from harness.tasks.segmentation import train
from harness.training import batch_norm, distributed
from tests.support.ranks import run_ranks


def train_on(processes: int, config: TrainConfig, dtype: str, folder: Path, cache: Path) -> None:
    """Leaves the checkpoint and the curve in `folder`; the cache holds the synthetic images."""
    run_ranks(train_as_rank, processes, config, dtype, folder, cache)


def train_as_rank(config: TrainConfig, dtype_name: str, folder: Path, cache: Path) -> None:
    dtype = getattr(torch, dtype_name)
    torch.set_default_dtype(dtype)
    context = Context(folder=folder, cache=cache, data_dir=None, device="cpu", threads=1)
    with distributed.process_group("cpu"):
        training = train.build_training(config, context)
        if config.recipe.batch_norm == "frozen":
            batch_norm.replace(training.model, batch_norm.FrozenBatchNorm)
        for module in training.model.modules():
            if isinstance(module, nn.Dropout | nn.Dropout2d):
                module.p = 0.0
        prepare = training.prepare
        training.prepare = lambda batch: (prepare(batch)[0].to(dtype), batch.targets.long())
        training.run()
