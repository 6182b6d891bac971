"""A task's parts exist and fit together; nothing that only plans loads them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness import ROOT
from harness.jobs.kinds import KINDS, SCORES, EvaluateConfig, TrainConfig, kind_of, load
from harness.jobs.tasks import SEGMENTATION, TASKS, Task
from harness.table.metrics import METRICS


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_part_of_a_task_is_there(task: Task):
    for part in (task.recipe, task.train, task.evaluate, task.scores, task.annotations, task.contract):
        assert callable(load(part)), part
    assert METRICS[task.headline].kind == kind_of(task.evaluate)
    assert KINDS[kind_of(task.train)].task is KINDS[kind_of(task.evaluate)].task is task


def test_segmentation_is_what_its_jobs_are_made_of():
    assert TrainConfig.model_fields["recipe"].annotation is load(SEGMENTATION.recipe)
    assert (
        EvaluateConfig.model_fields["protocol"].annotation is load(SEGMENTATION.recipe).model_fields["test"].annotation
    )
    assert SEGMENTATION.scores == SCORES


def test_only_what_trains_or_tests_has_a_task():
    assert {name for name, kind in KINDS.items() if kind.trains} == {"train", "evaluate"}


def test_tasks_are_named_and_not_loaded():
    heavy = "('torch', 'harness.recipes', 'harness.data', 'harness.tasks', 'methods')"
    code = f"import sys, harness.jobs.tasks; sys.exit(' '.join(m for m in {heavy} if m in sys.modules) or 0)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
