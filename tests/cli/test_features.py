"""`features` as a person types it: what is written, what is said, and what is wrong in people's words."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from harness.cli import main
from harness.store import features
from harness.store.store import Store
from methods.weights import write
from reports.figures import umap
from tests.support.weights_bench import cell, fcn18, fill, planned


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(fcn18().state_dict(), fill(tmp_path) / "weights" / "miou.pth")
    (tmp_path / "results").mkdir()  # without which the command warns that nothing is measured there
    return tmp_path


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two channels in place of UMAP, which takes seconds to load."""
    monkeypatch.setattr(umap, "embed", lambda features: features[:, :2])


def run(folder: Path, *arguments: str, rows: tuple[str, ...] = ("given",)) -> int:
    chosen = [part for row in rows for part in ("--rows", row)]
    common = ["--profile", "own", *chosen, "--device", "cpu", "--results", str(folder / "results")]
    return main.main(["features", str(folder / "table.yaml"), *common, *arguments])


@pytest.mark.slow
def test_arrays_lie_beside_the_evaluation_and_figures_beside_the_report(
    folder: Path, flat: None, capsys: pytest.CaptureFixture[str]
):
    assert run(folder, "--columns", "miou", "--pixels", "5", rows=("given", "cell")) == 0
    said = capsys.readouterr().out
    assert "camvid, val:" in said
    assert "at most 5 of each of 11 classes, from 2 of 2 images" in said
    assert " ✓ given" in said
    assert "8 channels" in said
    drawn = folder / "results" / "reports" / "table.own"
    assert {p.name for p in drawn.iterdir()} == {"tokens.miou.svg", "umap.miou.svg"}
    assert f"written: {drawn / 'umap.miou.svg'}" in said
    store = Store(folder / "results")
    found = features.read(store.folder(cell(planned(folder), "given", "miou").jobs[0]))
    assert found is not None
    assert np.array_equal(found.tokens, fcn18().classifier[1].weight.detach().flatten(1).numpy())
    assert np.bincount(found.labels).max() == 5
    assert len(found.embedding) == len(found.labels)


@pytest.mark.slow
def test_only_the_classes_that_are_named(folder: Path, flat: None, capsys: pytest.CaptureFixture[str]):
    assert run(folder, "--columns", "miou", "--class", "rode") == 2
    assert "no such class. Did you mean 'road'?" in capsys.readouterr().err
    assert run(folder, "--columns", "miou", "--pixels", "5") == 0
    found = features.read(Store(folder / "results").folder(cell(planned(folder), "given", "miou").jobs[0]))
    assert found is not None
    present = sorted(set(found.labels.tolist()))
    absent = sorted(set(range(11)) - set(present))
    named = [part for k in present[:2] for part in ("--class", str(found.classes[k]))]
    assert run(folder, "--columns", "miou", *named) == 0
    assert "of each of 2 classes" in capsys.readouterr().out
    assert absent
    assert run(folder, "--columns", "miou", *named, "--class", str(found.classes[absent[0]]), "--images", "1") == 2
    assert "look at more (--images 2)" in capsys.readouterr().err


@pytest.mark.slow
def test_without_umap_everything_else_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "umap", None)
    assert run(folder, "--columns", "miou") == 3
    assert "pip install -e '.[umap]'" in capsys.readouterr().err
    assert [p.name for p in (folder / "results" / "reports" / "table.own").iterdir()] == ["tokens.miou.svg"]


@pytest.mark.slow
def test_what_is_wrong_is_said_with_what_to_type(folder: Path, flat: None, capsys: pytest.CaptureFixture[str]):
    table = folder / "table.yaml"
    assert run(folder, "--columns", "macc", rows=("cell",)) == 3
    again = f"python -m harness run {table} --rows cell --columns macc --profile own"
    assert f"not trained here yet: table/cell/macc; run them first: {again}" in capsys.readouterr().err
    assert run(folder, "--columns", "miou", rows=("gvien",)) == 2
    assert "Did you mean 'given'?" in capsys.readouterr().err
    assert run(folder) == 2
    assert "table is tested in several columns; choose one (--columns miou)" in capsys.readouterr().err
    assert run(folder, "--columns", "params") == 2
    assert "choose a column of a score" in capsys.readouterr().err


@pytest.mark.slow
def test_a_row_without_a_final_classifier_is_told_and_the_others_drawn(
    folder: Path, flat: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from harness.errors import UserError
    from harness.tasks.segmentation import features as seen

    find = seen.classifier_of

    def none_in_cell(model, row):
        if row == "cell":
            raise UserError("cell: names no final classifier")
        return find(model, row)

    monkeypatch.setattr(seen, "classifier_of", none_in_cell)
    assert run(folder, "--columns", "miou", rows=("given", "cell")) == 2
    said = capsys.readouterr()
    assert said.err.strip() == "cell: names no final classifier"
    assert "umap.miou.svg" in said.out


@pytest.mark.slow
def test_figures_that_cannot_be_written(folder: Path, flat: None, capsys: pytest.CaptureFixture[str]):
    (folder / "results" / "reports").mkdir(parents=True)
    (folder / "results" / "reports" / "table.own").write_text("mine")
    assert run(folder, "--columns", "miou", "--pixels", "5") == 4
    assert "choose another folder with --results" in capsys.readouterr().err
