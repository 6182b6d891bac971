"""The tasks that models are trained for. A task's parts are named, not imported: nothing here depends on what lies above."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One kind of problem. A part is named `module:name`, and `harness.jobs.kinds.load` finds it.

    `recipe`: the type that says how a model is trained and tested. `train` and `evaluate` are called as
    function(config, context) -> list[Measurement], and `scores`, of a model while it trains, as
    function(model, config, context) -> {metric: value}. `annotations`: what reads the labels of an image. `headline`: the
    metric that stands for a result where one number must do. `contract`: the type that a method of this task builds.
    """

    name: str
    recipe: str
    train: str
    evaluate: str
    scores: str
    annotations: str
    headline: str
    contract: str


SEGMENTATION = Task(
    name="segmentation",
    recipe="harness.recipes.segmentation:Recipe",
    train="harness.tasks.segmentation.train:train",
    evaluate="harness.tasks.segmentation.evaluate:evaluate",
    scores="harness.tasks.segmentation.evaluate:scores_of",
    annotations="harness.data.annotations.label_maps:LabelReader",
    headline="miou",
    contract="methods.segmentor:Segmentor",
)

TASKS = {task.name: task for task in (SEGMENTATION,)}
"""By the name that a dataset's declaration gives as its `task`."""
