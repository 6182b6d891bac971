"""Annotation files that no dataset has: each with the words of the error that refuses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

DEEP = "[" * 5000 + "]" * 5000
SQUARE = [[1, 1], [5, 1], [5, 5]]


def polygons(width: Any = 32, height: Any = 24, *, label: Any = "road", polygon: Any = SQUARE) -> str:
    """An annotation of Cityscapes with one polygon."""
    return json.dumps({"imgWidth": width, "imgHeight": height, "objects": [{"label": label, "polygon": polygon}]})


NOT_ITS = r"not an annotation of Cityscapes \(.+\)"
POLYGONS: dict[str, tuple[Callable[[], str], str]] = {
    # name: (content, what the error says)
    "lists a thousand deep": (lambda: DEEP, "lists within lists, too deeply"),
    "a value a thousand deep": (
        lambda: polygons().replace('"road"', DEEP),
        "lists within lists, too deeply",
    ),
    "a number of thousands of digits": (lambda: polygons().replace("32", "3" * 9000), "cannot be read as JSON"),
    "an image of a terapixel": (lambda: polygons(10**6, 10**6), r"an image of 1000000×1000000 pixels"),
    "an image of less than nothing": (lambda: polygons(-5, -5), r"an image of -5×-5 pixels"),
    "an image of half a pixel": (lambda: polygons(0.5, 24), r"an image of 0.5×24 pixels"),
    "an image of no number": (lambda: polygons(float("nan"), 24), NOT_ITS),
    "an infinite image": (lambda: polygons(float("inf"), 24), NOT_ITS),
    "a polygon bomb": (lambda: polygons(polygon=[[]] * 200_001), "more than 200000 points of polygons"),
    "a point at infinity": (lambda: polygons(polygon=[[1, 1], [1e300, 5], [2, 2]]), "a point far outside the image"),
    "a point that is no number": (lambda: polygons(polygon=[[1, 1], [float("nan"), 5], [2, 2]]), "a point far outside"),
    "a point of huge digits": (lambda: polygons(polygon=[[1, 1], [10**400, 5], [2, 2]]), "OverflowError"),
    "a point of three numbers": (lambda: polygons(polygon=[[1, 1, 1], [2, 2, 2], [3, 3, 3]]), NOT_ITS),
    "points of text": (lambda: polygons(polygon=["ab", "cd", "ef"]), NOT_ITS),
    "a polygon of one point": (lambda: polygons(polygon=[[1, 1]]), NOT_ITS),
    "a label that is a list": (lambda: polygons(label=[]), NOT_ITS),
    "objects that are a text": (lambda: '{"imgWidth": 4, "imgHeight": 4, "objects": "many"}', NOT_ITS),
    "a list": (lambda: "[]", NOT_ITS),
    "nothing": (lambda: "null", NOT_ITS),
}


def _instance(**changes: Any) -> Callable[[dict[str, Any]], object]:
    """Changes the first instance of an annotation file of MS COCO."""
    return lambda record: record["annotations"][0].update(changes)


INSTANCES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    # name: (change of a sound annotation file, what the problem says)
    "a polygon bomb": (_instance(segmentation=[[1, 1, 2, 2] * 60_000]), "annotation 1: an outline of 120000 points"),
    "many small polygons": (
        _instance(segmentation=[[1, 1, 2, 2]] * 60_000),
        "annotation 1: an outline of 120000 points",
    ),
    "a point at infinity": (
        _instance(segmentation=[[1, 1, 2, 1e300]]),
        "annotation 1: a point at 1e.300 is far outside",
    ),
    "a point that is no number": (_instance(segmentation=[[1, 1, 2, float("nan")]]), "annotation 1: a point at nan"),
    "a mask of a terapixel": (
        _instance(segmentation={"size": [10**6, 10**6], "counts": [10**12]}),
        "annotation 1: runs of a mask of 1000000×1000000 pixels",
    ),
    "a mask without a size": (_instance(segmentation={"counts": "abc"}), "not as MS COCO's are.*'size'"),
    "an outline that is a number": (_instance(segmentation=7), "not as MS COCO's are"),
    "an outline of texts": (_instance(segmentation=["abc"]), "not as MS COCO's are"),
    "a box of huge digits": (_instance(bbox=[0.5, 1, 10**400, 4]), "not as MS COCO's are.*OverflowError"),
    "a box that is no number": (
        _instance(bbox=[float("nan"), 1, 2, 4]),
        "annotation 1: box .* is not within its image",
    ),
    "a box of three numbers": (_instance(bbox=[1, 2, 3]), "not as MS COCO's are"),
    "a category that is a list": (_instance(category_id=[]), "not as MS COCO's are"),
    "an image that is a list": (_instance(image_id=[]), "not as MS COCO's are"),
    "a record that is a text": (lambda record: record["annotations"].append("x"), "not as MS COCO's are"),
}
