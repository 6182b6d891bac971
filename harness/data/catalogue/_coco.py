"""What the COCO datasets share. Source: cocostuff/labels.txt, the 182 ids."""

from __future__ import annotations

from collections.abc import Mapping

from harness.data.catalogue._notation import names
from harness.data.layout import Layout

NAMES = names(
    """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street sign,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, hat, backpack,
umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat,
baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife, spoon, bowl,
banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed,
mirror, dining table, window, desk, toilet, door, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven,
toaster, sink, refrigerator, blender, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, hair brush,
banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other,
ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence,
floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other,
grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin,
net, paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock,
roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw,
structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other,
wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood
"""
)
# ids of things that have no pixels in any release (street sign, hat, shoe, …): among 182, not among 171
_UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
USED_IDS = tuple(k for k in range(1, 183) if k not in _UNUSED_IDS)
USED_NAMES = tuple(NAMES[k - 1] for k in USED_IDS)
THINGS = tuple(k for k in USED_IDS if k <= 90)  # what MS COCO has instances of
LICENCE = "annotations CC BY 4.0; images under Flickr's terms"
SOURCE_10K = "cocostuff-10k-v1.1.zip, https://github.com/nightrome/cocostuff10k"


def layouts_10k(labels: Mapping[int, int]) -> tuple[Layout, ...]:
    listing = "imageLists/{split}.txt"
    return (
        Layout("prepared", "images/{id}.jpg", "annotations_png/{id}.png", labels, listing=listing),
        Layout(
            "official",
            "images/{id}.jpg",
            "annotations/{id}.mat",
            labels,
            listing=listing,
            annotations="harness.data.annotations.matlab",
        ),
    )
