"""COCO-Stuff 164k."""

from __future__ import annotations

from collections.abc import Mapping

from harness.data.catalogue._coco import LICENCE, USED_IDS, USED_NAMES
from harness.data.catalogue._notation import distinct, raw
from harness.data.layout import Dataset, Layout

_SOURCE = (
    "train2017.zip, val2017.zip (cocodataset.org) and stuffthingmaps_trainval2017.zip (github.com/nightrome/cocostuff)"
)


def _layouts(labels: Mapping[int, int]) -> tuple[Layout, ...]:
    folders = {"train": "train2017", "val": "val2017"}
    return (
        Layout("two_folders", "images/{split}/{id}.jpg", "annotations/{split}/{id}.png", labels, folders),
        Layout("official", "{split}/{id}.jpg", "{split}/{id}.png", labels, folders),
        Layout("maps_apart", "{split}/{id}.jpg", "stuffthingmaps_trainval2017/{split}/{id}.png", labels, folders),
    )


DATASET = Dataset(
    name="coco_stuff164k",
    title="COCO-Stuff 164k",
    classes=USED_NAMES,
    palette=distinct(171),
    splits={"train": 118287, "val": 5000},
    layouts=_layouts(raw((k - 1 for k in USED_IDS), ignore=(255,))),
    folder="coco_stuff164k",
    licence=LICENCE,
    source=_SOURCE,
    note="the label maps store id - 1",
)
