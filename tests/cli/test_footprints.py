"""On how many GPUs a training is cheapest, from counted memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.cli import footprints
from harness.store.store import Store
from harness.tasks.segmentation import step_count
from tests.plan.test_planner import TABLE2, planned


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two GiB and one more per image, without counting; what was asked for."""
    asked: list[int] = []

    def count(config, images):
        asked.append(images)
        return step_count.StepCount((), 1, (2 + images) * 2**30, 2**30, (), 2**28, frozenset())

    monkeypatch.setattr(step_count, "count_step", count)
    return asked


@pytest.fixture
def job():
    plan = planned(TABLE2, profile="paper", rows=["fcn"], columns=["ade20k"])
    return next(job for job in plan.jobs.values() if job.kind == "train")


@pytest.mark.parametrize(
    ("gib", "count", "need"),
    [
        (20, 1, 18.0),
        (19, 2, 11.0),  # 18 of 19 leave too little; half the batch, and a copy of the gradients
        (8, 4, 7.0),
        (3.0, None, 4.0),
    ],
)
def test_the_fewest_gpus_on_which_the_batch_fits(job, counted, gib, count, need):
    assert footprints.fewest_gpus(job, gib, {}) == (count, need)


def test_a_count_is_remembered(job, counted):
    cache: dict = {}
    assert footprints.fewest_gpus(job, 80, cache) == footprints.fewest_gpus(job, 80, cache)
    assert counted == [16]


def test_lines_say_how_many_fit_one(counted, tmp_path: Path):
    plan = planned(TABLE2, profile="paper", rows=["fcn"], columns=["ade20k", "lip"])
    store = Store(tmp_path)
    head, *lines = footprints.lines(plan, plan.jobs_to_run(store), store, 24)
    assert head.startswith("memory: 1 of 2 trainings fit one GPU of 24 GiB")
    assert lines == ["  fcn / ade20k · train: 18.0 GiB on one GPU", "  fcn / lip · train: 19.0 GiB on each of 2 GPUs"]
    assert (tmp_path / "cache" / "memory.json").exists()
    assert footprints.lines(plan, [], store, 24) == ["memory: no training is to run, so there is nothing to count"]


def test_what_cannot_be_counted_is_said_beside_the_others(counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    known = step_count.count_step

    def count(config, images):
        if config.data.name == "lip":
            torch.ones(1, device="meta").item()
        return known(config, images)

    monkeypatch.setattr(step_count, "count_step", count)
    plan = planned(TABLE2, profile="paper", rows=["fcn"], columns=["ade20k", "lip"])
    store = Store(tmp_path)
    head, one, other = footprints.lines(plan, plan.jobs_to_run(store), store, 24)
    assert head.startswith("memory: 1 of 1 training ")
    assert one == "  fcn / ade20k · train: 18.0 GiB on one GPU"
    assert other.startswith(
        "  fcn / lip · train: not counted, since the method reads values while it trains (Tensor.item()"
    )
