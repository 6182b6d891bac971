"""What `list` says of a table, a dataset, a cluster; and how a cell stands whose cluster knows of its jobs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import ROOT
from harness.cli.main import main
from harness.data.synthetic import synthesize
from harness.errors import Exit
from harness.plan.planner import Planner, Selection
from harness.recipes.profile import Synthetic
from harness.store.store import Failure, Store
from harness.table import recipes
from harness.table.load import load
from reports.status import ResultReader, cell_status


def test_a_cell_whose_training_failed_is_failed_whatever_its_cluster_says_of_the_test(tmp_path: Path):
    planner = Planner(recipes.profile("smoke"), (0,))
    plan = planner.plan([load(ROOT / "tables" / "idrnet_table2.yaml")], Selection(("fcn",), ("ade20k",)))
    store, (cell,), (train, test) = Store(tmp_path), plan.cells, plan.jobs.values()
    submitted = {test.key: "its job 16_3 ended (cancelled)"}
    assert cell_status(cell, ResultReader(plan, store, submitted)) == (
        "submitted",
        "test its job 16_3 ended (cancelled)",
    )
    store.fail(train, Failure("cancelled", "by hand", Exit.FAILED))
    assert cell_status(cell, ResultReader(plan, store, submitted)) == ("failed", "cancelled: by hand")
    repeated = {**submitted, train.key: "running in Slurm as 17_0"}
    assert cell_status(cell, ResultReader(plan, store, repeated)) == ("submitted", "train running in Slurm as 17_0")


def test_a_table_is_found_by_its_bare_name(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "tables", "camvid"]) == 0
    bare = capsys.readouterr().out
    assert main(["list", "tables", "tables/camvid.yaml"]) == 0
    assert bare == capsys.readouterr().out
    assert main(["list", "tables", "camvd"]) == 2
    assert "Did you mean 'camvid'" in capsys.readouterr().err


def test_a_dataset_is_listed_with_all_that_its_declaration_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["list", "datasets", "cityscapes", "--data", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("cityscapes  Cityscapes, 19 classes, segmentation\n  classes: road, sidewalk, building, ")
    assert "  images: train 2975, val 500, test 1525\n" in said
    assert "    labelTrainIds, label values 0..18, 255\n" in said
    assert "      cityscapes/gtFine/SPLIT/ID_gtFine_labelTrainIds.png\n" in said
    assert "leftImg8bit_trainvaltest.zip" in said
    assert f"  here: no: dataset 'cityscapes' is not there: looked at {tmp_path}/cityscapes\n" in said
    assert main(["list", "datasets", "cityscape"]) == 2
    assert "Did you mean 'cityscapes'" in capsys.readouterr().err


def test_a_dataset_that_is_here_is_said_to_be_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    synthesize("lip", tmp_path, scenes=Synthetic(train_images=1, test_images=1, size=(16, 24)))
    assert main(["list", "datasets", "lip", "--data", str(tmp_path)]) == 0
    assert f"  here: yes, {tmp_path}/lip (layout 'flat')\n" in capsys.readouterr().out
    assert main(["list", "datasets", "coco_detection"]) == 0
    said = capsys.readouterr().out
    assert "(SPLIT is train2017 for train, val2017 for val)" in said
    assert "  here: not known, no data folder is set (--data DIR or HARNESS_DATA)\n" in said


def test_clusters_are_those_of_the_checkout_and_those_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours.yaml").write_text("title: Ours\npartition: main\ngpus: 2\ncpus: 4\n")
    (tmp_path / "broken.yaml").write_text("title: Ours\npartition: main\ngpus: many\n")
    (tmp_path / "a_table.yaml").write_text("title: A table\nrows: {}\n")
    assert main(["list", "clusters"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 + len([*(ROOT / "slurm/clusters").glob("*.yaml")])
    assert re.match(r"ours\.yaml +Ours \(partition main, 2 GPUs × 4 CPUs per job\)$", said[1])
    assert re.match(r"broken\.yaml +broken\.yaml:3: gpus: ", said[0])
    assert main(["list", "clusters", "local"]) == 0
    assert "slurm/clusters/local.yaml  " in capsys.readouterr().out
