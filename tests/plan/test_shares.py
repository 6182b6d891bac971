"""How processes share the batch of a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import ROOT
from harness.cli.main import main
from harness.environment import Device
from harness.jobs.job import Job
from harness.plan.planner import Planner
from harness.plan.shares import block_uneven, warnings
from harness.recipes.profile import Profile
from harness.table.load import load

TABLE = ROOT / "tables" / "camvid.yaml"


@pytest.fixture
def plan(tmp_path: Path):
    profile = Profile(name="few", about="", recipe={"batch_size": 12})
    planner = Planner(profile, cache=tmp_path, device=Device("cuda", "any", 8))
    made = planner.plan([load(TABLE)])
    made.blocked.clear()  # the data may not be here
    return made


def test_a_batch_that_does_not_divide_cannot_run(plan):
    block_uneven(plan, 6)
    assert not plan.blocked
    block_uneven(plan, 8)
    trainings = {key for key, job in plan.jobs.items() if job.kind == "train"}
    assert set(plan.blocked) == trainings
    assert all("batch of 12 images cannot be shared evenly by 8 processes" in text for text in plan.blocked.values())
    assert all(plan.reason(job) for job in plan.jobs.values() if job.kind == "evaluate"), "it needs its training"


def job(batch: int, batch_norm: str = "synchronised", accumulate: int = 1) -> Job:
    recipe = {"batch_size": batch, "accumulate": accumulate, "batch_norm": batch_norm}
    return Job("train", {"recipe": recipe}, f"{batch}{batch_norm}{accumulate}", "", {})


def test_few_images_per_process_are_warned_of():
    assert warnings([job(16), job(2)], 1) == []
    assert warnings([job(16), job(32)], 4) == []
    (line,) = warnings([job(16), job(64), job(32, accumulate=2)], 8)
    assert line.startswith("warning: 2 trainings on 8 processes of 2 images each: the numbers are those of one process")
    synchronised, local = warnings([job(16), job(16, "local")], 8)
    assert "the numbers differ from those of one process" in local
    assert "differ" not in synchronised
    assert warnings([job(16, accumulate=4)], 2), "what a process sees at once, not in a step"


@pytest.mark.slow
def test_plan_warns_and_says_what_cannot_be_shared(tmp_path: Path, capsys):
    arguments = [
        "plan",
        str(TABLE),
        "--profile",
        "smoke",
        "--device",
        "cpu",
        "--results",
        str(tmp_path),
        "--gpus-per-job",
    ]
    assert main([*arguments, "2"]) == 0
    assert "on 2 processes of 1 image each" in capsys.readouterr().out
    assert main([*arguments, "3"]) == 3
    assert "batch of 2 images cannot be shared evenly by 3 processes" in capsys.readouterr().out
