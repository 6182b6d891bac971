"""What an installed package offers: methods, backbones and datasets by entry points, used by their names."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness.cli.listing import names
from harness.data import catalogue
from harness.errors import UserError
from harness.jobs.job import Job
from harness.jobs.key import Code
from harness.jobs.kinds import ComplexityConfig, Model
from harness.plan.keys import KeyParts
from harness.scheduler.code_snapshot import outside_modules
from methods import backbones

BACKBONE = """\
from torch import nn
from methods.segmentor import Backbone

NAMES = ("offered_small", "offered_large")
STRIDES = ()


class Net(Backbone):
    channels, strides = (8,), (4,)

    def __init__(self):
        super().__init__()
        self.only = nn.Conv2d(3, 8, 3, 4, 1)

    def forward(self, images):
        return [self.only(images)]


def build(name, *, output_stride=None, pretrained=False):
    return Net()
"""
DATASET = """\
from harness.data.layout import Dataset, Layout

STREETS = Dataset("offered", "Offered", ("a", "b"), ((0, 0, 0), (9, 9, 9)), {"train": None, "val": None},
    (Layout("own", "images/{split}/{id}.png", "masks/{split}/{id}.png", {0: 0, 1: 1}),), "offered", "", "")
WORD = "no dataset"
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package that offers a family of backbones, a dataset and what is none."""
    folder = tmp_path / "offered_package"
    folder.mkdir()
    for name, text in (("__init__", ""), ("nets", BACKBONE), ("data", DATASET)):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    offered = {
        "harness.backbones": [EntryPoint("nets", "offered_package.nets", "harness.backbones")],
        "harness.datasets": [
            EntryPoint("offered", "offered_package.data:STREETS", "harness.datasets"),
            EntryPoint("word", "offered_package.data:WORD", "harness.datasets"),
        ],
    }
    monkeypatch.setattr(backbones, "entry_points", lambda group: offered[group])
    monkeypatch.setattr(catalogue, "entry_points", lambda group: offered[group])
    for cached in (backbones._families, catalogue._plugins):
        cached.cache_clear()
    yield folder
    monkeypatch.undo()
    for cached in (backbones._families, catalogue._plugins):
        cached.cache_clear()


def test_a_family_of_backbones_is_listed_built_and_in_the_key(package: Path, tmp_path: Path):
    assert {"offered_small", "offered_large"} <= {*names("backbones")}
    assert backbones.build_backbone("offered_large").channels == (8,)

    def parts() -> dict:
        model = Model(name="fcn", num_classes=2, backbone="offered_small")
        config = ComplexityConfig(model=model, input=((1, 3, 8, 8),), convention="mmcv-hooks")
        return KeyParts(Code(), None, tmp_path).of("complexity", config)[0]

    before = parts()
    assert "offered_package.nets" in before["code"]
    job = Job("complexity", before["config"], "", "", before)
    assert outside_modules([job]) == {"offered_package.nets": package / "nets.py"}
    (package / "nets.py").write_text(BACKBONE.replace("(8,), (4,)", "(8,), (4, )").replace("3, 8, 3", "3, 8, 5"))
    assert parts()["code"] != before["code"]


def test_a_dataset_is_listed_and_found(package: Path):
    assert {"offered", "word"} <= {*names("datasets")}
    assert catalogue.find("offered").classes == ("a", "b")
    with pytest.raises(UserError, match=r"dataset 'word': offered_package\.data:WORD is a str, no Dataset"):
        catalogue.find("word")
    with pytest.raises(UserError, match=r"unknown dataset 'offred'\. Did you mean 'offered'"):
        catalogue.find("offred")
