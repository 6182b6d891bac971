"""ADE20K: names and colours of the scene parsing benchmark."""

from __future__ import annotations

from harness.data.catalogue._notation import colours, names, raw
from harness.data.layout import Dataset, Layout

NAMES = """
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field,
armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard,
chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case,
pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book,
hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel,
bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane, dirt track,
apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain,
conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike,
cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen,
blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor,
bulletin board, shower, radiator, glass, clock, flag
"""

COLOURS = """
787878b4787806e6e650323204c8037878508c8c8ccc05ffe6e6e604fa07e005ffebff0796053d78784608ff33ff06528fff8cccff04ff3307
cc46030066c83de6faff06330b66ffff0747ff09e00907e6dcdcdcff095c7009ff08ffd607ffe0ffb8060aff47ff290a07ffffe0ff086608ff
ff3d06ffc207ff7a0800ff14ff0829ff05990633ffeb0cffa0961400a3ff8c8c8cfa0a0f14ff001fff00ff1f00ffe00099ff000000ffff4700
00ebff00adff1f00ff0bc8c8ff520000fff5003dff00ff7000ff85ff0000ffa300ff6600c2ff00008fff33ff000052ff00ff2900ffad0a00ff
adff0000ff99ff5c00ff00ffff00f5ff0066ffad00ff0014ffb8b8001fff00ff3d0047ffff00cc00ffc200ff52000aff0070ff3300ff00c2ff
007aff00ffa3ff990000ff0aff70008fff005200ffa3ff00ffeb0008b8aa8500ff00ff5cb800ffff001f00b8ff00d6ffff00705cff0000e0ff
70e0ff46b8a0a300ff9900ff47ff00ff00a3ffcc00ff008f00ffeb85ff00ff00ebf500ffff007afff5000abed4d6ff0000ccff1400ffffff00
0099ff0029ff00ffcc2900ff29ff00ad00ff00f5ff4700ff7a00ff00ffb8005cffb8ff000085ffffd60019c2c266ff005c00ff
"""

DATASET = Dataset(
    name="ade20k",
    title="ADE20K",
    classes=names(NAMES),
    palette=colours(COLOURS),
    splits={"train": 20210, "val": 2000},
    layouts=(
        Layout(
            "official",
            "images/{split}/{id}.jpg",
            "annotations/{split}/{id}.png",
            raw(range(1, 151), ignore=(0,)),
            {"train": "training", "val": "validation"},
            top="ADEChallengeData2016",
        ),
    ),
    folder="ade20k",
    licence="images: research and education only; annotations BSD 3-clause",
    source="ADEChallengeData2016.zip, http://sceneparsing.csail.mit.edu",
    note="raw 0 (other) is ignored",
)
