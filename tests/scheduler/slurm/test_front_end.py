"""The front end against a Slurm in memory: what it makes of every end, and that nothing is submitted twice or lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.cli.cluster import detach
from harness.errors import Exit, MissingError, UserError
from harness.scheduler.slurm import remote
from harness.scheduler.slurm.controller import Controller, SubmissionRefused, may_help_to_wait
from harness.scheduler.worker import Request
from tests.support.fake_slurm import FakeSlurm, SlurmFrontEnd, job


def test_a_good_job_is_told_as_started_and_done(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    slurm.begin(a)
    assert front.after(1) == [("a", "started", "")]
    slurm.finish(front.store, a)
    assert front.after(1) == [("a", "done", "")]
    assert not front.slurm.active()
    assert slurm.questions == 0  # files said it all


def test_a_job_s_request_says_where_the_node_keeps_copies(tmp_path: Path, slurm: FakeSlurm):
    front = SlurmFrontEnd(tmp_path, slurm, stage={"folder": "$SLURM_TMPDIR/data"})
    a = job("a")
    front.start(a)
    assert Request.read(front.store.folder(a)).stage == {"folder": "$SLURM_TMPDIR/data", "archives": ""}
    slurm.begin(a)
    slurm.err(front.store, a, "no room on the node")
    assert front.after(1)[-1] == ("a", "failed", "no room on the node")
    assert len(slurm.submitted) == 1  # another job would find as little room


def test_a_jobs_own_error_is_final(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    slurm.begin(a)
    slurm.err(front.store, a)
    assert front.after(1) == [("a", "started", ""), ("a", "failed", "exception")]
    assert len(slurm.submitted) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cause", "times", "memory"), [("GPU failure", 6, 1), ("data worker killed", 2, 2), ("shared memory", 1, 1)]
)
def test_an_error_that_lies_with_the_machine_is_repeated(
    front: SlurmFrontEnd, slurm: FakeSlurm, cause: str, times: int, memory: int
):
    """As often as the cluster file says of what it comes from: a broken node, or too little memory, which is doubled."""
    a = job("a")
    front.start(a)
    said = []
    while front.slurm.active():
        slurm.begin(a)
        slurm.err(front.store, a, cause)
        said += [e for e in front.after(100) if e[1] != "started"]
    assert len(slurm.submitted) == times
    assert [state for _, state, _ in said] == ["retried"] * (times - 1) + ["failed"]
    assert said[-1] == ("a", "failed", cause)
    failure = front.store.failure(a)
    assert failure is not None
    assert failure.cause == cause
    assert slurm.submitted[-1][1].memory == memory * slurm.submitted[0][1].memory


ENDS = [
    ("OUT_OF_MEMORY", {}, "out of memory", 2),
    ("FAILED", {"exit_code": 137}, "killed", 2),
    ("FAILED", {"signal": 9}, "killed", 2),
    ("TIMEOUT", {}, "timeout", 11),
    ("PREEMPTED", {}, "preempted", 101),
    ("NODE_FAIL", {"node": "n1"}, "node failure", 6),
    ("CANCELLED", {}, "cancelled", 1),
    ("FAILED", {"exit_code": 3}, "failed", 1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("state", "about", "cause", "times"), ENDS, ids=[f"{e[2]}-{e[0]}" for e in ENDS])
def test_every_end_has_a_cause_and_a_bound(
    front: SlurmFrontEnd, slurm: FakeSlurm, state: str, about: dict, cause: str, times: int
):
    a = job("a")
    front.start(a)
    said = []
    while front.slurm.active():
        slurm.begin(a)
        slurm.end(a, state, **about)
        said += [e for e in front.after(100) if e[1] != "started"]
    assert said == [("a", "retried", cause)] * (times - 1) + [("a", "failed", cause)]
    assert len(slurm.submitted) == times
    assert front.store.failure(a).cause == cause


def test_more_memory_after_the_host_ran_out_of_it(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    slurm.begin(a)
    slurm.log(a, "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.0")
    slurm.end(a, "FAILED", signal=9)
    front.after(30)
    assert [shape.memory for _, shape, _ in slurm.submitted] == [4000, 8000]


def test_what_never_started_is_tried_again_and_explained(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    for _ in range(3):
        slurm.end(a, "FAILED", exit_code=1)
        front.after(100)
    assert front.table() == [("never started", True), ("never started", True), ("never started", False)]
    assert "shared with the nodes" in front.store.failure(a).message


def test_a_job_that_waits_for_what_will_never_come_is_taken_back(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    slurm.end(a, "PENDING", reason="PartitionTimeLimit")
    front.after(30)
    assert slurm.cancelled
    assert front.table()[0] == ("never started", True)


def test_a_job_that_requeued_itself_goes_on(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    slurm.begin(a)
    slurm.save(a, requeued=True, cause="timeout")
    slurm.end(a, "PENDING", reason="BeginTime")
    assert front.after(60) == [("a", "started", ""), ("a", "retried", "timeout")]
    slurm.begin(a, restart=1)
    slurm.finish(front.store, a)
    assert front.after(60) == [("a", "started", ""), ("a", "done", "")]
    assert len(slurm.submitted) == 1


def test_a_job_that_is_submitted_again_runs_the_same_code(
    front: SlurmFrontEnd, slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whatever has been edited since: the snapshot of the start is the code of its key."""
    method, codes, submit = tmp_path / "mine.py", [], front.slurm._submit
    method.write_text(
        "from methods.registry import register\n@register('mine')\ndef mine(backbone, num_classes): ...\n"
    )

    def watched(array, folders, cluster, shape, code, after):
        codes.append({path.read_text() for path in code.rglob("outside/*/mine.py")})
        return submit(array, folders, cluster, shape, code, after)

    monkeypatch.setattr(front.slurm, "_submit", watched)
    a = job(f"{method}:mine")
    front.start(a)
    original = method.read_text()
    method.write_text(original.replace("...", "1"))
    slurm.begin(a)
    slurm.end(a, "NODE_FAIL")
    front.after(100)
    assert codes == [{original}, {original}]


