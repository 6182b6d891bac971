"""MS COCO's instance annotations: one JSON file per split with boxes, outlines and categories, in place of label maps."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from harness.data.annotations.json_file import read_json
from harness.data.layout import Dataset, Layout, Pair, Root
from harness.errors import DataError
from harness.recipes.profile import Synthetic

_SLACK = 1.0
"""Pixels by which a released box may stick out of its image: outlines are drawn by hand and boxes rounded."""
_MAX_COORDINATES = 200_000  # of one instance's outline; released ones have a few thousand
_FAR = 1e6  # pixels; further out there is no image's corner
_SMALLEST = 4  # pixels; smaller patches of a scene are no instances


def read(path: Path) -> dict[str, Any]:
    """An annotation file: `images`, `annotations` and `categories`, each a list of records. DataError names the file."""
    record = read_json(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(record, dict) or not isinstance(record.get(key), list):
            raise DataError(f"{path}: not an annotation file of MS COCO: it has no list '{key}'")
    return record


def scan(root: Root, split: str, on_disk: set[str]) -> tuple[list[Pair], list[str]]:
    """Images of `split` that are listed and there, sorted by id, each with the annotation file as its label; and a line
    per image that is only listed, or only there."""
    annotations = root.path / root.layout.label_path(split, "")
    if not annotations.is_file():
        return [], [f"{annotations}: the split's annotation file is not there"]
    try:
        annotated_ids = {PurePosixPath(image["file_name"]).stem for image in read(annotations)["images"]}
    except (KeyError, TypeError) as error:
        return [], [f"{annotations}: an image without a 'file_name' ({error!r})"]
    except DataError as error:
        return [], [str(error)]
    place = functools.partial(root.layout.image_path, split)
    problems = [f"{root.path / place(id)}: image of {annotations.name} is not there" for id in annotated_ids - on_disk]
    problems += [
        f"{root.path / place(id)}: image is not listed in {annotations.name}" for id in on_disk - annotated_ids
    ]
    complete = [Pair(id, str(root.path / place(id)), str(annotations)) for id in sorted(annotated_ids & on_disk)]
    return complete, sorted(problems)


def check(layout: Layout, pairs: Sequence[Pair], progress: Callable[[int, int], None]) -> list[str]:
    """Reads images and annotation files; returns every problem: pictures, sizes, categories, boxes."""
    from harness.data.annotations.label_maps import read_bytes, read_image
    from harness.data.integrity import damage, problems_of_all

    def picture(pair: Pair) -> list[str]:
        try:
            height, width = read_image(pair.image).shape[:2]
            reason = damage(read_bytes(pair.image))
        except DataError as error:
            return [str(error)]
        size = sizes[pair.label][pair.id]
        if reason:
            return [f"{pair.image}: {reason}; get the file again"]
        if (width, height) != size:
            return [f"{pair.image}: the image has {width}×{height} pixels, {pair.label} says {size[0]}×{size[1]}"]
        return []

    problems, sizes = [], {}
    for file in dict.fromkeys(pair.label for pair in pairs):
        try:
            record = read(Path(file))
            sizes[file] = {PurePosixPath(i["file_name"]).stem: (i["width"], i["height"]) for i in record["images"]}
            problems += [f"{file}: {line:.300}" for line in _annotation_problems(record, layout)]
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            return [f"{file}: a record is not as MS COCO's are ({error!r:.200})"]
    for done, lines in enumerate(problems_of_all(pairs, picture, lambda pair: pair.image), start=1):
        problems += lines
        progress(done, len(pairs))
    return problems


def _annotation_problems(record: Mapping[str, Any], layout: Layout) -> Iterator[str]:
    sizes = {image["id"]: (image["width"], image["height"]) for image in record["images"]}
    for instance in record["annotations"]:
        subject = f"annotation {instance['id']}"
        if instance["category_id"] not in layout.labels:
            yield f"{subject}: category {instance['category_id']} outside the allowed values {layout.allowed_values()}"
        if instance["image_id"] not in sizes:
            yield f"{subject}: there is no image {instance['image_id']}"
            continue
        left, top, width, height = instance["bbox"]
        limits = sizes[instance["image_id"]]
        inside = min(left, top) >= -_SLACK and left + width <= limits[0] + _SLACK and top + height <= limits[1] + _SLACK
        if min(width, height) < 0 or not inside:
            yield f"{subject}: box {instance['bbox']} is not within its image of {limits[0]}×{limits[1]} pixels"
        reason = _outline_problem(instance.get("segmentation", []), limits)
        if reason:
            yield f"{subject}: {reason}"


def _outline_problem(outline: Any, limits: tuple[int, int]) -> str:
    """What is wrong with an outline, or '': polygons [[x, y, x, y, …], …], or runs {size: [height, width], counts} whose
    size is the image's, since a mask of the size that they claim is made of them."""
    if isinstance(outline, Mapping):
        size = outline["size"]
        return "" if list(size) == [limits[1], limits[0]] else f"runs of a mask of {size[1]}×{size[0]} pixels"
    coordinates = [value for polygon in outline for value in polygon]
    if len(coordinates) > _MAX_COORDINATES:
        return f"an outline of {len(coordinates) // 2} points; at most {_MAX_COORDINATES // 2} are drawn"
    outside = [value for value in coordinates if not abs(value) <= _FAR]  # a value that is no number is not either
    return f"a point at {outside[0]} is far outside its image" if outside else ""


def write(dataset: Dataset, scenes: Synthetic, out: Path, layout: Layout) -> None:
    """Writes small scenes in `layout`: every connected patch of a class is an instance."""
    import numpy as np

    from harness.data.scenes import save, scene

    raw = {k: value for value, k in layout.labels.items()}
    categories = [{"id": raw[k], "name": name} for k, name in enumerate(dataset.classes)]
    for number_of_split, split in enumerate(dataset.splits):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number in range(scenes.train_images if split == "train" else scenes.test_images):
            rng = np.random.default_rng([number_of_split, number, dataset.num_classes])
            image, label = scene(rng, dataset.num_classes, scenes.size)
            id = layout.ids.format(split=split, number=number)
            save(out / layout.image_path(split, id), image)
            height, width = label.shape
            images.append({"id": number, "file_name": f"{id}.jpg", "height": height, "width": width})
            for k, box, outline, area in _instances(label, dataset.num_classes):
                annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": raw[k], "iscrowd": 0}
                annotations.append({**annotation, "bbox": box, "segmentation": [outline], "area": area})
        file = out / layout.label_path(split, "")
        file.parent.mkdir(parents=True, exist_ok=True)
        record = {"images": images, "annotations": annotations, "categories": categories}
        file.write_text(json.dumps(record), encoding="utf-8")


def _instances(label: Any, num_classes: int) -> Iterator[tuple[int, list[int], list[int], int]]:
    """(class, box [left, top, width, height], outline [x, y, x, y, …], pixels) of every connected patch."""
    import cv2
    import numpy as np

    for k in range(num_classes):
        count, parts, statistics, _ = cv2.connectedComponentsWithStats((label == k).astype(np.uint8))
        for part in range(1, count):
            *box, area = statistics[part].tolist()
            if area < _SMALLEST:
                continue
            outlines, _ = cv2.findContours((parts == part).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            yield k, box, max(outlines, key=len).ravel().tolist(), area
