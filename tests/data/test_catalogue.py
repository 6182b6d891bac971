"""The declarations themselves: consistent, complete, and in agreement with the published label definitions."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.data import catalogue
from harness.data.layout import IGNORE
from harness.errors import UserError


@pytest.mark.parametrize("name", catalogue.names())
def test_declaration_is_consistent(name: str) -> None:
    dataset = catalogue.find(name)
    assert dataset.name == name
    assert len(set(dataset.classes)) == len(dataset.classes) == len(dataset.palette)
    assert dataset.licence
    assert dataset.source
    for layout in dataset.layouts:
        targets = set(layout.labels.values()) - {IGNORE}
        assert targets == set(range(dataset.num_classes)), "every class must be reachable from a raw value"
        for pattern in (layout.image, layout.label):
            assert pattern.count("{id}") == (pattern == layout.image or dataset.task == "segmentation")
            assert "{split}" in pattern or layout.listing
    for split in dataset.splits:
        assert dataset.folder in dataset.expects(split)
    for a, b in dataset.mirror_pairs:
        assert dataset.classes[a].lower().replace("left", "right") == dataset.classes[b].lower()


# (dataset, layout, raw value) -> class: spot checks against the datasets' own label lists
KNOWN = [
    ("ade20k", "official", 0, None),
    ("ade20k", "official", 1, "wall"),
    ("ade20k", "official", 150, "flag"),
    ("cityscapes", "labelIds", 7, "road"),
    ("cityscapes", "labelIds", 26, "car"),
    ("cityscapes", "labelIds", 33, "bicycle"),
    ("cityscapes", "labelIds", 29, None),  # caravan
    ("cityscapes", "labelTrainIds", 18, "bicycle"),
    ("coco_stuff10k", "official", 12, "street sign"),
    ("coco_stuff10k", "official", 92, "banner"),
    ("coco_stuff10k", "official", 182, "wood"),
    ("coco_stuff10k_171", "official", 13, "stop sign"),
    ("coco_stuff10k_171", "official", 182, "wood"),
    ("coco_stuff164k", "official", 0, "person"),
    ("coco_stuff164k", "official", 91, "banner"),
    ("coco_stuff164k", "official", 181, "wood"),
    ("pascal_context_59", "converted", 0, None),
    ("pascal_context_59", "converted", 1, "aeroplane"),
    ("pascal_context_60", "converted", 0, "background"),
    ("pascal_context_60", "converted", 59, "wood"),
    ("pascal_context_59", "official", 2, "aeroplane"),
    ("pascal_context_59", "official", 284, "person"),
    ("pascal_context_59", "official", 360, "sky"),
    ("pascal_context_59", "official", 1, None),  # accordion
    ("pascal_context_60", "official", 1, "background"),
    ("pascal_context_60", "official", 458, "wood"),
    ("lip", "flat", 0, "Background"),
    ("lip", "flat", 10, "Jumpsuits"),
    ("cihp", "official", 10, "Torso-skin"),
    ("camvid", "segnet", 8, "car"),
    ("camvid", "segnet", 11, None),
    ("dark_zurich", "official", 10, "sky"),
]


@pytest.mark.parametrize(("name", "layout", "raw", "expected"), KNOWN)
def test_raw_values_mean_what_the_datasets_say(name: str, layout: str, raw: int, expected: str | None) -> None:
    dataset = catalogue.find(name)
    labels = next(one for one in dataset.layouts if one.name == layout).labels
    if expected is None:
        assert labels[raw] == IGNORE
    else:
        assert dataset.classes[labels[raw]] == expected


def test_published_split_sizes() -> None:
    sizes = {name: dict(catalogue.find(name).splits) for name in catalogue.names()}
    assert sizes["ade20k"] == {"train": 20210, "val": 2000}
    assert sizes["coco_stuff10k"] == {"train": 9000, "test": 1000}
    assert sizes["cityscapes"] == {"train": 2975, "val": 500, "test": 1525}
    assert sizes["lip"] == {"train": 30462, "val": 10000}
    assert sizes["camvid"] == {"train": 367, "val": 101, "test": 233}


@pytest.mark.parametrize(
    ("ours", "module", "theirs"),
    [
        ("ade20k", "ade", "ADE20KDataset"),
        ("coco_stuff164k", "coco_stuff", "COCOStuffDataset"),
        ("cityscapes", "cityscapes", "CityscapesDataset"),
        ("pascal_context_59", "pascal_context", "PascalContextDataset59"),
        ("pascal_context_60", "pascal_context", "PascalContextDataset"),
        ("lip", "lip", "LIPDataset"),
    ],
)
def test_class_order_is_mmsegmentations(ours: str, module: str, theirs: str) -> None:
    pytest.importorskip("mmseg", reason="the extra 'mmseg' is not installed")
    import importlib

    their_classes = getattr(importlib.import_module(f"mmseg.datasets.{module}"), theirs).METAINFO["classes"]
    assert [name.strip() for name in their_classes] == list(catalogue.find(ours).classes)


def test_unknown_name_says_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown dataset 'cityscape'.*'cityscapes'"):
        catalogue.find("cityscape")
    with pytest.raises(UserError, match="no split 'validation'"):
        catalogue.find("ade20k").check_split("validation")


def test_a_file_must_declare_the_dataset_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.catalogue.lip.DATASET", catalogue.find("cihp"))
    with pytest.raises(UserError, match=r"lip\.py must declare DATASET.* called 'lip'"):
        catalogue.find("lip")


def test_every_layout_that_needs_a_reader_names_one() -> None:
    for name in catalogue.names():
        dataset = catalogue.find(name)
        for layout in dataset.layouts:
            assert bool(layout.annotations) == (not layout.label.endswith(".png")), f"{name}, {layout.name}"
            functions = ("read", "write") if dataset.task == "segmentation" else ("scan", "check", "write")
            if layout.annotations:
                assert all(callable(getattr(layout.annotation_module(), function)) for function in functions)


def test_import_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'scipy', 'cv2', 'pandas'}"
    find = "from harness.data import catalogue; [catalogue.find(name) for name in catalogue.names()]"
    code = f"import sys; {find}; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"palette": ((1, 2, 3),) * 19}, r"lip\.py: 'palette' has 19 colours for 20 classes; give one per class"),
        ({"classes": ("a",) * 20}, "'classes' names one class twice"),
        ({"mirror_pairs": ((14, 20),)}, r"'mirror_pairs' exchanges \(14, 20\), but training ids are 0\.\.19"),
        ({"layouts": ()}, "at least one class, one split and one layout"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(changes, message, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.catalogue.lip.DATASET", replace(catalogue.find("lip"), **changes))
    with pytest.raises(UserError, match=message):
        catalogue.find("lip")


def test_a_label_beyond_the_classes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lip = catalogue.find("lip")
    layout = replace(lip.layouts[0], labels={**lip.layouts[0].labels, 77: 20})
    monkeypatch.setattr("harness.data.catalogue.lip.DATASET", replace(lip, layouts=(layout,)))
    with pytest.raises(UserError, match=r"to the training ids \[20\]; allowed are 0\.\.19 and 255"):
        catalogue.find("lip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nDATASET = Dataset(\n", r"moon\.py:2: dataset 'moon' cannot be read: SyntaxError"),
        ("x = 1\nimport no_such_module\n", r"moon\.py:2: dataset 'moon' cannot be read: ModuleNotFoundError"),
        ("from harness.data.layout import Dataset\nDATASET = Dataset(name='moon')\n", r"moon\.py:2: .*missing"),
        ("x = 1\n", r"moon\.py must declare DATASET"),
    ],
)
def test_a_bad_file_is_named_and_the_others_are_listed(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "moon.py").write_text(text)
    monkeypatch.setattr(catalogue, "__path__", [*catalogue.__path__, str(tmp_path)])
    monkeypatch.setattr(catalogue, "names", lambda: ["camvid", "moon"])
    monkeypatch.setattr(catalogue, "__file__", str(tmp_path / "__init__.py"))
    try:
        with pytest.raises(UserError, match=message):
            catalogue.find("moon")
        assert main(["list", "datasets"]) == 0
    finally:
        sys.modules.pop("harness.data.catalogue.moon", None)
    camvid, moon = capsys.readouterr().out.splitlines()
    assert camvid.endswith("CamVid, 11 classes")
    assert re.search(message, moon)
