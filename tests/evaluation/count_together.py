"""Counts a confusion matrix as one of several processes: `count_together.py CACHE OUT.npy` under RANK and WORLD_SIZE."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from harness.data.files import locate
from harness.evaluation.run import confusion_of
from harness.job import Context, Data
from harness.recipe import Synthetic, TestProtocol
from harness.training.distributed import process_group


def count(cache: Path) -> np.ndarray:
    """The matrix of a fixed model on five scenes."""
    torch.set_num_threads(1)
    data = Data(name="camvid", synthetic=Synthetic(train_images=1, test_images=5, size=(32, 48)))
    torch.manual_seed(0)
    model = nn.Conv2d(3, 11, 3, 2, 1).eval()
    context = Context(folder=cache, cache=cache, data_dir=None, device="cpu", threads=1)
    with process_group("cpu"):
        root = locate(data, data_dir=None, cache=cache)
        return confusion_of(model, root, TestProtocol(), context)[0]


if __name__ == "__main__":
    np.save(sys.argv[2], count(Path(sys.argv[1])))
