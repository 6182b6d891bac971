"""Turns an official download into a dataset ready for training: unpack, convert raw annotations, recognise the layout."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from harness.data import catalogue
from harness.data.annotations.json_file import read_json
from harness.data.annotations.label_maps import MAX_PIXELS, LabelReader, raw_values
from harness.data.archives import ADVICE, is_archive, unpack, write_stream
from harness.data.files import recognise, scan
from harness.data.layout import Dataset, Root
from harness.errors import DataError, MissingError
from harness.files import output_errors, write_text

_MAX_POINTS = 200_000  # of all polygons of an image; Cityscapes has a few thousand
_FAR = 1e6  # pixels; further out there is no image's corner

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

# cityscapesScripts labels.py: names in the order of their ids, 0 … 33; the license plate (-1) is not drawn
CITYSCAPES_LABELS = (
    *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road"),
    *("sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole"),
    *("polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck"),
    *("bus", "caravan", "trailer", "train", "motorcycle", "bicycle"),
)


def prepare(name: str, source: Path, data_dir: Path, report: Report = lambda what, done, total: None) -> Root:
    """Brings the download `source` (an archive, a folder of archives, or an unpacked folder) below `data_dir`.

    Converts .mat label maps (COCO-Stuff 10k, PASCAL-Context) and Cityscapes polygons to PNG, in raw values. Whatever is
    there already is kept, so an interrupted run goes on where it stopped.
    """
    dataset = catalogue.find(name)
    source, target = Path(source), Path(data_dir) / dataset.folder
    if not source.exists():
        raise MissingError(f"{source} is not there; --from names the download of {dataset.source}")
    with output_errors(target, ADVICE):
        target.mkdir(parents=True, exist_ok=True)
    archives = (
        [source] if is_archive(source) else sorted(filter(is_archive, source.iterdir())) if source.is_dir() else []
    )
    for archive in archives:
        unpack(archive, target, functools.partial(report, f"unpack {archive.name}"))
    _unpack_nested(target, report)
    if not archives and source.resolve() != target.resolve():
        _link_tree(source, target, report)
    _write_lists(target)
    _draw_polygons(target, report)
    _convert(dataset, target, report)
    return recognise(dataset, target)


def _unpack_nested(target: Path, report: Report) -> None:
    """Archives inside archives (LIP's annotations), each beside itself; one level."""
    for archive in sorted(filter(is_archive, target.rglob("*"))):
        unpack(archive, archive.parent, functools.partial(report, f"unpack {archive.name}"))


def _link_tree(source: Path, target: Path, report: Report) -> None:
    """Hard links where the file system allows, copies where not, and of what has further names already."""
    if not source.is_dir():
        raise MissingError(f"{source} is neither a folder nor an archive (zip, tar, tar.gz)")
    files = [path for path in sorted(source.rglob("*")) if path.is_file() and target not in path.parents]
    for done, path in enumerate(files, start=1):
        place = target / path.relative_to(source)
        if not (place.is_file() and place.stat().st_size == path.stat().st_size):
            _link_or_copy(path, place)
        report(f"copy {source.name}", done, len(files))


def _link_or_copy(path: Path, place: Path) -> None:
    """A link, symbolic or hard, may be the name of a file elsewhere: it is copied, so that nothing in the data folder is
    ever that file."""
    if not path.is_symlink() and path.stat().st_nlink == 1:
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            os.link(path, place)
            return
    with open(path, "rb") as source:
        write_stream(place, source)


def _write_lists(target: Path) -> None:
    """PASCAL-Context's split lists from trainval_merged.json (images with `file_name` and `phase`)."""
    for merged in target.rglob("trainval_merged.json"):
        lists = merged.parent if merged.parent.name == "VOC2010" else target / "VOCdevkit/VOC2010"
        try:
            images = read_json(merged)["images"]
            phases = {
                phase: [Path(i["file_name"]).stem for i in images if i["phase"] == phase] for phase in ("train", "val")
            }
        except (KeyError, TypeError) as error:
            raise DataError(f"{merged}: does not list images with 'file_name' and 'phase' ({error!r})") from error
        for phase, ids in phases.items():
            text = "".join(f"{id}\n" for id in sorted(ids))
            write_text(lists / f"ImageSets/SegmentationContext/{phase}.txt", text, advice=ADVICE)


def _draw_polygons(target: Path, report: Report) -> None:
    """Label ids of Cityscapes where the download has polygons only."""
    ending = "_gtFine_polygons.json"
    todo = []
    for polygons in sorted(target.glob(f"gtFine/*/*/*{ending}")):
        place = polygons.with_name(polygons.name.removesuffix(ending) + "_gtFine_labelIds.png")
        if not place.is_file():
            todo.append((polygons, place))
    for done, (polygons, place) in enumerate(todo, start=1):
        _write_png(place, label_ids(polygons))
        report("draw polygons", done, len(todo))


def label_ids(polygons: Path) -> np.ndarray:
    """Raw ids uint8 [H, W] of one Cityscapes annotation: its polygons in order, later ones over earlier ones."""
    from PIL import Image, ImageDraw  # the reference draws with it; edges differ from OpenCV's

    ids = {label: number for number, label in enumerate(CITYSCAPES_LABELS)}
    record = read_json(polygons)
    try:
        width, height, drawn = record["imgWidth"], record["imgHeight"], []
        if not 0 < width * height <= MAX_PIXELS or min(width, height) < 1:
            raise ValueError(f"an image of {width}×{height} pixels")
        if sum(len(item["polygon"]) for item in record["objects"]) > _MAX_POINTS:  # each is looked at in every row
            raise ValueError(f"more than {_MAX_POINTS} points of polygons")
        for item in record["objects"]:
            label = item["label"] if item["label"] in ids else item["label"].removesuffix("group")
            if item.get("deleted") or label == "license plate":
                continue
            drawn.append((ids[label], [(float(x), float(y)) for x, y in item["polygon"]]))
        if not all(abs(value) <= _FAR for _, polygon in drawn for point in polygon for value in point):
            raise ValueError("a point far outside the image")
        image = Image.new("L", (width, height), 0)
        pen = ImageDraw.Draw(image)
        for id, polygon in drawn:
            pen.polygon(polygon, fill=id)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise DataError(f"{polygons}: not an annotation of Cityscapes ({error!r:.200})") from error
    return np.asarray(image)


def _convert(dataset: Dataset, target: Path, report: Report) -> None:
    """PNG label maps, in the raw values of the dataset's PNG layout, where the download has .mat ones."""
    raw = tuple(layout for layout in dataset.layouts if layout.label.endswith(".mat"))
    try:
        root = recognise(replace(dataset, layouts=raw), target)
    except (MissingError, DataError):  # no .mat files; what is there instead is recognised afterwards
        return
    layout = next(layout for layout in dataset.layouts if layout.label.endswith(".png"))
    values, reader = raw_values(layout), LabelReader(root.layout)
    todo = []
    for split in dataset.splits:
        complete, missing = scan(root, split)
        if missing:
            raise DataError(f"split '{split}': missing files: {len(missing)}; the first: {missing[0]}")
        todo += [(pair.label, target / layout.top / layout.label_path(split, pair.id)) for pair in complete]
    todo = [(label, png) for label, png in todo if not png.is_file()]

    def convert_one(job: tuple[str, Path]) -> None:
        _write_png(job[1], values[reader.read(job[0])])

    for done, _ in enumerate(_parallel(convert_one, todo), start=1):
        report("convert label maps", done, len(todo))


def _parallel(work: Callable[[tuple[str, Path]], None], jobs: list[tuple[str, Path]]) -> Iterable[None]:
    with ThreadPoolExecutor() as pool:
        yield from pool.map(work, jobs)


def _write_png(place: Path, label: np.ndarray) -> None:
    success, data = cv2.imencode(".png", label.astype(np.uint8))
    assert success
    write_stream(place, io.BytesIO(data.tobytes()))
