"""Predictions of trained models on selected images: label maps of several rows of a table, for figures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from harness.data.files import locate, pairs
from harness.data.layout import Root
from harness.data.selection import Scene, choose, read_scenes
from harness.errors import UserError
from harness.jobs.job import Job
from harness.jobs.kinds import EvaluateConfig
from harness.tasks.segmentation.evaluate import trained_model
from harness.tasks.segmentation.loader import images_for_testing
from harness.tasks.segmentation.protocols import predict


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
    selection = choose(pairs(root, split), count, ids)
    selected_scenes = read_scenes(root, selection)
    for row, config in configs.items():
        model = trained_model(config, jobs[row][1], device)
        pairs_of_classes, normalisation = root.dataset.mirror_pairs, config.normalisation
        for scene, item in zip(selected_scenes, images_for_testing(root, split, config.protocol, only=selection)):
            label = predict(
                model,
                item.views,
                item.label.shape,
                config.protocol,
                normalisation=normalisation,
                mirror_pairs=pairs_of_classes,
                device=device,
            )
            scene.predictions[row] = label.cpu().numpy()
    return selected_scenes, root
