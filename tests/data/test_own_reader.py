"""A label reader of one's own, and helpers beside a dataset's file: read, checked, in keys and in copies of the code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.cli.main import main
from harness.data import catalogue, files
from harness.data.annotations import own_reader
from harness.data.annotations.label_maps import LabelReader
from harness.data.key_parts import used_of
from harness.data.layout import IGNORE
from harness.data.synthetic import synthesize
from harness.errors import DataError, UserError
from harness.jobs.job import Job
from harness.jobs.key import Code
from harness.jobs.kinds import Data, EvaluateConfig, Model
from harness.plan.keys import KeyParts
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import TestProtocol
from harness.scheduler import code_snapshot
from harness.scheduler.code_snapshot import snapshot

YAML = """\
title: Streets
image: images/{split}/{id}.png
label: masks/{split}/{id}.npy
splits: {train: 2, val: 1}
reader: labels.py:read_labels
classes: [{name: road, values: [10]}, {name: car, values: [20]}]
ignore: [0]
"""
READER = """\
import numpy as np
from helper_of_NAME import SCALE


def read_labels(path):
    return np.load(path).astype(np.int32) * SCALE
"""
DECLARED = """\
from harness.data.layout import Dataset, Layout
from helper_of_NAME import SCALE
from .beside_NAME import CLASSES

LABELS = {0: 255, SCALE: 0, 2 * SCALE: 1}
LAYOUT = Layout(
    "own", "images/{split}/{id}.png", "masks/{split}/{id}.npy", LABELS, annotations="labels.py:read_labels"
)
STREETS = Dataset("streets", "Streets", CLASSES, ((0, 0, 0), (9, 9, 9)), {"train": 2, "val": 1}, (LAYOUT,), ".", "", "")
"""
FORMS = ("streets.yaml", "streets.py:STREETS")


def written(folder: Path, name: str, reader: str = READER) -> Path:
    """A folder with three pairs, declarations and a reader with helpers; `name` keeps modules of two tests apart."""
    rng = np.random.default_rng(0)
    for split, ids in (("train", "ab"), ("val", "c")):
        for id in ids:
            for kind in ("images", "masks"):
                (folder / kind / split).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"images/{split}/{id}.png"), rng.integers(0, 255, (8, 12, 3), np.uint8))
            np.save(folder / f"masks/{split}/{id}.npy", rng.integers(0, 3, (8, 12)).astype(np.uint8))
    for file, text in (
        ("streets.yaml", YAML),
        ("streets.py", DECLARED),
        ("labels.py", reader),
        (f"helper_of_{name}.py", "SCALE = 10\n"),
        (f"beside_{name}.py", 'CLASSES = ("road", "car")\n'),
        ("unrelated.py", "1 / 0\n"),
    ):
        (folder / file).write_text(text.replace("NAME", name))
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: the digests of the code are made once."""
    return tmp_path_factory.mktemp("cache")


def parts_of(dataset: str, cache: Path, scenes: Synthetic | None = None) -> tuple[Job, list[str]]:
    """A test of FCN on the dataset with the parts of its key, and why it cannot run."""
    config = EvaluateConfig(
        model=Model(name="fcn", num_classes=2, backbone="resnet18"),
        data=Data(name=dataset, synthetic=scenes),
        protocol=TestProtocol(),
        profile="own",
        seed=0,
    )
    code = Code(cache)
    parts, reasons = KeyParts(code, None, cache).of("evaluate", config)
    code.save()
    return Job("evaluate", config.model_dump(mode="json"), "k" * 64, "i" * 64, parts), reasons


@pytest.mark.parametrize("form", FORMS)
def test_labels_are_what_the_function_gives(tmp_path: Path, form: str):
    folder = written(tmp_path, f"read_{form[8:10]}")
    root = files.locate(Data(name=str(folder / form)), data_dir=None, cache=tmp_path)
    pair = files.pairs(root, "val")[0]
    label = LabelReader(root.layout).read(pair.label)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, np.array([IGNORE, 0, 1], np.uint8)[np.load(pair.label)])


def test_the_checks_of_a_dataset_hold_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = written(tmp_path / "own", "checked")
    assert main(["test", str(folder / "streets.yaml"), "--results", str(tmp_path / "results")]) == 0
    printed = capsys.readouterr().out
    assert "✓ label maps are read as they were written; by a reader of its own, the same each time" in printed
    assert "8 of 8 clauses hold" in printed


