"""How long pending jobs take, from those that ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.plan.durations import estimate
from harness.store.store import Store
from tests.plan.test_planner import TABLE2, planned


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_the_estimate_comes_from_the_most_similar_jobs(store: Store, monkeypatch: pytest.MonkeyPatch):
    plan = planned(TABLE2, rows=["fcn", "pspnet"], columns=["lip", "cityscapes"])
    assert estimate(plan.jobs_to_run(store), store).known_jobs == 0
    trains = [j for j in plan.jobs.values() if j.kind == "train"]
    monkeypatch.setattr("time.time", lambda: 100.0)
    store.finish(trains[0], [], {}, 90.0)
    guess = estimate(trains[1:], store)
    assert guess.known_jobs + guess.unknown_jobs == 3
    assert guess.seconds == 10.0 * guess.known_jobs
    assert estimate([trains[0]], store).seconds == 10.0
    assert guess.wall(2) == guess.seconds / 2
