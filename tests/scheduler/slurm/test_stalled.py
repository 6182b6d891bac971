"""A job that makes no progress is ended with its cause, whatever Slurm says of it; suspended or queued time does not count."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import Problems
from harness.files import write_json
from harness.jobs.job import Job
from harness.scheduler.slurm import cluster_file
from harness.scheduler.slurm.causes import TaskState
from tests.support.fake_slurm import FakeSlurm, SlurmFrontEnd, job

LIMIT = 10.0  # minutes
STALLED = ("a", "retried", "stalled")


@pytest.fixture
def front(tmp_path: Path, slurm: FakeSlurm) -> SlurmFrontEnd:
    return SlurmFrontEnd(tmp_path, slurm, stalled_after=LIMIT)


def say(front: SlurmFrontEnd, made: Job, done: int) -> None:
    """The job's progress, written at a time of its own on the shared folder."""
    path = front.store.folder(made) / "progress.json"
    write_json(path, {"done": done, "total": 40})
    os.utime(path, ns=(done, done))


def minutes(front: SlurmFrontEnd, count: float) -> list[tuple[str, str, str]]:
    return [event for event in front.after(60 * count) if event[1] != "started"]


def test_a_job_that_never_said_anything_counts_from_its_start(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    assert minutes(front, 3 * LIMIT) == []  # in the queue
    slurm.begin(a)
    assert minutes(front, LIMIT - 2) == []
    assert minutes(front, 4) == [STALLED]
    assert slurm.cancelled == [slurm.submitted[0][0].id]
    assert front.table() == [("stalled", True)]
    slurm.begin(a)
    assert minutes(front, LIMIT + 2) == [("a", "failed", "stalled")]
    assert "it never said how far it was" in front.store.failure(a).message
    assert "although Slurm says: running on n1" in front.store.failure(a).message
    assert not front.slurm.active()


def test_one_that_hangs_before_it_reports_from_its_node_is_ended_too(front: SlurmFrontEnd, slurm: FakeSlurm):
    """Slurm calls it running, and its first step never begins."""
    a = job("a")
    front.start(a)
    slurm.end(a, "RUNNING", node="n1")
    assert minutes(front, LIMIT + 2) == [STALLED]


@pytest.mark.slow
@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "CONFIGURING"])
def test_progress_is_what_counts_and_not_slurms_word(front: SlurmFrontEnd, slurm: FakeSlurm, state: str):
    a = job("a")
    front.start(a)
    slurm.begin(a)
    for done in range(1, 6):
        slurm.end(a, state, node="n1")
        say(front, a, done)
        assert minutes(front, LIMIT - 2) == []
    assert minutes(front, 4) == [STALLED]
    slurm.begin(a)
    assert minutes(front, LIMIT + 2) == [("a", "failed", "stalled")]
    assert "its last: 5/40" not in front.store.failure(a).message  # that was the attempt before


def test_the_cause_says_how_far_it_came(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    for _ in range(2):
        slurm.begin(a)
        say(front, a, 5)
        minutes(front, LIMIT + 2)
    assert "its last: 5/40" in front.store.failure(a).message


@pytest.mark.slow
@pytest.mark.parametrize("state", ["SUSPENDED", "STOPPED"])
def test_suspended_time_does_not_count(front: SlurmFrontEnd, slurm: FakeSlurm, state: str):
    a = job("a")
    front.start(a)
    slurm.begin(a)
    assert minutes(front, 4) == []
    slurm.end(a, state, node="n1")
    assert minutes(front, 5 * LIMIT) == []
    slurm.begin(a)
    assert minutes(front, LIMIT - 6) == []
    assert minutes(front, 6) == [STALLED]  # resumed, and it never went on


def test_time_back_in_the_queue_does_not_count(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    slurm.begin(a)
    assert minutes(front, LIMIT - 2) == []
    slurm.end(a, "PENDING", reason="JobHeldUser")
    assert [cause for _, _, cause in minutes(front, 5 * LIMIT)] == ["requeued"]
    slurm.begin(a, restart=1)
    assert minutes(front, LIMIT - 2) == []
    assert minutes(front, 4) == [STALLED]


def test_time_without_an_answer_of_slurm_does_not_count(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    slurm.begin(a)
    assert minutes(front, 2) == []
    slurm.silent = True
    assert minutes(front, 5 * LIMIT) == []
    slurm.silent = False
    assert minutes(front, LIMIT - 4) == []
    assert minutes(front, 5) == [STALLED]


def test_a_controller_that_does_not_take_the_cancelling_is_asked_again(
    front: SlurmFrontEnd, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
):
    a = job("a")
    front.start(a)
    slurm.begin(a)
    with monkeypatch.context() as patch:
        patch.setattr(slurm, "cancel", lambda tasks, name: False)
        assert minutes(front, 2 * LIMIT) == []
    assert minutes(front, 2) == [STALLED]


def test_a_job_that_has_ended_is_not_called_stalled(front: SlurmFrontEnd, slurm: FakeSlurm):
    """Slurm still says that it runs."""
    a = job("a")
    front.start(a)
    slurm.begin(a)
    slurm.finish(front.store, a)
    slurm.tasks[slurm.task(a)] = TaskState("RUNNING", node="n1")
    assert minutes(front, 2 * LIMIT) == [("a", "done", "")]


def test_the_limit_is_a_key_of_the_cluster_file(tmp_path: Path):
    file = tmp_path / "cluster.yaml"
    file.write_text("title: here\npartition: main\n")
    assert cluster_file.load(file)[0].stalled_after == 60
    file.write_text("title: here\npartition: main\nstalled_after: 0\n")
    with pytest.raises(Problems, match="stalled_after"):
        cluster_file.load(file)