RESULTS = {
    "floats": (
        "np.load(path) * 1.0",
        r"a\.npy: 'labels\.py:read_labels' gives float64 \[8, 12\]; a label reader gives",
    ),
    "channels": ("np.load(path)[..., None]", r"gives uint8 \[8, 12, 1\]"),
    "a list": ("np.load(path).tolist()", r"gives list; a label reader gives a NumPy array of integers"),
    "negative": ("np.load(path).astype(int) - 9", r"gives int64 \[8, 12\], the least of them -9"),
    "an error": ("np.load(path)[99]", r"a\.npy: cannot be read by 'read_labels' \(.*labels\.py:6: IndexError"),
    "undeclared": ("np.load(path).astype(np.uint64) * 7", r"a\.npy: labels 7, 14 outside the allowed values 0, 10, 20"),
}


@pytest.mark.parametrize("case", RESULTS)
def test_what_breaks_the_contract_names_the_file_and_the_function(tmp_path: Path, case: str):
    expression, message = RESULTS[case]
    reader = READER.replace("np.load(path).astype(np.int32) * SCALE", expression)
    folder = written(tmp_path, f"broken_{case.replace(' ', '_')}", reader)
    root = files.locate(Data(name=str(folder / "streets.yaml")), data_dir=None, cache=tmp_path)
    with pytest.raises(DataError, match=message):
        LabelReader(root.layout).read(files.pairs(root, "train")[0].label)


