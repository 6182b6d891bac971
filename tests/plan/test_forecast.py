"""A first estimate of cost: counted FLOPs of every published training, over the rate of the card."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.training_flops import tflop_per_image as count
from harness.jobs.job import Job, Measurement
from harness.jobs.kinds import TrainConfig
from harness.plan.cost import cost, lines
from harness.plan.forecast import Forecast, _counted, description, tflop_per_image
from harness.store.store import Store
from tests.plan.test_planner import TABLE2, planned
from tests.support.published_trainings import trainings


def paper_job(row: str = "fcn") -> Job:
    plan = planned(TABLE2, profile="paper", rows=[row], columns=["ade20k"])
    return next(job for job in plan.jobs.values() if job.kind == "train")


def test_every_published_training_was_counted():
    """python -m benchmarks.training_flops counts again, after a table has gained a model."""
    assert {description(config) for config in trainings().values()} - set(_counted()) == set()


@pytest.mark.slow
def test_what_was_counted_is_what_is_counted_now():
    config = TrainConfig.model_validate(paper_job().config)
    assert count(config) == pytest.approx(tflop_per_image(config), rel=1e-3)
    assert 1.0 < count(config) < 1.5  # FCN on ResNet-50 at stride 8, crops of 512 × 512


def test_crops_and_options_that_were_not_counted_are_scaled_from_those_that_were():
    config = TrainConfig.model_validate(paper_job().config)
    augmentation = config.recipe.augmentation.model_copy(update={"crop": (256, 512)})
    half = config.model_copy(update={"recipe": config.recipe.model_copy(update={"augmentation": augmentation})})
    assert tflop_per_image(half) == pytest.approx(tflop_per_image(config) / 2, rel=0.05)
    other = config.model_copy(
        update={"model": config.model.model_copy(update={"backbone": "timm/convnext_tiny.fb_in1k"})}
    )
    assert tflop_per_image(other) is None


@pytest.mark.parametrize(("card", "hours"), [("NVIDIA A100-SXM4-80GB", 76), ("NVIDIA H100 80GB HBM3", 22)])
def test_a_published_training_costs_what_others_have_reckoned(card: str, hours: float):
    """FCN on ResNet-50, ADE20K, fp32: 76 hours of an A100 by another count, within a third."""
    seconds = Forecast(f"cuda: {card}", []).gpu_seconds(paper_job(), 20210)
    assert seconds is not None
    assert seconds / 3600 == pytest.approx(hours, rel=1 / 3)


def test_measured_trainings_of_the_card_take_the_place_of_its_data_sheet(tmp_path: Path):
    job, store = paper_job(), Store(tmp_path)
    environment = {"device": "cuda: NVIDIA H200", "processes": 2}
    trained = store.finish(job, [Measurement("train_throughput", 20.0, "images/s")], environment, time.time())
    other = paper_job("pspnet")
    config = TrainConfig.model_validate(other.config)
    fcn, pspnet = tflop_per_image(TrainConfig.model_validate(job.config)), tflop_per_image(config)
    assert fcn is not None
    assert pspnet is not None
    seconds = Forecast("cuda: NVIDIA H200", [trained]).gpu_seconds(other, 20210)
    assert seconds == pytest.approx(config.recipe.total_iterations(20210) * 16 * pspnet / (20.0 * fcn / 2))


def test_a_plan_says_which_hours_are_a_first_estimate(tmp_path: Path):
    plan = planned(TABLE2, profile="paper", rows=["fcn"], columns=["ade20k"])
    jobs = list(plan.jobs.values())
    made = cost(plan, jobs, Store(tmp_path), device="cuda: NVIDIA H200")
    assert (made.forecast_jobs, made.unknown_jobs) == (2, 0)
    assert "2 from counted FLOPs (a first estimate" in lines(made)[0]
    assert cost(plan, jobs, Store(tmp_path), device="cuda: a card of tomorrow").unknown_jobs == 2
