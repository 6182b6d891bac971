"""What trained models say of some images: label maps of several rows of a table, for figures that people look at."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from harness.data.annotations.label_maps import LabelReader, read_pair
from harness.data.files import locate, pairs
from harness.data.layout import Pair, Root
from harness.errors import MissingError, UserError, nearest
from harness.jobs.job import Job
from harness.jobs.kinds import EvaluateConfig
from harness.plan.planner import Cell, Plan
from harness.store.store import Store
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


Tested = tuple[Job, Path | None]
"""An evaluation, and the folder of the training it tests (None: of given weights)."""


def rows_tested(plan: Plan, store: Store) -> tuple[str, dict[str, list[Tested]]]:
    """(column, {row: its evaluations, one per seed}) of a plan's cells that are trained, or that test given weights.

    UserError where there is none, or where a row has several; MissingError that names the cells that are not trained.
    """
    cells: dict[str, Cell] = {}
    for cell in (c for c in plan.wanted() if c.metric.kind == "evaluate"):
        other = cells.setdefault(cell.row, cell)
        if [job.key for job in other.jobs] != [job.key for job in cell.jobs]:
            raise UserError(f"{cell.table.id} is tested in several columns; choose one (--columns {other.column})")
    if not cells:
        raise UserError("none of the selected cells tests a model; choose a column of a score (--columns) and rows")
    open_ = [c for c in cells.values() for job in c.jobs if not all(map(store.result, _trainings(plan, job)))]
    if open_:
        names, again = dict.fromkeys(cell.name for cell in open_), _command(plan, open_)
        raise MissingError(f"not trained here yet: {', '.join(names)}; run them first: {again}")
    found = {
        row: [(job, next((store.folder(t) for t in _trainings(plan, job)), None)) for job in cell.jobs]
        for row, cell in cells.items()
    }
    return next(iter(cells.values())).column, found


def tested(plan: Plan, store: Store) -> dict[str, Tested]:
    """{row: the evaluation of its first seed}; errors as `rows_tested`."""
    return {row: tests[0] for row, tests in rows_tested(plan, store)[1].items()}


def _command(plan: Plan, cells: Sequence[Cell]) -> str:
    """What measures these cells."""
    parts = ["python", "-m", "harness", "run", plan.tables[0].path]
    for flag, names in (("--rows", [c.row for c in cells]), ("--columns", [c.column for c in cells])):
        parts += [part for name in dict.fromkeys(names) for part in (flag, name)]
    parts += [] if plan.profile.name == "paper" else ["--profile", plan.profile.name]
    seeds = max(len(cell.jobs) for cell in cells)
    return shlex.join([*parts, *(["--seeds", str(seeds)] if seeds > 1 else [])])


def _trainings(plan: Plan, job: Job) -> list[Job]:
    return [plan.jobs[key] for key in job.needs]


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