def test_a_reader_that_gives_other_values_the_second_time_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Here because it hands out one array again, which its caller writes into."""
    text = "import numpy as np\nKEPT = {}\n\ndef read_labels(path):\n    return KEPT.setdefault(path, np.load(path) * TEN)\n"
    text += "TEN = np.uint8(10)\n"
    folder = written(tmp_path / "own", "twice", text)
    assert main(["test", str(folder / "streets.yaml"), "--results", str(tmp_path / "results")]) == 1
    assert "read twice, it gives two label maps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "streets.yaml",
            YAML.replace("read_labels", "read"),
            r"labels\.py defines no 'read'; its functions are read_labels",
        ),
        (
            "streets.yaml",
            YAML.replace("labels.py:", "gone.py:"),
            r"label reader 'gone\.py:read_labels': there is no file",
        ),
        (
            "streets.yaml",
            YAML.replace("labels.py:read_labels", "labels.py"),
            r"reader: is a Python file and a function in it",
        ),
        ("streets.yaml", f"encoding: colours\n{YAML}", r"reader: has no meaning with 'encoding: colours'"),
        ("labels.py", "def read_labels(:\n", r"labels\.py:1: not Python"),
    ],
)
def test_a_reader_that_is_not_there_is_said_where_the_dataset_is_named(
    tmp_path: Path, file: str, text: str, message: str
):
    folder = written(tmp_path, "gone")
    (folder / file).write_text(text)
    with pytest.raises(UserError, match=message):
        catalogue.find(str(folder / "streets.yaml"))


@pytest.mark.parametrize("form", FORMS)
def test_reader_and_helpers_are_in_the_key_and_their_place_is_not(tmp_path: Path, cache: Path, form: str):
    name = f"key_{form[8:10]}"
    folder = written(tmp_path / "here", name)
    job, reasons = parts_of(str(folder / form), cache)
    assert not reasons
    code = {module for module in job.parts["code"] if module.startswith("external_method_")}
    assert code == {"external_method_labels.labels", f"external_method_labels.helper_of_{name}"}
    assert job.parts["data"][form]["label reader"] == "labels.py:read_labels"
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert parts_of(str(tmp_path / "elsewhere" / form), cache)[0].parts == job.parts
    (folder / f"helper_of_{name}.py").write_text("SCALE = 5 + 5\n")
    edited, _ = parts_of(str(folder / form), cache)
    changed = {module for module in code if edited.parts["code"][module] != job.parts["code"][module]}
    assert changed == {f"external_method_labels.helper_of_{name}"}
    (folder / f"helper_of_{name}.py").write_text("SCALE = 10  # a remark\n")
    assert parts_of(str(folder / form), cache)[0].parts == job.parts


def test_without_the_data_the_reader_is_in_the_key_all_the_same(tmp_path: Path, cache: Path):
    """So a store that is read elsewhere says 'data not here', and not that code is gone."""
    folder = written(tmp_path, "absent")
    whole, _ = parts_of(str(folder / "streets.yaml"), cache)
    shutil.rmtree(folder / "images")
    shutil.rmtree(folder / "masks")
    absent, reasons = parts_of(str(folder / "streets.yaml"), cache)
    assert reasons
    assert absent.parts["code"] == whole.parts["code"]


def test_scenes_need_no_reader_and_can_be_trained_on(tmp_path: Path, cache: Path):
    folder = written(tmp_path, "scenes")
    scenes = Synthetic(train_images=1, test_images=1, size=(16, 24))
    job, _ = parts_of(str(folder / "streets.yaml"), cache, scenes)
    assert not any(module.startswith("external_method_") for module in job.parts["code"])
    root = files.locate(Data(name=str(folder / "streets.yaml"), synthetic=scenes), data_dir=None, cache=tmp_path)
    pair = files.pairs(root, "train")[0]
    assert {*np.unique(LabelReader(root.layout).read(pair.label)).tolist()} <= {0, 1, IGNORE}
    with pytest.raises(UserError, match="a function of its own, which cannot write them"):
        synthesize(str(folder / "streets.yaml"), tmp_path / "out")


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_of_the_code_reads_with_its_own_reader(tmp_path: Path, cache: Path, form: str):
    """Where the originals are gone, and with what lies beside the declaration, too; edits after planning are refused."""
    name = f"copied_{form[8:10]}"
    folder = written(tmp_path / "own", name)
    job, _ = parts_of(str(folder / form), cache)
    place = snapshot(tmp_path / "code", [job], cache=cache)
    held = {path.name for path in place.glob("outside/*/*")}
    declared = {"streets.yaml"} if form == "streets.yaml" else {"streets.py", f"beside_{name}.py"}
    assert held == {"labels.py", f"helper_of_{name}.py", *declared}
    for file in [*folder.glob("*.py"), *folder.glob("*.yaml")]:
        file.unlink()
    program = (
        "import sys; from pathlib import Path; from harness.data import files; from harness.jobs.kinds import Data;"
        "from harness.data.annotations.label_maps import LabelReader;"
        "root = files.locate(Data(name=sys.argv[1]), data_dir=None, cache=Path(sys.argv[2]));"
        "print(LabelReader(root.layout).read(files.pairs(root, 'val')[0].label).shape)"
    )
    environ = {**os.environ, "PYTHONPATH": str(place)}
    arguments = [sys.executable, "-c", program, str(folder / form), str(tmp_path / "cache")]
    done = subprocess.run(arguments, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(8, 12)", done.stderr


def test_an_edited_helper_of_a_reader_is_refused(tmp_path: Path, cache: Path):
    folder = written(tmp_path / "own", "edited")
    job, _ = parts_of(str(folder / "streets.yaml"), cache)
    (folder / "helper_of_edited.py").write_text("SCALE = 10\nADDED = 1\n")
    with pytest.raises(UserError, match=r"helper_of_edited\.py changed\); repeat the command"):
        snapshot(tmp_path / "code", [job], cache=cache)
    with pytest.raises(UserError, match=r"helper_of_edited\.py changed\); repeat the command"):
        code_snapshot.check([job], Code(), code_snapshot.outside_modules([job]))  # as a worker does


def test_what_a_helper_of_a_declaration_computes_is_in_the_key(tmp_path: Path):
    """As data: its text is in no key, as that of a declaration is not. Helpers of one name in several folders are several."""
    facts = []
    for number, classes in enumerate(('("road", "car")', '(*"road car".split(),)', '("road", "bus")')):
        folder = written(tmp_path / str(number), "facts")
        (folder / "beside_facts.py").write_text(f"CLASSES = {classes}\n")
        facts.append(used_of(Data(name=str(folder / "streets.py:STREETS")), data_dir=None, cache=tmp_path).facts)
    assert facts[0] == facts[1]
    assert {name for name in facts[0] if facts[0][name] != facts[2][name]} == {"classes"}


def test_a_helper_with_the_name_of_an_installed_package_is_refused(tmp_path: Path):
    folder = written(tmp_path, "ambiguous")
    (folder / "yaml.py").write_text("")
    (folder / "streets.py").write_text("import yaml\nSTREETS = 1\n")
    with pytest.raises(UserError, match=r"streets\.py:1: 'yaml' may mean .* rename the file beside it"):
        catalogue.find(str(folder / "streets.py:STREETS"))


def test_finding_a_reader_imports_nothing(tmp_path: Path):
    folder = written(tmp_path, "light", "raise SystemExit\n\ndef read_labels(path): ...\n")
    assert own_reader.find(f"{folder}/labels.py:read_labels").name == "read_labels"
