"""Which edits re-key which jobs: every edit is applied to a copied checkout, whose own planner then makes the keys.

Adding a dataset, a backbone, a method or a table re-keys nothing that exists; changing what computes a number always
re-keys it. `pytest -s` prints the matrix as found.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.synthetic import synthesize
from harness.recipes.profile import Synthetic
from tests.support import forked_checkout
from tests.support.checkout import copy_of_checkout

TABLE = """
paper: own
title: Kinds of job
metric: miou
defaults: {backbone: resnet50_v1c, output_stride: 8, num_classes: 150}
columns:
  ade20k: {recipe: idrnet/ade20k}
  coco: {recipe: idrnet/coco_stuff10k}
  params: {metric: parameters, input: [[1, 3, 64, 64]]}
  time: {metric: latency, input: [[1, 3, 64, 64]]}
rows:
  fcn: {method: fcn}
  idrnet: {method: {name: idrnet, context: ppm}}
  segformer:
    method: {name: adapters/mmsegmentation, config: {backbone: {type: MixVisionTransformer}, decode_head: {type: SegformerHead}}}
"""
KEYS = """
import sys
from pathlib import Path
from harness.environment import Device
from harness.plan.planner import Planner
from harness.table import recipes
from harness.table.load import load

place = Path(sys.argv[1])
planner = Planner(recipes.profile("paper"), (0,), place / "data", place / "cache", Device("cpu", "a processor", 1))
plan = planner.plan([load(place / "table.yaml")])
assert not any("dataset" in reason for reason in plan.blocked.values()), plan.blocked  # weights are not here
keys = {}
for cell in plan.cells:
    for job in cell.jobs:
        keys[f"{cell.row} {cell.column} {job.kind}"] = job.key
        keys.update({f"{cell.row} {cell.column} {plan.jobs[key].kind}": key for key in job.needs})
