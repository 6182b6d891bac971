"""The hook for logs beside the curve: Weights & Biases and MLflow as they are called, classes of one's own, and failures."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.cli.main import main
from harness.cli.run import LOGGERS, set_loggers
from harness.errors import MissingError, OutputError, UserError
from harness.store import curve
from harness.tasks.segmentation.train import train
from harness.training import loggers
from tests.tasks.segmentation.test_train import config, context

LINE = {"iteration": 1, "loss": 2.0, "terms": {"main": 2.0}, "lr": 0.1, "images_per_s": 9.0}


class FakeWandb(types.ModuleType):
    """What Weights & Biases was asked to do."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.opened: list[dict] = []
        self.logged: list[tuple[int, dict]] = []
        self.finished = 0

    def init(self, **options):
        self.opened.append(options)
        return SimpleNamespace(log=lambda values, step: self.logged.append((step, values)), finish=self._finish)

    def _finish(self):
        self.finished += 1


class FakeMLflow(types.ModuleType):
    """What MLflow was asked to do."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.runs: list[dict] = []
        self.params: dict = {}
        self.logged: list[tuple[int, dict]] = []
        self.ended = 0

    def set_experiment(self, name):
        self.experiment = name

    def start_run(self, **options):
        self.runs.append(options)
        return SimpleNamespace(info=SimpleNamespace(run_id="run-7"))

    def log_params(self, params):
        self.params |= params

    def log_metrics(self, values, step):
        self.logged.append((step, values))

    def end_run(self):
        self.ended += 1


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv(loggers.VARIABLE, "wandb")
    return fake


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMLflow:
    fake = FakeMLflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setenv(loggers.VARIABLE, "mlflow")
    return fake


@pytest.mark.slow
def test_a_training_is_a_run_of_wandb_with_every_line_of_its_curve(tmp_path: Path, wandb: FakeWandb):
    folder = tmp_path / "0123456789abcdef"
    folder.mkdir()
    train(config(iterations=3), context(folder, tmp_path / "cache"))
    (opened,) = wandb.opened
    assert (opened["id"], opened["resume"], opened["project"]) == (folder.name, "allow", "segmentation-harness")
    assert opened["name"] == "fcn-timm-test_resnet-camvid-smoke-3"
    assert opened["config"]["recipe"]["iterations"] == 3
    records = curve.read(folder)
    assert [step for step, _ in wandb.logged] == [1, 2, 3]
    assert [values["loss/all"] for _, values in wandb.logged] == [record["loss"] for record in records]
    assert wandb.finished == 1


def test_a_training_that_goes_on_goes_on_in_its_run_of_mlflow(tmp_path: Path, mlflow: FakeMLflow):
    for done in (0, 5):
        opened = loggers.opener(tmp_path, "fcn", {"recipe": {"iterations": 9}})
        assert opened is not None
        log = opened(done)
        log.append([{**LINE, "iteration": done + 1}])
        log.close()
    assert mlflow.runs == [{"run_name": "fcn"}, {"run_id": "run-7"}]
    assert mlflow.params == {"recipe.iterations": "9"}
    assert [step for step, _ in mlflow.logged] == [1, 6]
    assert mlflow.logged[0][1]["train/lr"] == 0.1
    assert (mlflow.experiment, mlflow.ended) == ("segmentation-harness", 2)


@pytest.mark.parametrize("where", ["init", "log"])
def test_a_server_that_does_not_answer_ends_no_training(
    tmp_path: Path, wandb: FakeWandb, where: str, monkeypatch, caplog
):
    def refuse(*args, **options):
        raise ConnectionError("no route")

    if where == "init":
        monkeypatch.setattr(wandb, "init", refuse)
    else:
        monkeypatch.setattr(wandb, "init", lambda **options: SimpleNamespace(log=refuse, finish=lambda: None))
    with caplog.at_level(logging.WARNING):
        train(config(iterations=2), context(tmp_path, tmp_path / "cache"))
    assert len(curve.read(tmp_path)) == 2
    said = [record.getMessage() for record in caplog.records if "gave up" in record.getMessage()]
    assert said == ["logger wandb gave up: ConnectionError: no route; curve.jsonl goes on"]


def test_a_full_disk_is_no_matter_of_the_logger_alone(tmp_path: Path):
    def full(records):
        raise OutputError("the disk is full")

    log = loggers.Tolerant("tensorboard", lambda: SimpleNamespace(append=full, close=lambda: None))
    with pytest.raises(OutputError):
        log.append([LINE])


def test_a_class_of_ones_own_is_called_with_all_it_may_want(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.py").write_text(
        "class Lines:\n"
        "    def __init__(self, folder, name, iteration, config):\n"
        "        self.file = open(folder / 'mine.txt', 'a')\n"
        "        self.file.write(f'{name} {iteration} {config[\"seed\"]}\\n')\n"
        "    def append(self, records):\n"
        "        self.file.writelines(f'{r[\"iteration\"]}\\n' for r in records)\n"
        "    def close(self):\n"
        "        self.file.close()\n"
    )
    monkeypatch.setenv(loggers.VARIABLE, f"{tmp_path / 'mine.py'}:Lines")
    opened = loggers.opener(tmp_path, "fcn", {"seed": 3})
    assert opened is not None
    log = opened(4)
    log.append([LINE])
    log.close()
    assert (tmp_path / "mine.txt").read_text() == "fcn 4 3\n1\n"
    monkeypatch.setenv(loggers.VARIABLE, f"{tmp_path / 'mine.py'}:Other")
    with pytest.raises(UserError, match="has no class 'Other'"):
        loggers.opener(tmp_path, "fcn", {})
    monkeypatch.setenv(loggers.VARIABLE, f"{tmp_path / 'absent.py'}:Lines")
    with pytest.raises(UserError, match="there is no file"):
        loggers.opener(tmp_path, "fcn", {})


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_not_there_and_a_name_that_is_unknown_are_said_first(name: str, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv(loggers.VARIABLE, name)
    with pytest.raises(
        MissingError, match=rf"asks for {name}, but it is not installed .*pip install -e '\.\[{name}\]'"
    ):
        loggers.opener(tmp_path, "fcn", {})
    monkeypatch.setenv(loggers.VARIABLE, "wandbb")
    with pytest.raises(UserError, match=r"logger 'wandbb' is not known\. Did you mean 'wandb'"):
        loggers.opener(tmp_path, "fcn", {})


def test_nothing_is_loaded_where_nothing_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib, "import_module", lambda name: pytest.fail(f"imports {name}"))
    assert loggers.opener(tmp_path, "fcn", {}) is None


def test_the_command_names_the_same_loggers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    assert set(LOGGERS) == set(loggers.KNOWN)
    monkeypatch.setenv(loggers.VARIABLE, "tensorboard")
    set_loggers(())
    assert loggers.names() == ["tensorboard"]
    set_loggers(["wandb", "mlflow"])
    assert loggers.names() == ["wandb", "mlflow"]
    monkeypatch.chdir(tmp_path)
    set_loggers(["mine.py:Lines"])
    assert os.environ[loggers.VARIABLE] == f"{tmp_path / 'mine.py'}:Lines"
    assert main(["run", "camvid", "--logger", "wandbb", "--results", str(tmp_path)]) == 2
    assert "--logger wandbb: not known. Did you mean 'wandb'?" in capsys.readouterr().err
