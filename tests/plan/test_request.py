"""What is asked of a plan, as one value."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness import ROOT
from harness.cli.main import main
from harness.environment import Device
from harness.errors import Problems, UserError
from harness.plan.planner import Plan
from harness.plan.request import PlanRequest, plan_of

TABLE = str(ROOT / "tables" / "idrnet_table2.yaml")


def test_a_request_selects_cells_and_repeats_their_trainings(tmp_path: Path):
    request = PlanRequest((TABLE,), ("fcn*",), ("lip", "ade*"), "smoke", 3, results=tmp_path, device="cpu")
    plan, store = plan_of(request)
    assert store.root == tmp_path
    assert [cell.name.removeprefix("idrnet_table2/") for cell in plan.cells] == [
        f"{row}/{column}" for row in ("fcn", "fcn_idrnet") for column in ("ade20k", "lip")
    ]
    assert [len(cell.jobs) for cell in plan.cells] == [3] * 4
    seeds = [plan.jobs[key].config["seed"] for job in plan.cells[0].jobs for key in job.needs]
    assert len(set(seeds)) == 3


def test_a_request_is_never_written_to():
    request = PlanRequest((TABLE,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.profile = "smoke"  # type: ignore[misc]


def test_a_cluster_says_what_its_jobs_run_on_and_which_it_cannot_run(tmp_path: Path):
    class Cluster:
        processes = 1

        def device(self, prefer: str) -> Device:
            assert prefer == "cuda"
            return Device("cuda", "H200", 8)

        def block(self, plan: Plan) -> None:
            plan.blocked |= dict.fromkeys(plan.jobs, "closed for repairs")

    request = PlanRequest((TABLE,), ("fcn",), profile="smoke", results=tmp_path, device="cuda", cluster=Cluster())
    assert request.resolve_device().slots == 8
    plan, _ = plan_of(request)
    assert {plan.reason(job) for job in plan.jobs.values()} == {"closed for repairs"}


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    monkeypatch.setattr("harness.environment.gpus", lambda: ())
    request = PlanRequest((TABLE,), profile="smoke", results=tmp_path, device="cuda")
    with pytest.raises(UserError, match=r"--device cuda: this machine has no NVIDIA GPU.* say --device cpu, or --on"):
        request.resolve_device()
    arguments = [TABLE, "--profile", "smoke", "--device", "cuda", "--results", str(tmp_path)]
    assert [main([command, *arguments]) for command in ("plan", "run")] == [2, 2]
    assert dataclasses.replace(request, device="auto").resolve_device().kind == "cpu"
    monkeypatch.setattr("harness.environment.gpus", lambda: ("NVIDIA H200",))
    assert request.resolve_device().kind == "cuda"


GPUS = ("NVIDIA H200",) * 8


@pytest.mark.parametrize(
    ("each", "jobs", "slots"), [(None, None, 8), (1, 16, 16), (2, None, 4), (8, None, 1), (3, 2, 2)]
)
def test_so_many_jobs_at_once_as_there_are_gpus_for(each, jobs, slots, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("harness.environment.gpus", lambda: GPUS)
    request = PlanRequest((TABLE,), device="cuda", gpus_per_job=each)
    assert (request.slots(jobs), request.processes) == (slots, each or 1)


@pytest.mark.parametrize(
    ("gpus", "arguments", "message"),
    [
        (8, ["--gpus-per-job", "9"], "1 job at once with 9 GPUs each, but a process may use 8 GPUs of this machine"),
        (8, ["--gpus-per-job", "4", "--jobs", "3"], "3 jobs at once with 4 GPUs each"),
        (0, ["--gpus-per-job", "2"], "this machine has no NVIDIA GPU that a process may use"),
        (8, ["--gpus-per-job", "2", "--on", str(ROOT / "slurm/clusters/local.yaml")], "the key 'gpus' of its file"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_more_gpus_per_job_than_there_are_is_an_error(
    command, gpus, arguments, message, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
):
    monkeypatch.setattr("harness.environment.gpus", lambda: GPUS[:gpus])
    monkeypatch.delenv("HARNESS_DEVICE")
    assert main([command, TABLE, "--results", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_what_is_wrong_with_any_of_the_tables_is_said_at_once(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("[]")
    with pytest.raises(Problems) as caught:
        plan_of(PlanRequest((str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")), results=tmp_path))
    assert {Path(problem.file).name for problem in caught.value.problems} == {"one.yaml", "two.yaml"}
    (tmp_path / "idrnet_table2.yaml").write_text(Path(TABLE).read_text())
    with pytest.raises(UserError, match="have the same name"):
        plan_of(PlanRequest((TABLE, str(tmp_path / "idrnet_table2.yaml")), results=tmp_path))
