"""The trainings that the shipped tables ask for, without their repetitions: what a count on `meta` goes through."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from harness.environment import Device
from harness.jobs.kinds import OWN_BACKBONE, TrainConfig
from harness.plan.planner import Planner
from harness.table import paths, recipes
from harness.table.load import load
from methods import backbones


@functools.cache
def trainings() -> dict[str, TrainConfig]:
    """{table/row/column: the training that the cell asks for}, each distinct one once, under profile `paper`.

    Not of methods that build their backbones themselves: those are a library's models, whose code may wait for the host.
    """
    planner = Planner(recipes.profile("paper"), cache=Path("/dev/null/cache"), device=Device("cpu", "any", 1))
    plan = planner.plan([load(file) for file in paths.table_files()])
    found: dict[str, tuple[str, TrainConfig]] = {}
    for cell in plan.cells:
        for key in {key for job in cell.jobs for key in (job.key, *job.needs)}:
            if plan.jobs[key].kind == "train":
                config = TrainConfig.model_validate(plan.jobs[key].config)
                if config.model.backbone == OWN_BACKBONE:
                    continue
                found.setdefault(json.dumps(config.model_dump(mode="json"), sort_keys=True), (cell.name, config))
    return dict(found.values())


def family(config: TrainConfig) -> tuple[str, str]:
    """(method, family of its backbone), such as (idrnet, swin)."""
    module = backbones.module_of(str(config.model.backbone)) or ""
    return config.model.name, module.rpartition(".")[2]


def one_per_family() -> dict[str, TrainConfig]:
    """One training for each pair of a method and a family of backbones: {idrnet-swin: ...}."""
    found: dict[str, TrainConfig] = {}
    for config in trainings().values():
        found.setdefault("-".join(family(config)), config)
    return found
