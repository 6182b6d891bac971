"""Trains a job on one process or several, as torchrun starts them; a script for the tests of distributed training.

    RANK=0 WORLD_SIZE=2 MASTER_PORT=… python tests/support/distributed_steps.py JOB.json FOLDER CACHE DTYPE

Dropout is off: every process draws its own masks, so that with it the weights agree in distribution only. Where the recipe
freezes the backbone's normalisation, the heads' is frozen too, so that a batch may be split in any way.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from harness.jobs.context import Context
from harness.jobs.kinds import TrainConfig
from harness.tasks.segmentation import train
from harness.training import batch_norm, distributed


def main() -> None:
    job, folder, cache = map(Path, sys.argv[1:4])
    dtype = {"float32": torch.float32, "float64": torch.float64}[sys.argv[4]]
    torch.set_default_dtype(dtype)
    context = Context(folder=folder, cache=cache, data_dir=None, device="cpu", threads=1)
    with distributed.process_group("cpu"):
        config = TrainConfig.model_validate_json(job.read_bytes())
        training = train.build_training(config, context)
        if config.recipe.batch_norm == "frozen":
            batch_norm.replace(training.model, batch_norm.FrozenBatchNorm)
        for module in training.model.modules():
            if isinstance(module, nn.Dropout | nn.Dropout2d):
                module.p = 0.0
        prepare = training.prepare
        training.prepare = lambda batch: (prepare(batch)[0].to(dtype), batch.targets.long())
        training.run()


if __name__ == "__main__":
    main()
