"""A stranger's afternoon: from a folder of photographs to a measured table, with nothing in the checkout."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from harness.cli.main import main
from tests.data.test_guess import put

STREETS = [(f"images/{split}/{i}.jpg", f"masks/{split}/{i}.png") for split in ("train", "val") for i in "abcd"]


class Stranger:
    """Commands as they are typed in a folder, and what they print."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)

    def __call__(self, *arguments: str, code: int = 0) -> str:
        ended = main([*arguments])
        out, err = self.capsys.readouterr()
        assert ended == code, out + err
        return out + err

    def edit(self, file: str, *changes: tuple[str, str]) -> None:
        text = (self.folder / file).read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (self.folder / file).write_text(text)


@pytest.mark.slow
def test_a_strangers_afternoon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    type_ = Stranger(tmp_path / "afternoon", monkeypatch, capsys)

    # a dataset from a folder
    put(type_.folder / "photos", *STREETS, values=(1, 2, 5, 255))
    said = type_("data", "new", "photos", "--out", "datasets/streets.yaml")
    assert "images: train 4, val 4; classes: 3" in said
    assert "names of classes: found no classes.txt" in said
    type_.edit("datasets/streets.yaml", ("class 1", "road"), ("class 2", "car"), ("class 5", "sky"))
    assert "8 of 8 clauses hold" in type_("test", "datasets/streets.yaml")

    # a backbone and a method, written from skeletons, and tested
    type_("new", "backbone", "small")
    assert "8 of 8 clauses hold" in type_("test", "small.py:small")
    type_("new", "method", "net")
    assert "15 of 15 clauses hold" in type_("test", "net.py:net", "--option", "channels=8")

    # a recipe and a table of them
    type_("new", "recipe", "streets", "--dataset", "streets")
    type_.edit(
        "recipes/streets.yaml",
        ("iterations: 2000", "iterations: 3"),
        ("[512, 512]", "[32, 24]"),
        ("[256, 256]", "[24, 24]"),
    )
    table = ("--recipe", "streets/standard", "--method", "net.py:net", "--backbone", "small.py:small")
    type_("new", "table", "mine", *table)
    plan = type_("plan", "mine.yaml", "--results", "results")
    assert re.search(r"0 already measured, 6 to run", plan)

    # measured, and reported
    said = type_("run", "mine.yaml", "--results", "results", "--no-figures")
    assert "4 of 4 cells measured" in said
    report = (type_.folder / "results/reports/mine.md").read_text()
    assert "net" in report
    assert str(tmp_path) not in report
    assert "6 already measured, 0 to run" in type_("plan", "mine.yaml", "--results", "results")

    # the same files elsewhere are the same jobs: nothing is measured again
    shutil.copytree(type_.folder, tmp_path / "moved")
    moved = Stranger(tmp_path / "moved", monkeypatch, capsys)
    assert "6 already measured, 0 to run" in moved("plan", "mine.yaml", "--results", "results")

    # an edit of the backbone measures all again, one of the method its row alone
    moved.edit(
        "net.py",
        ("Context(backbone.channels, channels=channels)", "Context(backbone.channels[:3] + (256,), channels=channels)"),
    )
    assert "3 already measured, 3 to run" in moved("plan", "mine.yaml", "--results", "results")
    moved.edit("small.py", ("padding=3", "padding=(3, 3)"))
    assert "0 already measured, 6 to run" in moved("plan", "mine.yaml", "--results", "results")
    assert "small.py changed" in moved("why", "mine.yaml/fcn/miou", "--results", "results")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "mine.yaml",
            "net.py:net",
            "net.py:nett",
            r"mine\.yaml:\d+: rows\.net\.method: .*registers no method 'nett'.*Did you mean 'net'",
        ),
        (
            "mine.yaml",
            "small.py:small",
            "smal.py:small",
            r"mine\.yaml:\d+: defaults\.backbone: .*there is no file .*smal\.py",
        ),
        (
            "recipes/streets.yaml",
            "dataset: streets",
            "dataset: street",
            r"streets\.yaml:4: standard\.dataset: unknown dataset 'street'",
        ),
        (
            "datasets/streets.yaml",
            "values: [2]",
            "values: [1]",
            r"streets\.yaml:\d+: classes\[1\]\.values: the value 1 means class",
        ),
        ("small.py", "NAMES = (", "NAMES = tuple(", r"small\.py:\d+: NAMES cannot be read from the source"),
        ("net.py", "def net(", "def net((", r"net\.py:\d+: not Python"),
    ],
)
def test_what_is_wrong_in_any_of_the_files_is_said_with_its_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    old: str,
    new: str,
    message: str,
):
    type_ = Stranger(tmp_path / "afternoon", monkeypatch, capsys)
    put(type_.folder / "photos", *STREETS, values=(1, 2, 5, 255))
    type_("data", "new", "photos", "--out", "datasets/streets.yaml")
    type_("new", "backbone", "small")
    type_("new", "method", "net")
    type_("new", "recipe", "streets", "--dataset", "streets")
    type_(
        "new", "table", "mine", "--recipe", "streets/standard", "--method", "net.py:net", "--backbone", "small.py:small"
    )
    type_.edit(file, (old, new))
    said = type_("plan", "mine.yaml", "--results", "results", code=2)
    assert re.search(message, said), said
