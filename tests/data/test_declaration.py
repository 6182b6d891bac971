"""A dataset outside the checkout: a YAML file, or a Python file; found from the table, checked, and in keys without its place."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.data import catalogue, files
from harness.data.annotations.label_maps import LabelReader
from harness.data.layout import IGNORE
from harness.errors import Problems, UserError
from harness.jobs.kinds import Data
from harness.plan.planner import Planner
from harness.scheduler.code_snapshot import snapshot
from harness.table.load import load
from harness.table.recipes import profile

YAML = """\
title: Streets
image: images/{split}/{id}.png
label: masks/{split}/{id}.png
splits: {train: 4, val: 2}
classes:
  - {name: road, colour: [128, 64, 128], values: [10]}
  - {name: left kerb, values: [20, 21]}
  - {name: right kerb, values: [0]}
ignore: [255, 30]
mirror_pairs: [[left kerb, right kerb]]
"""
RECIPE = """\
tiny:
  dataset: DATASET
  batch_size: 2
  iterations: 2
  augmentation: {resize: [48, 32], crop: [32, 32]}
  test: {split: val, resize: [48, 32]}
"""
TABLE = """\
paper: own
title: Own
metric: miou
defaults: {backbone: "net.py:small", recipe: own/tiny}
columns: {miou: {label: mIoU}}
rows:
  ours: {label: Ours, method: {name: "method.py:mine", channels: 8}}
"""
METHOD = """\
from methods.registry import register
from methods.contexts.ppm import PyramidPooling
from methods.segmentor import EncoderDecoder
import helper_of_streets


@register("mine")
def mine(backbone, num_classes, *, channels=16):
    return EncoderDecoder(backbone, PyramidPooling(backbone.channels, channels=channels), num_classes)
"""
BACKBONE = """\
from torch import nn
from methods.segmentor import Backbone

NAMES = ("small",)
STRIDES = ()


class Small(Backbone):
    channels, strides = (8, 16), (4, 8)

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, 16, 3, 2, 1)

    def forward(self, images):
        first = self.first(images)
        return [first, self.second(first)]


def build(name, *, output_stride=None, pretrained=False):
    return Small()
"""


def written(folder: Path, dataset: str = "streets.yaml", text: str = YAML) -> Path:
    """The table of a folder that holds a table, its recipe, dataset, method and backbone, and images."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for number in range(count):
            for kind, pixels in (
                ("images", rng.integers(0, 255, (32, 48, 3), np.uint8)),
                ("masks", rng.choice(np.array([0, 10, 20, 21, 30, 255], np.uint8), (32, 48))),
            ):
                file = folder / kind / split / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), pixels)
    contents = {
        "streets.yaml": text,
        "recipes/own.yaml": RECIPE.replace("DATASET", dataset),
        "own.yaml": TABLE,
        "method.py": METHOD,
        "helper_of_streets.py": "x = 1\n",
        "net.py": BACKBONE,
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder / "own.yaml"


def plan(table: Path, data_dir: Path | None = None):
    return Planner(profile("paper"), (0,), data_dir=data_dir, cache=table.parent / "cache").plan([load(table)])


def test_a_yaml_file_is_a_dataset(tmp_path: Path):
    written(tmp_path)
    name = str(tmp_path / "streets.yaml")
    dataset = catalogue.find(name)
    assert (dataset.name, dataset.classes) == ("streets", ("road", "left kerb", "right kerb"))
    assert (dataset.palette[0], dataset.mirror_pairs, dataset.splits["val"]) == ((128, 64, 128), ((1, 2),), 2)
    root = files.locate(Data(name=name), data_dir=None, cache=tmp_path)
    pairs = files.pairs(root, "train")
    assert len(pairs) == 4
    label = LabelReader(root.layout).read(pairs[0].label)
    raw = cv2.imread(pairs[0].label, cv2.IMREAD_UNCHANGED)
    for value, training in ((10, 0), (20, 1), (21, 1), (0, 2), (30, IGNORE), (255, IGNORE)):
        assert set(label[raw == value].tolist()) == {training}


def test_an_edited_file_is_read_again(tmp_path: Path):
    written(tmp_path)
    file = tmp_path / "streets.yaml"
    assert catalogue.find(str(file)).title == "Streets"
    file.write_text(YAML.replace("Streets", "Streets of another town"))
    assert catalogue.find(str(file)).title == "Streets of another town"


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["streets.yaml", "streets", "streets.py:STREETS"])
def test_the_same_files_elsewhere_have_the_same_keys(tmp_path: Path, dataset: str):
    """A dataset, a method with its helper and a backbone, in two places; neither is in a key or in what identifies a job."""
    first = written(tmp_path / "here", dataset)
    if dataset == "streets":
        (tmp_path / "here/datasets").mkdir()
        text = (tmp_path / "here/streets.yaml").read_text()
        (tmp_path / "here/datasets/streets.yaml").write_text(f"folder: ..\n{text}")
    if dataset.endswith("STREETS"):
        declared = (
            "from harness.data.layout import Dataset, Layout\n"
            "STREETS = Dataset('streets', 'Streets', ('a', 'b'), ((0, 0, 0), (9, 9, 9)), {'train': None, 'val': None},\n"
            "    (Layout('own', 'images/{split}/{id}.png', 'masks/{split}/{id}.png', {0: 0, 10: 1, 20: 255, 21: 255, 30: 1,\n"
            "    255: 255}),), '.', '', '')\n"
        )
        (tmp_path / "here/streets.py").write_text(declared)
    shutil.copytree(tmp_path / "here", tmp_path / "elsewhere/deep")
    plans = [plan(first), plan(tmp_path / "elsewhere/deep/own.yaml")]
    assert [*plans[0].jobs] == [*plans[1].jobs]
    assert not plans[0].blocked
    assert [job.identity for job in plans[0].jobs.values()] == [job.identity for job in plans[1].jobs.values()]
    train = next(iter(plans[0].jobs.values()))
    assert str(tmp_path) not in str(train.parts)
    assert "external_method_method.helper_of_streets" in train.parts["code"]
    assert "external_method_net.net" in train.parts["code"]
    assert [*train.parts["data"]] == [{"streets": "streets.yaml"}.get(dataset, dataset)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("streets.yaml", "values: [10]", "values: [11, 10]"),
        ("streets.yaml", "ignore: [255, 30]", "ignore: [255, 30, 40]"),
        ("net.py", "(8, 16), (4, 8)", "(8, 16), (4, 8,)"),
        ("method.py", "channels=16", "channels=17"),
        ("helper_of_streets.py", "1", "2"),
    ],
)
def test_an_edit_of_any_of_them_is_another_key(tmp_path: Path, file: str, old: str, new: str):
    table = written(tmp_path)
    before = [*plan(table).jobs]
    (tmp_path / file).write_text((tmp_path / file).read_text().replace(old, new))
    assert not {*before} & {*plan(table).jobs}


