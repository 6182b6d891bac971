"""`import harness` in a notebook: the commands as functions, typed and light."""

from __future__ import annotations

import inspect
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import harness
from harness import ROOT
from harness.cli.run import command
from harness.errors import Problems, UserError
from harness.jobs.job import Measurement
from harness.store import weights
from harness.store.store import Store


@pytest.mark.slow
def test_a_plan_is_that_of_the_command(tmp_path: Path):
    chosen = harness.plan(
        "idrnet_table2", rows="fcn*", columns=["lip"], profile="smoke", repetitions=2, results=tmp_path
    )
    assert [cell.name for cell in chosen.cells] == ["idrnet_table2/fcn/lip", "idrnet_table2/fcn_idrnet/lip"]
    assert len(chosen.jobs) == 8
    again = harness.plan(ROOT / "tables/idrnet_table2.yaml", rows="fcn*", columns="lip", profile="smoke", repetitions=2)
    assert again.jobs.keys() == chosen.jobs.keys()


@pytest.mark.slow
def test_settings_are_those_of_the_option(tmp_path: Path):
    place = {"rows": "fcn", "columns": "lip", "profile": "smoke", "results": tmp_path}
    chosen = harness.plan("idrnet_table2", settings={"recipe.iterations": 3, "recipe.test.flip": True}, **place)
    assert chosen.settings == ("recipe.iterations=3", "recipe.test.flip=true")
    (test,) = chosen.cells[0].jobs
    assert test.config["protocol"]["flip"] is True


def test_cells_are_a_frame_of_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HARNESS_RESULTS", str(tmp_path))
    chosen = harness.plan("idrnet_table5", rows="ocr", columns="params")
    (job,) = chosen.cells[0].jobs
    Store(tmp_path).finish(job, [Measurement("parameters", 15_120_000.0)], {}, 0.0)
    frame = harness.cells("idrnet_table5", rows="ocr")
    cell = frame[frame.column == "params"].iloc[0]
    assert (cell.measured, cell.published, cell.n, cell.verdict) == (15.12, 15.12, 1, "reproduced (inferred module)")
    assert math.isnan(cell.sd)
    assert math.isnan(frame[frame.column == "flops"].iloc[0].measured)
    assert harness.results().value.item() == 15_120_000


def test_bad_arguments_are_errors_with_advice(tmp_path: Path):
    with pytest.raises(Problems, match="Did you mean 'camvid'"):
        harness.plan("camvit")
    with pytest.raises(UserError, match="name at least one table"):
        harness.cells()
    with pytest.raises(UserError, match="repetitions=0 is not a whole number above 0"):
        harness.plan("camvid", repetitions=0)


@pytest.mark.parametrize(
    ("tables", "options", "message"),
    [
        ((3,), {}, "table: 3 is neither a name nor a path"),
        ((["camvid"],), {}, r"table: \['camvid'\] is neither"),
        (("camvid",), {"device": "tpu"}, "device='tpu': allowed are auto, cpu, cuda"),
        (("camvid",), {"rows": 3}, "rows=3 is neither a name nor a list of names"),
        (("camvid",), {"columns": ["miou", 3]}, "columns=.* is neither a name nor"),
        (("camvid",), {"settings": "x=1"}, "settings='x=1' is not a dictionary"),
        (("camvid",), {"profile": 3}, "profile=3 is not the name of a profile"),
        (("camvid",), {"results": 3}, "results: 3 is neither"),
    ],
)
def test_an_argument_of_another_type_is_an_error_that_names_it(tables: tuple, options: dict, message: str):
    with pytest.raises(UserError, match=message):
        harness.plan(*tables, **options)