(scores,) = (cell for cell in plan.cells if (cell.row, cell.column) == ("segformer", "ade20k"))
keys["segformer ade20k peer"] = planner.plan_peer(plan, scores, "mmsegmentation").jobs[0].key
answer = keys
"""
JOBS = {
    "FCN train": "fcn ade20k train",
    "FCN test": "fcn ade20k evaluate",
    "FCN train, .mat": "fcn coco train",
    "IDRNet train": "idrnet ade20k train",
    "FCN params": "fcn params complexity",
    "FCN latency": "fcn time latency",
    "peer": "segformer ade20k peer",
    "SegFormer train": "segformer ade20k train",
}
MOON = 'NAMES = ("moon50",)\ndef build(name, *, output_stride=None, pretrained=False): ...\n'
NEW = ""  # in place of a text to replace: the file is new
# (kind of edit, file, text, what it becomes): which of JOBS are re-keyed (x)
MATRIX = [
    # what a job uses of a dataset
    ("declare a dataset", "harness/data/catalogue/moon.py", NEW, "DATASET = None\n", "........"),
    ("label mapping", "harness/data/catalogue/ade20k.py", "ignore=(0,)", "ignore=(0, 255)", "xx.x..xx"),
    ("a class's name", "harness/data/catalogue/ade20k.py", "building, sky", "buildings, sky", "xx.x..xx"),
    (
        "a folder of a layout",
        "harness/data/catalogue/ade20k.py",
        "annotations/{split}",
        "./annotations/{split}",
        "xx.x..xx",
    ),
    ("title, note, counts", "harness/data/catalogue/ade20k.py", '"train": 20210', '"train": 20211', "........"),
    ("another dataset", "harness/data/catalogue/lip.py", "raw(range(20))", "raw(range(20), ignore=(255,))", "........"),
    ("the catalogue itself", "harness/data/catalogue/__init__.py", "UserError(", "UserError('' + ", "........"),
    (
        "a label map on disk",
        "DATA/ade20k/ADEChallengeData2016/annotations/training/train_000000.png",
        "",
        "",
        "xx.x..xx",
    ),
    # readers
    ("the PNG reader", "harness/data/annotations/label_maps.py", "FORBIDDEN = 254", "FORBIDDEN = 253", "xxxx..xx"),
    ("the MATLAB reader", "harness/data/annotations/matlab.py", "65535", "65534", "..x....."),
    ("the COCO reader", "harness/data/annotations/coco.py", "_SMALLEST = 4", "_SMALLEST = 5", "........"),
    ("embedded scenes", "harness/data/scenes.py", "_HABIT = 0.85", "_HABIT = 0.8", "........"),
    # backbones
    ("add a family", "methods/backbones/moon.py", NEW, MOON, "........"),
    ("another family", "methods/backbones/swin.py", '"drop_path_rate": 0.3', '"drop_path_rate": 0.2', "........"),
    ("the own family", "methods/backbones/resnet.py", "resnet50c", "resnet50d", "xxxxxx.."),
    ("what families share", "methods/backbones/_timm_pyramid.py", "-width %", "width %", "xxxxxx.."),
    ("a backbone's weights", "own/weights/resnet50_v1c.pth", "weights", "others", "xxxx...."),
    # methods
    ("add a method", "methods/moon.py", NEW, "@register('moon')\ndef moon(backbone, num_classes): ...\n", "........"),
    (
        "FCN itself",
        "methods/fcn.py",
        "conv_bn_relu(width, channels, 3)",
        "conv_bn_relu(width, channels, 5)",
        "xxx.xx..",
    ),
    ("an option's default", "methods/fcn.py", "convs: Positive = 1", "convs: Positive = 2", "xxx.xx.."),
    ("a context used by IDRNet", "methods/contexts/ppm.py", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "...x...."),
    ("a context not used", "methods/contexts/ccnet.py", "import", "import math\nimport", "........"),
    ("IDRNet's deletion", "methods/idrnet/deletion.py", "import torch\n", "import torch\n\nADDED = 1\n", "...x...."),
    ("only counted", "methods/idrnet/table5.py", "import", "import math\nimport", "........"),
    ("released names", "methods/released/sssegmentation/idrnet.py", "head.relations.mean", "head.mean", "........"),
    # another toolbox: the model that both train, and its training and test of it
    ("the adapter", "methods/adapters/mmsegmentation.py", '"MMSyncBN", ', "", "......xx"),
    ("the peer's code", "methods/peers/mmsegmentation.py", "pad_val=0", "pad_val=1", "......x."),
    (
        "what runs a peer",
        "harness/tasks/segmentation/peer.py",
        "config.shorten or 1",
        "config.shorten or 2",
        "......x.",
    ),
    ("the seeds", "harness/training/random_state.py", "import torch\n", "import torch\n\nADDED = 1\n", "xxxx..xx"),
    ("weights of the adapter", "own/weights/adapters/mmsegmentation.pth", "weights", "others", "......xx"),
    # training and testing
    ("a recipe", "tables/recipes/idrnet.yaml", "epochs: 130", "epochs: 131", "xx.x..xx"),
    ("another recipe", "tables/recipes/idrnet.yaml", "epochs: 220", "epochs: 221", "........"),
    ("a loss", "harness/tasks/segmentation/losses.py", "threshold: float = 0.7", "threshold: float = 0.6", "xxxx...x"),
    ("the loop", "harness/training/loop.py", "set_to_none=True", "set_to_none=False", "xxxx...x"),
    ("the scores", "harness/tasks/segmentation/confusion.py", "minlength=_SIDE", "minlength=1 + _SIDE", ".x......"),
    ("a FLOP counter", "harness/tasks/complexity/mmcv_hooks.py", "import", "import math\nimport", "....xx.."),
    ("TensorBoard", "harness/training/tensorboard.py", '"tensorboard"', '"events"', "........"),
    ("checks of files", "harness/data/verify.py", "_MAX_LINES = 50", "_MAX_LINES = 20", "........"),
    ("a message", "harness/errors.py", "Did you mean", "Do you mean", "........"),
    ("a message where numbers are made", "harness/training/loop.py", 'f"', 'f" ', "xxxx...x"),
    ("the scheduler", "harness/scheduler/local.py", "import", "import math\nimport", "........"),
    # the text of a source
    ("a comment", "harness/training/loop.py", "\nimport ", "\n# a remark\nimport ", "........"),
    ("a docstring", "methods/fcn.py", '"""FCN: ', '"""The FCN: ', "........"),
    ("a package's docstring", "methods/idrnet/__init__.py", '"""IDRNet', '"""The IDRNet', "........"),
    ("a renamed local variable", "methods/fcn.py", "inputs", "widths", "xxx.xx.."),  # see harness.jobs.key
    # around
    ("a new table", "tables/moon.yaml", NEW, "paper: moon\n", "........"),
    ("timm's version", "timm-99.0.dist-info/METADATA", NEW, "Name: timm\nVersion: 99.0\n", "xxxxxx.."),
    ("fvcore's version", "fvcore-99.0.dist-info/METADATA", NEW, "Name: fvcore\nVersion: 99.0\n", "....xx.."),
    ("torch's version", "torch-99.0.dist-info/METADATA", NEW, "Name: torch\nVersion: 99.0\n", "........"),
    (
        "mmsegmentation's version",
        "onedl_mmsegmentation-99.0.dist-info/METADATA",
        NEW,
        "Name: onedl-mmsegmentation\nVersion: 99.0\n",
        "......xx",
    ),
    (
        "mmengine's version",
        "onedl_mmengine-99.0.dist-info/METADATA",
        NEW,
        "Name: onedl-mmengine\nVersion: 99.0\n",
        "......xx",
    ),
    ("mmcv's version", "onedl_mmcv-99.0.dist-info/METADATA", NEW, "Name: onedl-mmcv\nVersion: 99.0\n", "......xx"),
]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a folder DATA of small datasets, COCO-Stuff in its official layout with MATLAB files."""
    root = copy_of_checkout(tmp_path_factory.mktemp("checkout"))
    scenes = Synthetic(train_images=16, test_images=1, size=(16, 24))
    synthesize("ade20k", root / "own" / "data", scenes=scenes)
    synthesize("coco_stuff10k", root / "own" / "data", scenes=scenes, layout="official")
    (root / "own" / "table.yaml").write_text(TABLE, encoding="utf-8")
    (root / "own" / "weights").mkdir()
    (root / "own" / "weights" / "resnet50_v1c.pth").write_bytes(b"weights that nothing reads here")
    (root / "own" / "weights" / "adapters").mkdir()
    (root / "own" / "weights" / "adapters" / "mmsegmentation.pth").write_bytes(b"weights that nothing reads either")
    return root


