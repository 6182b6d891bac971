"""A job's request names what it needs and what needs it."""

from __future__ import annotations

from pathlib import Path

from harness.jobs.job import Job
from harness.scheduler.relations import Relations


def job(key: str, kind: str, *needs: str) -> Job:
    return Job(kind, {"of": key}, key, key, {}, needs)


def test_a_training_knows_the_tests_of_its_run_and_a_test_its_training():
    relations = Relations(lambda job: Path("jobs") / job.key)
    train, test, other = job("t", "train"), job("a", "evaluate", "t"), job("b", "evaluate", "t")
    relations.add({j.key: j for j in (train, test)})
    relations.add({j.key: j for j in (train, test, other)})
    assert relations.of(train) == ({}, {"evaluate": [{"of": "a"}, {"of": "b"}]})
    assert relations.of(test) == ({"train": "jobs/t"}, {})
