"""Cityscapes, as cityscapesScripts/labels.py has it."""

from __future__ import annotations

from harness.data.catalogue._cityscapes import COLOURS, LABEL_IDS, NAMES, TRAIN_IDS
from harness.data.layout import Dataset, Layout

DATASET = Dataset(
    name="cityscapes",
    title="Cityscapes",
    classes=NAMES,
    palette=COLOURS,
    splits={"train": 2975, "val": 500, "test": 1525},
    layouts=(
        Layout(
            "labelIds",
            "leftImg8bit/{split}/{id}_leftImg8bit.png",
            "gtFine/{split}/{id}_gtFine_labelIds.png",
            LABEL_IDS,
            ids="somewhere/somewhere_{number:06d}_000019",
        ),
        Layout(
            "labelTrainIds",
            "leftImg8bit/{split}/{id}_leftImg8bit.png",
            "gtFine/{split}/{id}_gtFine_labelTrainIds.png",
            TRAIN_IDS,
            ids="somewhere/somewhere_{number:06d}_000019",
        ),
    ),
    folder="cityscapes",
    licence="Cityscapes licence: research use, registration",
    source="leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, https://www.cityscapes-dataset.com",
    note="labels of the test split are withheld (all ignored); its numbers come from the evaluation server",
)
