"""Several front ends on a Slurm in memory, at once and one after another: nothing twice, nothing lost, one cause."""

from __future__ import annotations

import pytest

from harness.jobs.job import Job
from harness.scheduler.slurm.controller import SubmissionRefused
from tests.support.fake_slurm import FakeSlurm, SlurmFrontEnd, job


def test_a_second_front_end_follows_what_the_first_submitted(front: SlurmFrontEnd, slurm: FakeSlurm):
    a, b = job("a"), job("b")
    front.start(a, b)
    slurm.begin(a)
    other = SlurmFrontEnd(front.store.root, slurm)
    other.start(a, b)
    assert len(slurm.submitted) == 1
    slurm.finish(front.store, a)
    slurm.finish(front.store, b)
    assert [s for s in front.after(1) if s[1] == "done"] == [s for s in other.after(1) if s[1] == "done"]


def test_two_front_ends_submit_a_dead_job_once(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    other = SlurmFrontEnd(front.store.root, slurm)
    other.start(a)
    slurm.begin(a)
    slurm.end(a, "NODE_FAIL")
    assert ("a", "retried", "node failure") in front.after(30)
    other.after(30)
    assert len(slurm.submitted) == 2
    slurm.begin(a)
    slurm.finish(front.store, a)
    assert ("a", "done", "") in other.after(30)


def submit_and_die(front: SlurmFrontEnd, slurm: FakeSlurm, job: Job) -> None:
    """Submits a job, and never learns Slurm's number of it."""
    front.start(job)
    array = slurm.submitted[0][0]
    array.id = None
    array.write()


def test_a_front_end_that_died_inside_sbatch(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    submit_and_die(front, slurm, a)
    other = SlurmFrontEnd(front.store.root, slurm)
    other.start(a)
    assert len(slurm.submitted) == 1
    slurm.finish(front.store, a)
    assert ("a", "done", "") in other.after(5)


def test_a_front_end_that_died_before_sbatch(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    submit_and_die(front, slurm, a)
    slurm.names.clear()
    SlurmFrontEnd(front.store.root, slurm).start(a)
    assert len(slurm.submitted) == 2


def test_a_front_end_that_dies_while_it_calls_an_attempt_over(
    front: SlurmFrontEnd, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
):
    """The cause is there all the same, and the job is not run again unasked."""
    a = job("a")
    front.start(a)
    slurm.begin(a)
    slurm.end(a, "CANCELLED")

    def die(*outcome: object, **more: object) -> None:
        raise SystemExit

    monkeypatch.setattr(front.slurm.ledger, "record", die)
    with pytest.raises(SystemExit):
        front.after(60)
    assert front.store.failure(a).cause == "cancelled"


def test_what_failed_while_nobody_looked_is_repeated_when_asked(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    slurm.begin(a)
    slurm.err(front.store, a)
    other = SlurmFrontEnd(front.store.root, slurm)
    other.start(a)  # as with --retry-failed
    assert len(slurm.submitted) == 2
    assert other.table() == [("exception", True)]
    slurm.begin(a)
    slurm.finish(other.store, a)
    assert ("a", "done", "") in other.after(30)


def test_what_failed_in_another_front_ends_hands_is_not_repeated_unasked(front: SlurmFrontEnd, slurm: FakeSlurm):
    """One that Slurm refused at first finds that another one was taken, ran and failed."""
    a = job("a")
    slurm.refusal = SubmissionRefused("QOSMaxSubmitJobPerUserLimit", later=True)
    front.start(a)
    slurm.refusal = None
    other = SlurmFrontEnd(front.store.root, slurm)
    other.start(a)
    slurm.begin(a)
    slurm.err(front.store, a)
    assert ("a", "failed", "exception") in other.after(5)
    assert ("a", "failed", "exception") in front.after(60)
    assert len(slurm.submitted) == 1
    assert front.store.failure(a).message == "ValueError: no"


def test_a_job_that_names_its_cause_late_is_told_by_it(
    front: SlurmFrontEnd, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
):
    """Its word comes while the front end calls it over, and was there first."""
    a = job("a")
    front.start(a)
    slurm.begin(a)
    slurm.end(a, "FAILED", exit_code=1)
    lock = front.slurm.ledger.lock
    monkeypatch.setattr(front.slurm.ledger, "lock", lambda: slurm.err(front.store, a) or lock())
    assert ("a", "failed", "exception") in front.after(60)
    assert front.store.failure(a).message == "ValueError: no"
    assert front.table() == [("exception", False)]