def test_what_moves_no_number_is_in_no_key(tmp_path: Path):
    table = written(tmp_path)
    before = [*plan(table).jobs]
    changed = (
        YAML.replace("Streets", "Other streets").replace("[128, 64, 128]", "[1, 2, 3]").replace("train: 4", "train: 5")
    )
    (tmp_path / "streets.yaml").write_text(f"note: something\n{changed}")
    assert [*plan(table).jobs] == before


def test_a_copy_of_the_code_holds_them(tmp_path: Path):
    """Jobs read the dataset's declaration and the backbone from their copy of the code, wherever they run."""
    table = written(tmp_path / "own")
    jobs = [*plan(table).jobs.values()]
    place = snapshot(tmp_path / "code", jobs)
    assert len({path.name for path in place.glob("outside/*/*")} & {"streets.yaml", "net.py", "method.py"}) == 3


BAD = [
    ("classes:", "clases:", r"streets\.yaml:5: clases: unknown key 'clases'.*Did you mean 'classes'"),
    ("title: Streets\n", "", r"streets\.yaml:1: title: 'title' is missing"),
    ("values: [0]", "values: [10]", r"streets\.yaml:8: classes\[2\]\.values: the value 10 means class 'road' already"),
    ("values: [0]", "values: [255]", r"the value 255 means 'ignore' already"),
    ("right kerb, values", "road, values", r"streets\.yaml:8: classes\[2\]\.name: two classes are called 'road'"),
    ("[[left kerb, right kerb]]", "[[left kerb, kerb]]", r"unknown class 'kerb'\. Did you mean '\w+ kerb'"),
    ("images/{split}/{id}.png", "images/{split}/img_{id}.png", r"streets\.yaml:2: image: is a path below 'folder'"),
    ("images/{split}/{id}.png", "images/{split}/{name}.png", r"only {split} and {id} are filled in, not {name}"),
    ("images/{split}/{id}.png", "images/{split.x}/{id}.png", r"only {split} and {id} are filled in"),
    ("masks/{split}/{id}.png", "masks/{id}.png", r"'label' needs {split} where no 'listing' says"),
    ("[128, 64, 128]", "[128, 64, 300]", r"streets\.yaml:6: classes\[0\]\.colour\[2\]: .*255, not 300"),
    ("{train: 4, val: 2}", "{train: four}", r"streets\.yaml:4: splits\.train: .*integer"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD)
def test_a_bad_file_is_named_with_its_line_where_the_table_is_read(tmp_path: Path, old: str, new: str, message: str):
    assert old in YAML
    table = written(tmp_path, text=YAML.replace(old, new, 1))
    with pytest.raises(Problems) as caught:
        load(table)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "own.yaml" in str(caught.value)


def test_a_dataset_that_is_nowhere_is_said_with_what_is_allowed(tmp_path: Path):
    table = written(tmp_path, "no/such.yaml")
    with pytest.raises(Problems, match=r"dataset 'such\.yaml': there is no file .*no/such\.yaml"):
        load(table)
    (tmp_path / "streets.py").write_text("x = 1\n")
    with pytest.raises(UserError, match=r"streets\.py must declare Y, a harness\.data\.layout\.Dataset"):
        catalogue.find(f"{tmp_path}/streets.py:Y")
    (tmp_path / "broken.py").write_text("x = 1\nx = y\n")
    with pytest.raises(UserError, match=r"broken\.py:2: dataset 'Y' cannot be read: NameError"):
        catalogue.find(f"{tmp_path}/broken.py:Y")


def test_files_may_lie_below_the_data_folder_instead(tmp_path: Path):
    table = written(tmp_path / "own", text=f"folder: gone\n{YAML}")
    assert plan(table).blocked
    shutil.copytree(tmp_path / "own/images", tmp_path / "data/streets/images")
    shutil.copytree(tmp_path / "own/masks", tmp_path / "data/streets/masks")
    there = plan(table, tmp_path / "data")
    assert not there.blocked
    (tmp_path / "own/streets.yaml").write_text(YAML)
    assert [*plan(table).jobs] == [*there.jobs]