def keys(root: Path) -> dict[str, str]:
    """{kind of job: key} as the checkout at `root` makes them."""
    found = forked_checkout.run(
        KEYS, root, str(root / "own"), environ={"HARNESS_WEIGHTS": str(root / "own" / "weights")}
    )
    return {job: found[name] for job, name in JOBS.items()}


def edited(root: Path, file: str, old: str, new: str) -> dict[str, str]:
    """The keys while a file of the checkout, or of DATA, is changed."""
    path = root / (f"own/data/{file.removeprefix('DATA/')}" if file.startswith("DATA/") else file)
    before = path.read_bytes() if path.exists() else None
    if before is None:
        assert old == NEW
        path.parent.mkdir(exist_ok=True)
        path.write_text(new, encoding="utf-8")
    elif file.startswith("DATA/"):
        path.write_bytes(before + b"\0")
    else:
        text = before.decode()
        changed = text.replace(old, new)
        assert changed != text, f"{file} does not hold {old!r}"
        path.write_text(changed, encoding="utf-8")
    try:
        return keys(root)
    finally:
        if before is None:
            path.unlink()
            if path.parent.suffix == ".dist-info":
                path.parent.rmdir()
        else:
            path.write_bytes(before)


@pytest.mark.slow
def test_what_rekeys_what(copied: Path):
    first = keys(copied)
    assert len(set(first.values())) == len(JOBS)
    wrong, width = [], max(len(name) for name, *_ in MATRIX)
    print("\n" + " " * width, *JOBS, sep="  ")
    for name, file, old, new, expected in MATRIX:
        now = edited(copied, file, old, new)
        found = "".join(".x"[now[job] != first[job]] for job in JOBS)
        print(f"{name:<{width}}", *(f"{sign:^{len(job)}}" for sign, job in zip(found, JOBS)), sep="  ")
        if found != expected:
            wrong.append(f"{name}: {found}, expected {expected}")
    assert wrong == []
    assert keys(copied) == first, "an edit was not taken back"