def test_a_preempted_job_that_slurm_cancels_is_submitted_again(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    slurm.begin(a)
    slurm.save(a, requeued=False)
    slurm.end(a, "PREEMPTED")
    assert front.after(60) == [("a", "started", ""), ("a", "retried", "preempted")]
    assert len(slurm.submitted) == 2


def test_a_silent_controller_says_nothing_about_jobs(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    slurm.begin(a)
    slurm.silent = True
    assert front.after(3600) == [("a", "started", "")]
    assert front.slurm.active()


def test_a_forgotten_job_is_lost_only_after_a_while(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    slurm.tasks.clear()
    assert front.after(60) == []
    assert front.after(120) == [("a", "retried", "lost")]


def test_a_result_counts_whatever_slurm_says(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.start(a)
    slurm.finish(front.store, a)
    slurm.end(a, "NODE_FAIL")
    assert front.after(60) == [("a", "done", "")]


# ---------------------------------------------------------------------------------------------------------- dependencies


def test_an_evaluation_waits_for_its_own_training(front: SlurmFrontEnd, slurm: FakeSlurm):
    trains = [job(f"t{i}", "train") for i in range(3)]
    tests = [job(f"e{i}", "evaluate", t) for i, t in enumerate(trains)]
    front.start(*trains, *tests)
    (first, _, none), (second, _, after) = slurm.submitted
    assert none is None
    assert after == f"aftercorr:{first.id}"
    assert [trains[i].key for i in range(3)] == first.keys
    assert [tests[i].key for i in range(3)] == second.keys


def test_a_training_with_several_evaluations(front: SlurmFrontEnd, slurm: FakeSlurm):
    lone, rich = job("lone", "train"), job("rich", "train")
    tests = [job("e1", "evaluate", rich), job("e2", "evaluate", rich), job("e3", "evaluate", lone)]
    front.start(lone, rich, *tests)
    (first, *_), (second, _, after), (third, _, single) = slurm.submitted
    assert first.keys == [rich.key, lone.key]
    assert (second.keys, after) == ([tests[0].key, tests[2].key], f"aftercorr:{first.id}")
    assert (third.keys, single) == ([tests[1].key], f"afterok:{first.id}_0")


def test_evaluations_of_a_failed_training_are_skipped(front: SlurmFrontEnd, slurm: FakeSlurm):
    t, e = job("t", "train"), None
    e = job("e", "evaluate", t)
    front.start(t, e)
    slurm.begin(t)
    slurm.err(front.store, t)
    slurm.end(e, "CANCELLED", reason="DependencyNeverSatisfied")
    assert front.after(60) == [("t", "started", ""), ("t", "failed", "exception"), ("e", "skipped", "skipped")]
    assert front.slurm.ledger.open_attempts() == {}


def test_evaluations_follow_a_training_that_is_submitted_again(front: SlurmFrontEnd, slurm: FakeSlurm):
    t = job("t", "train")
    e = job("e", "evaluate", t)
    front.start(t, e)
    slurm.begin(t)
    slurm.end(t, "NODE_FAIL", node="n1")
    slurm.end(e, "CANCELLED", reason="DependencyNeverSatisfied")
    said = front.after(60)
    assert ("t", "retried", "node failure") in said
    assert slurm.submitted[-1][2] == f"afterok:{slurm.task(t)}"
    slurm.begin(t)
    slurm.finish(front.store, t)
    slurm.begin(e)
    slurm.finish(front.store, e)
    assert {s for s in front.after(60) if s[1] == "done"} == {("t", "done", ""), ("e", "done", "")}


def test_an_evaluation_that_started_too_early_is_not_blamed(front: SlurmFrontEnd, slurm: FakeSlurm):
    """Slurm takes a dependency on a job it has forgotten for one that is met."""
    t = job("t", "train")
    e = job("e", "evaluate", t)
    front.start(t, e)
    slurm.begin(e)
    slurm.save(e, requeued=False)
    slurm.end(e, "FAILED", exit_code=75)
    front.after(60)
    assert ("waiting", True) in front.table()
    assert slurm.submitted[-1][2] == f"afterok:{slurm.task(t)}"


# ------------------------------------------------------------------------------------------------------------ leaving


def test_ctrl_c_leaves_the_jobs_alone(front: SlurmFrontEnd, slurm: FakeSlurm):
    front.start(job("a"))
    front.slurm.stop()
    assert not front.slurm.active()
    assert slurm.cancelled == []


def test_what_an_absent_controller_did_not_cancel_is_not_called_cancelled(
    front: SlurmFrontEnd, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
):
    class Away(Controller):
        def require(self) -> None: ...

        def ask(self, command: Sequence[str]) -> None: ...

    a = job("a")
    front.start(a)
    monkeypatch.setattr(remote, "Controller", Away)
    with pytest.raises(MissingError, match="does not answer"):
        list(remote.cancel(SimpleNamespace(jobs={a.key: a}), front.store))
    assert front.slurm.ledger.open_attempts().keys() == {a.key}


# ------------------------------------------------------------------------------------------------------------ refusals


def test_a_full_quota_is_waited_for(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    slurm.refusal = SubmissionRefused("Job violates accounting/QOS policy (QOSMaxSubmitJobPerUserLimit)", later=True)
    front.start(a)
    assert front.after(100) == [("a", "retried", "refused")]  # said once, whatever the number of attempts
    assert front.slurm.active()
    assert front.slurm.held_count == 1
    slurm.refusal = None
    front.after(40)
    assert len(slurm.submitted) == 1
    assert front.slurm.held_count == 0
    assert front.slurm.ledger.open_attempts().keys() == {a.key}


def test_leaving_says_what_slurm_did_not_take(
    front: SlurmFrontEnd, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
):
    jobs = [job("a"), job("b")]
    plan = {made.key: made for made in jobs}
    slurm.refusal = SubmissionRefused("QOSMaxSubmitJobPerUserLimit", later=True)
    assert detach(front.slurm, jobs, plan) == Exit.RESUMABLE
    said = capsys.readouterr().out
    assert "0 of 2 jobs with Slurm" in said
    assert "QOSMaxSubmitJobPerUserLimit" in said
    slurm.refusal = None
    again = SlurmFrontEnd(front.store.root, slurm)
    assert detach(again.slurm, jobs, plan) == Exit.OK
    assert "2 jobs with Slurm" in capsys.readouterr().out


def test_a_refusal_for_good_is_told(front: SlurmFrontEnd, slurm: FakeSlurm):
    slurm.refusal = SubmissionRefused("Invalid account", later=False)
    with pytest.raises(UserError, match="Invalid account"):
        front.start(job("a"))
    assert front.slurm.ledger.open_attempts() == {}


@pytest.mark.parametrize(
    ("message", "later"),
    [
        ("Unable to contact slurm controller (connect failure)", True),
        ("ArrayBatch job submission failed: Job violates accounting/QOS policy (QOSMaxSubmitJobPerUserLimit)", True),
        ("Slurm temporarily unable to accept job, sleeping and retrying", True),
        ("ArrayBatch job submission failed: Invalid account or account/partition combination specified", False),
        ("Requested time limit is invalid (missing or exceeds some limit)", False),
    ],
)
def test_which_refusals_pass(message: str, later: bool):
    assert may_help_to_wait(message) is later


# ----------------------------------------------------------------------------------------------------------- questions


@pytest.mark.slow
def test_one_question_for_all_jobs_and_seldom(front: SlurmFrontEnd, slurm: FakeSlurm):
    jobs = [job(f"j{i}") for i in range(500)]
    front.start(*jobs)
    for made in jobs:
        slurm.begin(made)
    front.after(600)
    assert slurm.questions <= 600 / 10
    assert slurm.questions <= 20  # nothing happens: once a minute at last
