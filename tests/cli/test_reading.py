"""Commands that only read: a results folder that is not there, a log that is empty, a cell that failed or stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.cli.main import main
from harness.files import write_json
from harness.jobs.job import Measurement
from harness.store.store import Failure, Store

CELL = "idrnet_table5/ocr/flops"
PART = ["idrnet_table5", "--rows", "ocr", "--profile", "smoke"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status", *PART], 1),
        (["why", CELL], 0),
        (["logs", CELL], 5),
        (["report", *PART, "--format", "csv"], 5),
        (["export"], 5),
        (["plan", *PART], 0),
        (["cancel", *PART], 0),
        (["panels", "camvid", "--columns", "miou", "--profile", "smoke"], 3),
    ],
)
def test_a_results_folder_that_is_not_there_is_said_and_not_created(
    words: list[str], code: int, tmp_path: Path, capsys
):
    place = tmp_path / "mistyped"
    assert main([*words, "--results", str(place)]) == code
    assert f"warning: no results folder at {place}: nothing is measured there" in capsys.readouterr().err
    assert not place.exists()


def test_a_plan_before_the_first_run_creates_nothing_and_warns_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", *PART]) == 0
    assert harness.plan("idrnet_table5", rows="ocr", profile="smoke").cells
    assert capsys.readouterr().err == ""
    assert [*tmp_path.iterdir()] == []


def test_of_an_empty_log_is_said_what_is_known_of_its_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plan = harness.plan("idrnet_table2", rows="fcn", columns="lip", profile="smoke", results=tmp_path)
    (test,) = plan.cells[0].jobs
    train, store = plan.jobs[test.needs[0]], Store(tmp_path)
    command = ["logs", "idrnet_table2/fcn/lip", "--profile", "smoke", "--results", str(tmp_path)]
    assert main(command) == 5
    assert "python -m harness why idrnet_table2/fcn/lip says how it stands" in capsys.readouterr().out
    store.finish(train, [], {}, started=0.0)
    store.finish(test, [Measurement("miou", 12.5, "%")], {}, started=0.0)
    for job in (train, test):
        (store.folder(job) / "log.txt").touch()
    (store.folder(train) / "curve.jsonl").write_text('{"iteration": 39, "loss": 2.0}\n{"iteration": 40, "loss": 1.5}\n')
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "(it printed nothing; 40 iterations in its curve, the last loss 1.5; finished in" in said
    assert "measured miou 12.5 %)" in said


def test_why_says_once_that_a_cell_failed_and_what_to_type_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plan = harness.plan("idrnet_table5", rows="ocr", columns="flops", profile="smoke", results=tmp_path)
    (job,) = plan.cells[0].jobs
    store = Store(tmp_path)
    command = ["why", CELL, "--profile", "smoke", "--results", str(tmp_path)]
    store.fail(job, Failure("error", "no luck"))
    assert main(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "failed: error: no luck"
    assert said[1:] == [
        f"what it printed: python -m harness logs {CELL} --profile smoke",
        "to try it again: python -m harness run idrnet_table5 --rows ocr --columns flops --profile smoke --retry-failed",
    ]


def test_why_says_once_that_a_cell_stopped_half_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plan = harness.plan("idrnet_table5", rows="ocr", columns="flops", profile="smoke", results=tmp_path)
    (job,) = plan.cells[0].jobs
    folder = Store(tmp_path).folder(job)
    folder.mkdir(parents=True)
    write_json(folder / "progress.json", {"done": 3})
    assert main(["why", CELL, "--profile", "smoke", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["interrupted: count stopped at 3/?; starts over", f"count in {folder}"]


def test_two_cells_of_one_job_are_compared_under_their_own_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plan = harness.plan("idrnet_table5", rows="ocr", profile="smoke", results=tmp_path / "a")
    names = {"complexity": ("flops", "parameters"), "evaluate": ("miou", "macc")}
    for side, value in (("a", 10.0), ("b", 20.0)):
        for job in {job.key: job for cell in plan.cells for job in cell.jobs}.values():
            numbers = [Measurement(name, value) for name in names.get(job.kind, ())]
            Store(tmp_path / side).finish(job, numbers, {}, started=0.0)
    options = ["--tables", "idrnet_table5", "--profile", "smoke", "--results", str(tmp_path / "a")]
    command = ["compare", str(tmp_path / "a"), str(tmp_path / "b"), *options]
    assert main([*command, "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert {line.rsplit(",", 8)[0].removeprefix("idrnet_table5/ocr/") for line in lines} == {
        "flops,flops",
        "params,parameters",
        "miou,miou",
        "miou,macc",
    }
    assert main(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert said.count("idrnet_table5/ocr/miou") == 1  # with two numbers below
    assert "  mIoU: 10.00 → 20.00 %, +10.00; one pair" in said
