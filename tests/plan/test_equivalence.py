"""The gate of a profile: what counts, when it passes, and that only then its numbers stand beside the paper's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness import ROOT
from harness.jobs.job import Measurement
from harness.plan.equivalence import Equivalence, _interval, equivalence
from harness.plan.planner import Planner
from harness.plan.request import PlanRequest, plan_of
from harness.recipes.profile import Gate
from harness.store.store import Store
from harness.table import recipes
from tests.plan.test_planner import CODE, CPU, TABLES

FAST = recipes.profile("fast")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def planner_of(profile, repetitions) -> Planner:
    return Planner(profile, tuple(repetitions), cache=Path("/dev/null/cache"), device=CPU, code=CODE)


def measure(store: Store, moved: float, *, noise: float = 0.2, device: str = "cuda: x", leave_out: int = 0) -> None:
    """Stores the gate's trainings: pairs that differ by `moved` and the noise, all but the last few of profile fast."""
    draw = random.Random(5)
    for name in ("paper", "fast"):
        plan = planner_of(recipes.profile(name), range(5)).plan([TABLES["camvid"]])
        for cell in plan.cells:
            if cell.row in FAST.gate.rows and cell.column == "miou":
                for i, job in enumerate(cell.jobs):
                    value = 50 + i + (moved + draw.gauss(0, noise) if name == "fast" else 0.0)
                    if name == "paper" or i < 5 - leave_out:
                        store.finish(job, [Measurement("miou", value, "%")], {"device": device}, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("moved", "passes"), [(0.0, True), (0.5, True), (1.0, False), (-2.0, False)])
def test_it_passes_where_the_mean_difference_is_small(store, moved, passes):
    measure(store, moved)
    found = equivalence(FAST, planner_of, store, "cuda")
    assert found.measured
    assert found.passed is passes
    assert all(low < moved + 0.3 and high > moved - 0.3 for low, high in found.intervals.values())
    assert found.line().startswith("equals" if passes else "is not shown")


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"leave_out": 1}, {"device": "cpu: x"}], ids=str)
def test_a_pair_that_is_missing_or_measured_elsewhere_does_not_count(store, how):
    measure(store, 0.0, **how)
    found = equivalence(FAST, planner_of, store, "cuda")
    assert (found.measured, found.passed) == (False, False)
    assert "--repetitions 5 --profile paper; " in found.line()
    assert found.line().endswith("--profile fast")


def test_one_row_that_moves_fails_the_whole():
    gate = Gate(table="camvid", rows=("a", "b"), column="miou")
    assert Equivalence("fast", gate, {"a": (-0.2, 0.3), "b": (0.9, 0.99)}).passed
    assert not Equivalence("fast", gate, {"a": (-0.2, 0.3), "b": (0.5, 1.01)}).passed
    assert not Equivalence("fast", gate, {"a": (-0.2, 0.3), "b": None}).passed


def test_a_profile_that_moves_by_the_margin_passes_in_at_most_five_percent():
    """Simulated at five pairs whose difference has a deviation of 0.3."""
    draw, passed, trials = random.Random(3), 0, 4000
    for _ in range(trials):
        interval = _interval([1.0 + draw.gauss(0, 0.3) for _ in range(5)], [0.0] * 5)
        passed += interval[0] > -1 and interval[1] < 1
    assert passed / trials <= 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("moved", [0.0, 3.0])
def test_its_numbers_stand_beside_the_papers_once_it_has_passed(store, moved):
    measure(store, moved, device="cpu: x")
    request = PlanRequest(
        (str(ROOT / "tables/camvid.yaml"),), ("fcn",), ("miou",), "fast", results=store.root, device="cpu"
    )
    plan, _ = plan_of(request)
    assert plan.profile.comparable is (moved == 0.0)
    assert "profile paper within ±1 points of miou" in plan.profile.about


def test_it_computes_in_bfloat16_and_says_why():
    plan = planner_of(FAST, [0]).plan([TABLES["idrnet_table2"]])
    recipes_used = [job.config["recipe"] for job in plan.jobs.values() if job.kind == "train"]
    assert recipes_used
    assert {(r["precision"], r["channels_last"], r["compile"]) for r in recipes_used} == {("bf16", True, "stages")}
    assert {"precision", "channels_last", "compile"} <= FAST.recipe["differs"].keys()
