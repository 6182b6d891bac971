"""Code that is edited while a run goes on: the run measures what it was planned with, and nothing else is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.training.checkpoint import load_weights
from tests.support.checkout import Checkout
from tests.support.waiting import PATIENCE, Gate

TABLE = """\
paper: ours
title: Counts
defaults: {num_classes: 2, input: [[1, 4, 8, 8]]}
columns:
  params: {metric: parameters, convention: mmcv-hooks}
rows:
  own: {module: {name: 'FOLDER/mine.py:mine', options: {marks: 'FOLDER'}}}
  pooling: {module: {name: ppm, options: {channels: 4}}}
"""
METHOD = """
from pathlib import Path
from torch import nn
from methods.registry import register_context

class Mine(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.channels, self.layer = channels, nn.Conv2d(4, channels, 1, bias=False)

    def forward(self, features):
        return self.layer(features[-1])

@register_context("mine")
def mine(in_channels, *, marks):
    Path(marks, "started").open("w").close()
    Path(marks, "go").open().close()
    from widths import CHANNELS
    return Mine(CHANNELS + 0)
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(METHOD)
    (tmp_path / "widths.py").write_text("CHANNELS = 8\n")
    (tmp_path / "counts.yaml").write_text(TABLE.replace("FOLDER", str(tmp_path)))
    return tmp_path / "counts.yaml"


def measured(checkout: Checkout, table: Path) -> list[str]:
    """[row,column,measured] lines of the table."""
    lines = checkout("report", table, "--format", "csv").splitlines()
    return [",".join(line.split(",")[1:4]) for line in lines[1:]]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Where the first job of the test's own method waits."""
    made = Gate(tmp_path)
    yield made
    made.close()


@pytest.mark.slow
def test_a_run_goes_on_with_the_code_it_was_planned_with(checkout: Checkout, table: Path, tmp_path: Path, gate: Gate):
    """Edited in mid-run: the file of a method that runs, its helper that is not imported yet, a module whose job waits, and
    what writes the report at the end."""
    pooling = checkout.root / "methods/contexts/ppm.py"
    edits = {
        tmp_path / "mine.py": ("CHANNELS + 0", "CHANNELS + 1"),
        tmp_path / "widths.py": ("8", "16"),
        pooling: ("1, 2, 3, 6", "1, 2"),
    }
    reports = checkout.root / "reports/table_report.py"
    edits[reports] = ("from __future__ import annotations", "raise SystemError('half-way through an edit')")
    originals = {path: path.read_text() for path in edits}
    process = checkout.start("run", table, "--jobs", "1", "--no-figures")
    try:
        gate.wait(process)
        for path, (old, new) in edits.items():
            assert old in originals[path]
            path.write_text(originals[path].replace(old, new))
        gate.open()
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, out + err
        reports.write_text(originals[reports])
        stale = checkout("status", table, code=None)
        why = checkout("why", f"{table}/pooling/params", code=None)
    finally:
        for path, text in originals.items():
            path.write_text(text)
    assert (
        "counts/own/params      stale: measured before a change: code mine.py changed; code widths.py changed" in stale
    )
    assert "counts/pooling/params  stale: measured before a change: code methods/contexts/ppm.py changed" in stale
    assert "not measured: its key differs from the newest measurement" in why
    assert "2 measured" in checkout("status", table)
    before = measured(checkout, table)
    assert before[0] == "own,params,3.2e-05"
    for result in checkout.json("complexity"):
        result.unlink()
    assert "2 of 2 cells measured" in checkout("run", table, "--no-figures")
    assert measured(checkout, table) == before, "what was measured during the edits is what the unedited code gives"


TRAINED = """\
paper: ours
title: One training
metric: miou
defaults: {backbone: resnet18, recipe: idrnet/ade20k}
columns: {miou: {}}
rows: {own: {method: {name: 'FOLDER/held.py:held', marks: 'FOLDER'}}}
"""
HELD = """
from pathlib import Path
from methods.contexts.ppm import PyramidPooling
from methods.registry import register
from methods.segmentor import EncoderDecoder

class Held(EncoderDecoder):
    def losses(self, images, targets):
        Path(self.marks, "started").open("w").close()
        Path(self.marks, "go").open().close()
        return super().losses(images, targets)

@register("held")
def held(backbone, num_classes, *, marks):
    model = Held(backbone, PyramidPooling(backbone.channels, channels=16), num_classes)
    model.marks = marks
    return model
"""


@pytest.mark.slow
def test_a_training_and_its_test_are_of_the_unedited_code(checkout: Checkout, tmp_path: Path, gate: Gate):
    """Pyramid pooling loses half its levels while a row on it trains: training, checkpoint and test have all of them."""
    table = tmp_path / "trained.yaml"
    table.write_text(TRAINED.replace("FOLDER", str(tmp_path)))
    (tmp_path / "held.py").write_text(HELD)
    pooling = checkout.root / "methods/contexts/ppm.py"
    text = pooling.read_text()
    process = checkout.start("run", table, "--profile", "smoke", "--no-figures", "--keep-weights")
    try:
        gate.wait(process)
        assert "1, 2, 3, 6" in text
        pooling.write_text(text.replace("1, 2, 3, 6", "1, 2"))
        gate.open()
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, out + err
        stale = checkout("status", table, "--profile", "smoke", code=None)
    finally:
        pooling.write_text(text)
    assert "stale: measured before a change: code methods/contexts/ppm.py changed" in stale
    assert "1 measured" in checkout("status", table, "--profile", "smoke")
    (trained,) = checkout.json("train")
    widths = {tuple(w.shape[:2]) for name, w in load_weights(trained.parent).items() if name.startswith("context.")}
    assert (16, 512 + 4 * 16) in widths, "the layer that joins the levels reads four of them"
