"""`new`: what it writes is valid as it stands, and nothing is overwritten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness import ROOT
from harness.cli import new_cluster
from harness.cli.main import main
from harness.data import catalogue
from harness.scheduler.slurm.cluster_file import Cluster
from harness.scheduler.slurm.controller import Controller, Partition
from harness.table.load import load
from harness.table.recipes import recipe, recipe_names
from harness.yamlfile import parse, read, validate
from methods import registry
from methods.backbones import build_backbone


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_new_table_is_valid_and_plans_on_small_scenes(capsys: pytest.CaptureFixture[str]):
    assert main(["new", "table", "street"]) == 0
    assert "written: street.yaml" in capsys.readouterr().out
    assert [*load("street.yaml").rows] == ["fcn", "pspnet"]
    assert main(["plan", "street.yaml", "--profile", "smoke", "--results", "results"]) == 0
    assert "4 cells" in capsys.readouterr().out


def test_a_new_table_of_a_new_recipe_and_a_new_method():
    assert main(["new", "recipe", "mine", "--dataset", "camvid"]) == 0
    assert main(["new", "method", "net"]) == 0
    assert main(["new", "table", "--recipe", "mine/longer", "--method", "net.py:net", "--out", "t.yaml"]) == 0
    assert "mine/longer" in recipe_names(Path())
    assert (recipe("mine/longer", Path()).dataset, recipe("mine/longer", Path()).iterations) == ("camvid", 8000)
    assert registry.find("net.py:net").summary.startswith("net")
    (cell,) = (c for c in load("t.yaml").cells() if (c.row, c.column) == ("net", "miou"))
    assert (cell.recipe, cell.method.endswith("net.py:net")) == ("mine/longer", True)


def test_a_new_dataset_and_a_new_backbone_are_valid():
    assert main(["new", "dataset", "street"]) == 0
    assert catalogue.find(f"{Path.cwd()}/datasets/street.yaml").classes == ("background", "object")
    assert main(["new", "backbone", "net"]) == 0
    backbone = build_backbone("net.py:net")
    maps = backbone(torch.zeros(1, 3, 65, 49))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, -(-65 // s), -(-49 // s)) for c, s in zip(backbone.channels, backbone.strides)
    ]


def test_what_is_there_is_left_as_it_is(capsys: pytest.CaptureFixture[str]):
    Path("street.yaml").write_text("mine")
    assert main(["new", "table", "street"]) == 2
    assert "street.yaml is there already" in capsys.readouterr().err
    assert Path("street.yaml").read_text() == "mine"


def test_a_name_that_python_cannot_have_is_refused(capsys: pytest.CaptureFixture[str]):
    assert main(["new", "method", "my-net"]) == 2
    assert "'my-net' is no name" in capsys.readouterr().err


def test_a_new_cluster_file_has_the_sizes_of_its_partition(monkeypatch: pytest.MonkeyPatch):
    there = {"cpu": Partition(600, 40, 64, 256000, 0), "a100": Partition(2000, 10, 96, 1000000, 8, {"a100": 8})}
    monkeypatch.setattr(new_cluster.shutil, "which", lambda name: "/usr/bin/sinfo")
    monkeypatch.setattr(Controller, "partitions", lambda self: there)
    assert main(["new", "cluster", "ours"]) == 0
    ours = read("ours.yaml")
    cluster = validate(ours, ours.data, Cluster)
    assert (cluster.partition, cluster.gpus, cluster.cpus, cluster.memory) == ("a100", 1, 12, 118750)
    assert (cluster.minutes, cluster.minutes_limit) == (1440, 2000)
    text = Path("ours.yaml").read_text()
    assert "cpu: 40 nodes" in text
    assert "a100: 10 nodes, 96 CPUs, 8 GPUs (8 a100), 1000000 MiB" in text
    typed = parse(text.replace("gpus: 1 ", "# gpus: 1").replace("# gres: ", "gres: "), "ours.yaml")
    assert validate(typed, typed.data, Cluster).gres == "gpu:a100:1"
    assert main(["new", "cluster", "small", "--partition", "cpu"]) == 0
    small = read("small.yaml")
    assert validate(small, small.data, Cluster).gpus == 0
    assert main(["new", "cluster", "none", "--partition", "a10"]) == 2


def test_a_new_cluster_file_without_slurm_is_valid_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(new_cluster.shutil, "which", lambda name: None)
    assert main(["new", "cluster"]) == 0
    document = read("my_cluster.yaml")
    assert validate(document, document.data, Cluster).gpus == 1


@pytest.mark.parametrize(
    ("arguments", "file", "message"),
    [
        (["recipe", "r", "--dataset", "camvd"], "recipes/r.yaml", "Did you mean 'camvid'"),
        (["table", "t", "--method", "psnet"], "t.yaml", "Did you mean 'pspnet'"),
        (["table", "t", "--method", "mymth.py:mymeth"], "t.yaml", "mymth.py"),
        (["table", "t", "--backbone", "resnet19"], "t.yaml", "Did you mean 'resnet1"),
        (["table", "t", "--recipe", "camvid/scratsh"], "t.yaml", "Did you mean 'camvid/scratch'"),
    ],
)
def test_a_name_that_is_not_there_is_said_before_anything_is_written(
    arguments: list[str], file: str, message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["new", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not Path(file).exists()


@pytest.mark.parametrize("kind", ["method", "backbone"])
def test_new_python_is_formatted_as_ours_is(kind: str):
    assert main(["new", kind, "net"]) == 0
    for arguments in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--config", str(ROOT / "pyproject.toml"), "net.py"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
