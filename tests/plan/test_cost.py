"""What a plan costs before it is run, and a budget that holds."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from harness.environment import Device
from harness.errors import UserError
from harness.jobs.job import Job, Measurement
from harness.plan.cost import by_throughput, check_budget, cost, costs, lines, unasked_cpu
from harness.plan.durations import durations
from harness.plan.planner import Plan, Planner, Selection
from harness.store.store import Result, Store
from harness.table.load import load
from harness.table.recipes import profile


@pytest.fixture
def plan(store: Store, tables: Path) -> Plan:
    """FCN and PSPNet on LIP, smoke: two trainings and two evaluations."""
    planner = Planner(profile("smoke"), cache=store.cache, device=Device("cpu", "x", 2))
    return planner.plan([load(tables / "idrnet_table2.yaml")], Selection(("fcn", "pspnet"), ("lip",)))


def finish(
    store: Store,
    job: Job,
    seconds: float,
    device: str = "cuda: NVIDIA H200",
    throughput: float = 10.0,
    processes: int = 1,
) -> Result:
    """A job that took so long."""
    measured = [Measurement("train_throughput", throughput, "images/s")] if job.kind == "train" else []
    folder = store.finish(job, measured, {"device": device, "processes": processes}, time.time()).folder
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**record, "seconds": seconds}))
    found = store.result(job)
    assert found is not None
    return found


def test_a_papers_training_on_a_cpu_is_asked_for_in_words(store: Store, tables: Path):
    cpu, gpu = Device("cpu", "x", 2), Device("cuda", "x", 1)

    def trainings(table: str, name: str) -> list[Job]:
        planner = Planner(profile(name), cache=store.cache, device=cpu)
        jobs = planner.plan([load(tables / f"{table}.yaml")], Selection(("fcn",))).jobs.values()
        return [job for job in jobs if job.kind in ("train", "evaluate")]

    paper = trainings("idrnet_table2", "paper")
    said = unasked_cpu(paper, "auto", cpu)
    assert said.startswith("4 trainings of a paper's length would run on this machine's CPU")
    assert "Say --device cpu if that is meant" in said
    assert unasked_cpu(trainings("idrnet_table2", "short"), "auto", cpu)
    for jobs, prefer, device in (
        (paper, "cpu", cpu),
        (paper, "auto", gpu),
        (trainings("idrnet_table2", "smoke"), "auto", cpu),
        (trainings("camvid", "paper"), "auto", cpu),  # small enough for a CPU
    ):
        assert jobs
        assert unasked_cpu(jobs, prefer, device) == ""


def test_a_training_that_was_interrupted_cost_all_of_its_attempts(plan: Plan, store: Store):
    """Its last attempt took an hour; the training as a whole says four."""
    train = next(job for job in plan.jobs.values() if job.kind == "train")
    store.finish(train, [Measurement("train_seconds", 4 * 3600, "s")], {"device": "cuda: x"}, time.time(), 3600)
    assert cost(plan, [train], store, device="cuda").hours == pytest.approx(4)


def test_stored_durations_become_gpu_hours(plan: Plan, store: Store):
    jobs = list(plan.jobs.values())
    for job in jobs:
        finish(store, job, 3600 if job.kind == "train" else 360, processes=8)
    made = cost(plan, jobs, store, device="cuda", gpus_per_job=8, slots=2)
    assert made.hours == pytest.approx(2 * 8 * 1.1)
    assert made.tables == {"idrnet_table2": pytest.approx(17.6)}
    assert made.wall == pytest.approx(1.1)
    assert (made.measured_jobs, made.inferred_jobs, made.unknown_jobs) == (4, 0, 0)
    assert "17.6 GPU-hours" in lines(made)[0]
    assert "waited 2.0 min" in lines(made, [60, 120, 600])[1]


def test_what_ran_on_another_kind_of_device_says_nothing(plan: Plan, store: Store):
    jobs = list(plan.jobs.values())
    for job in jobs:
        finish(store, job, 3600, device="cpu: x")
    assert cost(plan, jobs, store, device="cuda").unknown_jobs == 4


def test_a_training_on_eight_gpus_cost_eight_gpu_hours_an_hour(plan: Plan, store: Store):
    """What it took is shared by as many as the next one gets."""
    train = next(job for job in plan.jobs.values() if job.kind == "train")
    finish(store, train, 3600, processes=8)
    assert cost(plan, [train], store, device="cuda").hours == pytest.approx(8)
    assert cost(plan, [train], store, device="cuda", gpus_per_job=4).hours == pytest.approx(8)
    assert durations([train], store, processes=4) == {train.key: pytest.approx(7200)}
    assert durations([train], store) == {train.key: pytest.approx(8 * 3600)}


def test_what_ran_on_another_card_says_nothing(plan: Plan, store: Store):
    train = next(job for job in plan.jobs.values() if job.kind == "train")
    finish(store, train, 3600, device="cuda: NVIDIA A100-SXM4-80GB")
    assert cost(plan, [train], store, device="cuda: NVIDIA H200").measured_jobs == 0
    assert cost(plan, [train], store, device="cuda: NVIDIA A100-SXM4-80GB").measured_jobs == 1
    assert cost(plan, [train], store, device="cuda").measured_jobs == 1  # a cluster that does not say which it has


def test_a_training_unlike_any_is_known_from_throughput_of_its_method_on_its_backbone(plan: Plan, store: Store):
    fcn, pspnet = (job for job in plan.jobs.values() if job.kind == "train")
    again = Job("train", fcn.config, "other", "other", {})
    trained = finish(store, fcn, 5.0, throughput=6.0, processes=2)
    assert by_throughput(again, [trained]) == pytest.approx(6 * 2 / 3.0)  # six iterations of two images on two GPUs
    assert by_throughput(again, []) is None
    assert by_throughput(pspnet, [trained]) is None, "another method may cost ten times as much"
    elsewhere = {**fcn.config, "model": {**fcn.config["model"], "backbone": "resnet50_v1c"}}
    assert by_throughput(Job("train", elsewhere, "x", "x", {}), [trained]) is None, "as a smoke run is no paper's"


def test_a_budget_refuses_more_and_what_it_cannot_know(plan: Plan, store: Store):
    jobs = list(plan.jobs.values())
    with pytest.raises(UserError, match="4 jobs unlike any measured"):
        check_budget(cost(plan, jobs, store, device="cuda"), 100)
    assert lines(cost(plan, jobs[:1], store, device="cuda"))[0].startswith("cost: unknown, 1 job unlike any measured")
    for job in jobs:
        finish(store, job, 3600)
    assert "; 1 job from stored durations" in lines(cost(plan, jobs[:1], store, device="cuda"))[0]
    made = cost(plan, jobs, store, device="cuda")
    check_budget(made, 4.0)
    check_budget(made, None)
    with pytest.raises(UserError, match=r"needs 4 GPU-hours, more than --budget 3\.9"):
        check_budget(made, 3.9)


def test_the_costs_of_many_groups_are_those_of_each_and_the_store_is_read_once(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
):
    """A night asks for every cell by itself; what has been measured meanwhile must not be read again for each."""
    jobs = list(plan.jobs.values())
    for seconds, job in enumerate(jobs[:3], start=1):
        finish(store, job, 100.0 * seconds)
    groups = [jobs[:2], jobs[1:], [], jobs]
    expected = [cost(plan, group, store, device="cuda") for group in groups]
    assert len({c.hours for c in expected}) == len(groups)
    read, asked = store.results, []

    def results(kind: str):
        asked.append(kind)
        return read(kind)

    monkeypatch.setattr(store, "results", results)
    assert costs(plan, groups, store, device="cuda") == expected
    assert sorted(asked) == ["evaluate", "train", "train"]
