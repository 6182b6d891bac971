"""`--set`: checked like a file, with the argument named; in the key; and in every report a deviation."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from harness import ROOT
from harness.cli.main import main
from harness.environment import Device
from harness.errors import UserError
from harness.jobs.job import Job, Measurement
from harness.jobs.key import Code
from harness.plan.planner import Plan, Planner, Selection
from harness.plan.request import PlanRequest, plan_of
from harness.plan.settings import Settings
from harness.table import recipes
from harness.table.load import load
from harness.table.schema import Table
from reports import reproduce, write
from reports.formats import csv as csv_format
from reports.formats import latex, terminal
from reports.table_report import table_reports

CODE = Code()
TABLE2, CAMVID = (load(ROOT / "tables" / f"{name}.yaml") for name in ("idrnet_table2", "camvid"))
PART = (TABLE2, "fcn", "lip")


def planned(table: Table, row: str, column: str, *settings: str, profile: str = "smoke") -> Plan:
    place = {"device": Device("cpu", "a processor", 2), "cache": Path("/dev/null/cache"), "code": CODE}
    planner = Planner(recipes.profile(profile), settings=Settings.parse(settings), **place)
    return planner.plan([table], Selection((row,), (column,)))


def training(plan: Plan) -> Job:
    (test,) = plan.cells[0].jobs
    return plan.jobs[test.needs[0]]


def test_a_field_of_every_recipe_is_set_and_in_the_key():
    plain, changed = (training(planned(*PART, *settings)) for settings in ((), ["recipe.optimizer.lr=0.5"]))
    assert changed.config["recipe"]["optimizer"] == {**plain.config["recipe"]["optimizer"], "lr": 0.5}
    assert changed.key != plain.key
    assert changed.identity != plain.identity
    assert training(planned(*PART)).key == plain.key


@pytest.mark.parametrize("profile", ["smoke", "short", "paper"])
def test_a_length_that_is_set_is_that_length(profile: str):
    config = training(planned(*PART, "recipe.iterations=100", profile=profile)).config
    assert (config["recipe"]["iterations"], config["recipe"]["epochs"], config["shorten"]) == (100, None, None)


def test_what_tests_is_set_for_the_test_as_well():
    plan = planned(*PART, "recipe.test.flip=true")
    assert plan.cells[0].jobs[0].config["protocol"]["flip"] is True


def test_a_rows_option_and_its_model_are_set():
    plan = planned(*PART, "row.fcn.channels=256", "row.fcn.model.output_stride=16", profile="paper")
    model = training(plan).config["model"]
    assert (model["options"], model["output_stride"]) == ({"convs": 2, "channels": 256}, 16)
    other = planned(TABLE2, "pspnet", "lip", "row.fcn.channels=256", profile="paper")
    assert training(other).key == training(planned(TABLE2, "pspnet", "lip", profile="paper")).key


def test_the_later_of_two_settings_wins():
    plan = planned(*PART, "recipe.iterations=100", "recipe.iterations=50")
    assert training(plan).config["recipe"]["iterations"] == 50


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "recipe.iteratons=100",
            "--set recipe.iteratons=100: iteratons: unknown key 'iteratons'. Did you mean 'iterations'?",
        ),
        ("recipe.optimizer.lr=fast", "--set recipe.optimizer.lr=fast: optimizer.lr: Input should be a valid number"),
        ("recipe.batch_size=0", "--set recipe.batch_size=0: batch_size: Input should be greater than 0"),
        ("recipe.dataset=ade", "--set recipe.dataset=ade: dataset: unknown dataset 'ade'"),
        ("recipe.train_split=tarin", "--set recipe.train_split=tarin: train_split:"),
        (
            "row.fcn.chanels=256",
            "--set row.fcn.chanels=256: rows.fcn.method.chanels: method 'fcn' has no option 'chanels'",
        ),
        (
            "row.fcn.channels=many",
            "--set row.fcn.channels=many: rows.fcn.method.channels: method 'fcn': option 'channels'",
        ),
        ("row.fnc.channels=256", "--set row.fnc.channels=256: no row is called 'fnc'. Did you mean 'fcn'?"),
        ("row.fcn=256", "--set row.fcn=256: says nothing of the row to set"),
        (
            "row.fcn.model.backbone=resnet5",
            "--set row.fcn.model.backbone=resnet5: rows.fcn.model.backbone: unknown backbone",
        ),
        ("row.fcn.model.bacbone=x", "--set row.fcn.model.bacbone=x: bacbone: unknown key 'bacbone'. Did you mean"),
        ("recipe.iterations", "--set recipe.iterations: write recipe.FIELD=VALUE or row.ROW.OPTION=VALUE"),
        ("recip.iterations=1", "--set recip.iterations=1: 'recip' cannot be set. Did you mean 'recipe'?"),
        ("recipe..lr=1", "--set recipe..lr=1: write recipe.FIELD=VALUE"),
        ("recipe.loss=[1", "--set recipe.loss=[1: not YAML"),
        ("recipe.optimizer.lr=!!python/name:os.system x", "is not allowed"),
    ],
)
def test_an_error_names_the_argument(setting: str, message: str):
    with pytest.raises(UserError) as error:
        planned(*PART, setting)
    assert message in str(error.value)


def test_of_several_settings_the_wrong_one_is_named():
    with pytest.raises(UserError) as error:
        planned(*PART, "recipe.batch_size=4", "recipe.optimizer.momentum=2", "row.fcn.channels=64")
    assert str(error.value).startswith("--set recipe.optimizer.momentum=2: optimizer.momentum: ")
    assert "batch_size" not in str(error.value)


# ------------------------------------------------------------------------------------------------------------- reports


def test_every_report_says_what_was_set_and_compares_with_no_paper(tmp_path: Path):
    settings = ("recipe.iterations=5", "row.fcn.channels=64")
    request = PlanRequest(
        (str(ROOT / "tables/idrnet_table2.yaml"),),
        ("fcn",),
        ("lip",),
        results=tmp_path,
        device="cpu",
        settings=settings,
    )
    plan, store = plan_of(request)
    (test,) = plan.cells[0].jobs
    store.finish(training(plan), [Measurement("final_loss", 1.0)], {}, 0.0)
    store.finish(test, [Measurement("miou", 30.0, "%")], {}, 0.0)
    (report,) = table_reports(plan, store)
    said = "set on the command line, instead of what the files say: recipe.iterations=5, row.fcn.channels=64"
    markdown = write.write(report, tmp_path / "reports", figures=False)
    assert f"**Warning:** S{said[1:]}." in markdown.read_text()
    assert markdown.name.startswith("idrnet_table2.set-")
    assert said.partition(":")[0] in " ".join(terminal.render(report).split())
    assert "Set on the command line, instead of" in latex.render(report)
    (line,) = csv.DictReader(csv_format.render(report).splitlines()[:2])
    assert line["warning"].startswith(said)
    assert line["verdict"] == "not comparable"
    record = reproduce.record(report)
    assert "--set recipe.iterations=5 --set row.fcn.channels=64" in record["command"]
    assert record["settings"] == list(settings)
    assert json.loads(json.dumps(record)) == record


def test_commands_take_it_and_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    part = ["--rows", "fcn", "--columns", "lip", "--profile", "smoke", "--results", str(tmp_path)]
    assert main(["plan", "idrnet_table2", *part, "--set", "recipe.iterations=3"]) == 0
    assert "set on the command line: recipe.iterations=3" in capsys.readouterr().out
    cell = ["idrnet_table2/fcn/lip", "--profile", "smoke", "--results", str(tmp_path)]
    assert main(["why", *cell, "--set", "recipe.iterations=3"]) == 0
    assert "not run" in capsys.readouterr().out
    assert main(["status", "idrnet_table2", *part, "--set", "row.fcn.model=1"]) == 2
    assert "name a field of the model: backbone, output_stride, pretrained" in capsys.readouterr().err