def test_every_option_of_the_command_is_an_argument_or_said_to_be_missing():
    options = {max(option.opts, key=len) for option in command.params if option.opts[0].startswith("--")}
    arguments = {*inspect.signature(harness.run).parameters, *harness.PlanOptions.__annotations__}
    otherwise = {"--set": "settings", "--no-figures": "figures"}
    without = {o for o in options if otherwise.get(o, o[2:].replace("-", "_")) not in arguments}
    page = (ROOT / "docs/notebook.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"The command alone has (.*?)\.", page, flags=re.DOTALL)
    assert without == set(re.findall("`(.*?)`", said))


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("wandbb", "logger=wandbb: not known. Did you mean 'wandb'?"),
        (["tensorboard", "wandbb"], "logger=wandbb: not known. Did you mean 'wandb'?"),
        (3, "logger=3 is neither a name nor a list of names, such as ['tensorboard', 'mine.py:Lines']"),
    ],
)
def test_an_unknown_logger_is_said_before_anything_runs(
    logger: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HARNESS_LOGGERS", "tensorboard")
    with pytest.raises(UserError) as said:
        harness.run("camvid", logger=logger, results=tmp_path)
    assert message in str(said.value)
    assert [*tmp_path.iterdir()] == []
    assert os.environ["HARNESS_LOGGERS"] == "tensorboard"


LINES = """
class Lines:
    def __init__(self, folder, name, iteration, config):
        self.file = open(folder / "lines.txt", "a")

    def append(self, records):
        self.file.writelines(f"{record['iteration']}\\n" for record in records)

    def close(self):
        self.file.close()
"""


@pytest.mark.slow
def test_a_run_keeps_weights_and_logs_where_it_is_asked_to(tmp_path: Path, write: Callable[[str, str], Path]):
    logger = f"{write('mine.py', LINES)}:Lines"
    cell = {"rows": "fcn", "columns": "miou", "profile": "smoke", "results": tmp_path / "results"}
    cell["settings"] = {"recipe.iterations": 2}
    outcome = harness.run("camvid", logger=logger, **cell)
    assert len(outcome.done) == 2
    (folder,) = {file.parent for file in tmp_path.rglob("lines.txt")}
    assert (folder / "lines.txt").read_text() == "1\n2\n"
    assert weights.files(folder) == []
    assert "HARNESS_LOGGERS" not in os.environ
    again = harness.run("camvid", keep_weights=True, **cell)
    assert len(again.done) == 1, "the training alone, for its weights"
    assert len(weights.files(folder)) == 1
    assert (folder / "lines.txt").read_text() == "1\n2\n", "the logger was that of the first call"


@pytest.mark.slow
def test_a_run_measures_and_returns_its_outcome(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    options = {"rows": "ppm", "columns": "params", "results": tmp_path}
    outcome = harness.run("idrnet_table5", **options)
    (done,) = outcome.done
    assert harness.results(tmp_path).key.unique().tolist() == [done]
    assert harness.run("idrnet_table5", **options).done == []
    assert "report: " in capfd.readouterr().out


@pytest.mark.slow
def test_the_page_on_notebooks_runs_as_it_stands(tmp_path: Path):
    page = (ROOT / "docs/notebook.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    environ = {**os.environ, "HARNESS_RESULTS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "".join(blocks)], cwd=ROOT, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "2 newly measured, 0 failed" in done.stdout
    assert "23.07" in done.stdout


def test_importing_is_light_and_the_room_called_plan_stays_one():
    code = (
        "import sys, harness\n"
        "heavy = [m for m in ('torch', 'pandas', 'pydantic', 'click', 'rich') if m in sys.modules]\n"
        "assert not heavy, heavy\n"
        "before = harness.plan\n"
        "import harness.plan.planner\n"
        "assert harness.plan.planner.Plan.__name__ == 'Plan' and callable(harness.plan)\n"
        "try:\n    harness.plan()\n"
        "except harness.errors.UserError as error:\n    assert 'name at least one table' in str(error)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_wrong_option_of_a_method_and_its_context_is_said_once(tmp_path: Path):
    with pytest.raises(Problems) as said:
        harness.plan("idrnet_table5", rows="ppm", settings={"row.ppm.channels": "abc"}, results=tmp_path)
    assert str(said.value).count("takes a whole number, not 'abc'") == 1
    assert str(said.value).endswith("1 error in --set row.ppm.channels=abc")
