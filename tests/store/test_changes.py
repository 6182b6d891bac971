"""What changed since a result: in its own key, and in the keys of the jobs that it needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.jobs.job import Job
from harness.store.changes import chain_differences, planned_chain, stored_chain
from harness.store.store import Store


def training_job(code: str) -> Job:
    return Job("train", {}, code * 64, "t" * 64, {"code": {"methods.fcn": code}})


def evaluation(code: str, training: Job) -> Job:
    parts = {"code": {"harness.tasks": code}, "needs": {"train": training.key}}
    return Job("evaluate", {}, f"{code}0{training.key}"[:64], "e" * 64, parts, (training.key,))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def differences(store: Store, old: Job, new: Job, training: Job) -> list[tuple[str, list[str]]]:
    jobs = {training.key: training, new.key: new}
    before = stored_chain(store.finish(old, [], {}, 1.0), new, jobs, store)
    return list(chain_differences(before, planned_chain(new, jobs)))


def test_a_change_of_the_training_is_told_as_such(store: Store):
    old, new = training_job("a"), training_job("b")
    store.finish(old, [], {}, 1.0)
    found = differences(store, evaluation("a", old), evaluation("a", new), new)
    assert found == [("train", ["code    methods/fcn.py changed"])]


def test_the_training_compared_is_the_one_that_was_tested_and_not_the_newest(store: Store):
    old, newer, new = training_job("a"), training_job("c"), training_job("b")
    store.finish(old, [], {}, 1.0)
    parts = {"code": {"methods.fcn": "b", "methods.other": "c"}}
    store.finish(replace(newer, parts=parts), [], {}, 2.0)
    found = differences(store, evaluation("a", old), evaluation("b", new), new)
    assert found == [
        ("evaluate", ["code    harness/tasks.py changed"]),
        ("train", ["code    methods/fcn.py changed"]),
    ]


def test_without_that_training_the_newest_other_one_is_compared(store: Store):
    gone, newer, new = training_job("a"), training_job("c"), training_job("b")
    store.finish(newer, [], {}, 2.0)
    found = differences(store, evaluation("a", gone), evaluation("a", new), new)
    assert found == [("train", ["code    methods/fcn.py changed"])]


def test_what_no_result_is_left_of_tells_nothing(store: Store):
    gone, new = training_job("a"), training_job("b")
    assert differences(store, evaluation("a", gone), evaluation("a", new), new) == []
