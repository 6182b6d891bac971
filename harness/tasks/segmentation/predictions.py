"""What trained models say of some images: label maps of several rows of a table, for figures that people look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from harness.data.annotations.label_maps import LabelReader, read_pair
from harness.data.files import locate, pairs
from harness.data.layout import Pair, Root
from harness.errors import UserError, nearest
from harness.jobs.job import Job
from harness.jobs.kinds import EvaluateConfig
from harness.tasks.segmentation.evaluate import trained_model
from harness.tasks.segmentation.loader import images_for_testing
from harness.tasks.segmentation.protocols import predict


@dataclass(frozen=True)
class Scene:
    """One image uint8 [H, W, 3] (RGB) with its truth and the rows' predictions, training ids uint8 [H, W] (255: ignored)."""

    id: str
    image: np.ndarray
    truth: np.ndarray
    predictions: dict[str, np.ndarray]


def choose(everything: Sequence[Pair], count: int, ids: Iterable[str]) -> list[Pair]:
    """The images called `ids` where some are, else `count` evenly spread ones: none is picked for what is seen on it."""
    by_id = {pair.id: pair for pair in everything}
    wanted = list(ids)
    for name in wanted:
        if name not in by_id:
            raise UserError(f"--image {name}: the split has no such image.{nearest(name, by_id, what='images are')}")
    if wanted:
        return [by_id[name] for name in wanted]
    return [everything[i] for i in np.linspace(0, len(everything) - 1, min(count, len(everything))).astype(int)]


@torch.inference_mode()
def scenes(
    jobs: dict[str, tuple[Job, Path | None]],
    *,
    data_dir: Path | None,
    cache: Path,
    device: str,
    count: int = 3,
    ids: Iterable[str] = (),
) -> tuple[list[Scene], Root]:
    """Predictions of each row on the same images: `jobs` are {row: (evaluation, folder of its training or None)}.

    Each under its own test protocol, on the data of the first. UserError for evaluations of different data.
    """
    configs = {row: EvaluateConfig.model_validate(job.config) for row, (job, _) in jobs.items()}
    data = {(c.data, c.protocol.split) for c in configs.values()}
    if len(data) != 1:
        raise UserError("the chosen cells are tested on different data; choose one column (--columns)")
    ((source, split),) = data
    root = locate(source, data_dir=data_dir, cache=cache)
    chosen = choose(pairs(root, split), count, ids)
    reader = LabelReader(root.layout)
    files = [read_pair(pair, reader) for pair in chosen]  # OpenCV's order of colours
    found = [Scene(pair.id, image[:, :, ::-1], truth, {}) for pair, (image, truth) in zip(chosen, files)]
    for row, config in configs.items():
        model = trained_model(config, jobs[row][1], device)
        how = {"normalisation": config.normalisation, "mirror_pairs": root.dataset.mirror_pairs, "device": device}
        for scene, item in zip(found, images_for_testing(root, split, config.protocol, only=chosen)):
            label = predict(model, item.views, item.label.shape, config.protocol, **how)
            scene.predictions[row] = label.cpu().numpy()
    return found, root
