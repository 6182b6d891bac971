"""What the two countings of PASCAL-Context share: 59 classes, and 60 with the background."""

from __future__ import annotations

from harness.data.catalogue._notation import names
from harness.data.layout import IGNORE, Layout

NAMES = names(
    """
aeroplane, bag, bed, bedclothes, bench, bicycle, bird, boat, book, bottle, building, bus, cabinet, car, cat,
ceiling, chair, cloth, computer, cow, cup, curtain, dog, door, fence, floor, flower, food, grass, ground, horse,
keyboard, light, motorbike, mountain, mouse, person, plate, platform, pottedplant, road, rock, sheep, shelves,
sidewalk, sign, sky, snow, sofa, table, track, train, tree, truck, tvmonitor, wall, water, window, wood
"""
)
SOURCE = "VOCtrainval_03-May-2010.tar (host.robots.ox.ac.uk) and the labels of cs.stanford.edu/~roozbeh/pascal-context"

# labels.txt (459 classes): those of 59_labels.txt, in the order of training ids (alphabetical)
_IDS = (
    *(2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159),
    *(162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368),
    *(397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)
_OTHER_IDS = tuple(k for k in range(460) if k not in _IDS)


def layouts(background: int) -> tuple[Layout, ...]:
    """`background` is what pixels outside the 59 classes become: IGNORE, or class 0 of 60."""
    first = 0 if background == IGNORE else 1
    few = {0: background, 255: IGNORE} | {k: k - 1 + first for k in range(1, 60)}
    many = dict.fromkeys(_OTHER_IDS, background) | {raw: k + first for k, raw in enumerate(_IDS)}
    image, listing = "JPEGImages/{id}.jpg", "ImageSets/SegmentationContext/{split}.txt"
    voc = "VOCdevkit/VOC2010"
    return (
        Layout("converted", image, "SegmentationClassContext/{id}.png", few, listing=listing, top=voc),
        Layout(
            "official",
            f"{voc}/{image}",
            "trainval/{id}.mat",
            many,
            listing=f"{voc}/{listing}",
            annotations="harness.data.annotations.matlab",
        ),
    )
