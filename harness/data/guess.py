"""Guesses the declaration of a dataset (harness.data.declaration) from a folder of images and label maps.

What is guessed: which folders hold images and which label maps, the splits (sub-folders, or lists of names), the patterns, the
values in the label maps, names of classes where a text file lists them, colours where label maps have a palette. What could not
be guessed is said in words, for the person who finishes the file.
"""

from __future__ import annotations

import bisect
import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.data.guess_classes import Colour, classes
from harness.data.layout import IGNORE
from harness.errors import UserError

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_IMAGES = {
    "images",
    "image",
    "imgs",
    "img",
    "jpegimages",
    "leftimg8bit",
    "rgb",
    "photos",
    "pictures",
    "input",
    "inputs",
}
_LABELS = {
    *(
        "masks",
        "mask",
        "labels",
        "label",
        "annotations",
        "annotation",
        "segmentationclass",
        "gt",
        "gtfine",
        "ground_truth",
    ),
    *("groundtruth", "segmentation", "segmentations", "targets", "target"),
}
_SPLITS = {
    **{"train": "train", "training": "train", "trn": "train", "trainval": "trainval"},
    **{
        "val": "val",
        "valid": "val",
        "validation": "val",
        "dev": "val",
        "test": "test",
        "testing": "test",
        "tst": "test",
    },
}
_ORDER = ("train", "trainval", "val", "test")


@dataclass(frozen=True)
class Layout:
    """The patterns of images and label maps, and {split: what stands for it in them}."""

    image: str
    label: str
    folders: dict[str, str]
    ids: dict[str, list[str]]  # {split: ids that have both}
    listing: str = ""


@dataclass
class Guess:
    """What was found in a folder. `values`: {raw value: (name, colour)} of classes, `by_colour`: whether these are colours,
    0xRRGGBB; `unknown`: what a person has to say."""

    folder: Path
    layout: Layout
    values: dict[int, tuple[str, Colour]] = field(default_factory=dict)
    by_colour: bool = False
    ignore: tuple[int, ...] = (IGNORE,)
    unknown: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Picture:
    """One file: folders before its id with `{split}` for the split's, the split, and the id with the file's ending."""

    prefix: str
    split: str
    name: str


def guess(folder: Path) -> Guess:
    """The declaration that fits a folder best. UserError where it holds no images beside label maps."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    images, labels, others = _pictures(folder)
    if not images or not labels:
        found = ", ".join(sorted(others)[:8]) or "none"
        raise UserError(
            f"{folder}: found no folder of {'images' if not images else 'label maps'}; expected are folders called images (img, "
            f"JPEGImages, …) and masks (labels, annotations, …); folders with pictures: {found}. python -m harness new dataset "
            "writes a file to fill in by hand"
        )
    unknown: list[str] = []
    layout = _layout(folder, images, labels, unknown)
    result = Guess(folder, layout, unknown=unknown)
    _read_values(result)
    return result


def _pictures(folder: Path) -> tuple[list[_Picture], list[_Picture], set[str]]:
    """Pictures in folders of images, in folders of label maps, and the names of other folders with pictures."""
    found: dict[str, list[_Picture]] = {"image": [], "label": []}
    others: set[str] = set()
    for directory, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        parts = Path(directory).relative_to(folder).parts
        pictures = sorted(name for name in files if name.lower().endswith(_PICTURES) and not name.startswith("."))
        kinds = [i for i, part in enumerate(parts) if part.lower() in _IMAGES | _LABELS]
        if not pictures:
            continue
        if not kinds:
            others.add("/".join(parts) or ".")
            continue
        at = kinds[-1]
        splits = [i for i, part in enumerate(parts) if part.lower() in _SPLITS and i != at]
        end = max(at, *splits[:1]) + 1 if splits else at + 1
        prefix = "/".join("{split}" if splits and i == splits[0] else part for i, part in enumerate(parts[:end]))
        split = parts[splits[0]] if splits else ""
        kind = "image" if parts[at].lower() in _IMAGES else "label"
        found[kind] += [_Picture(prefix, split, "/".join([*parts[end:], name])) for name in pictures]
    return found["image"], found["label"], others


def _layout(folder: Path, images: Sequence[_Picture], labels: Sequence[_Picture], unknown: list[str]) -> Layout:
    """Patterns and splits; what does not fit is added to `unknown`."""
    image_prefix, images = _commonest(images, "images", unknown)
    label_prefix, labels = _commonest(labels, "label maps", unknown)
    image_end, label_end = _endings([p.name for p in images], [p.name for p in labels])
    if not label_end:
        both = f"{image_prefix}/{images[0].name}, {label_prefix}/{labels[0].name}"
        raise UserError(
            f"{folder}: no label map has the name of an image ({both}); "
            "an image and its label map share the beginning of their names, and all end alike"
        )
    ids: dict[str, list[str]] = defaultdict(list)
    masks = {(p.split, p.name.removesuffix(label_end)) for p in labels if p.name.endswith(label_end)}
    pictures = {(p.split, p.name.removesuffix(image_end)) for p in images if p.name.endswith(image_end)}
    other_ends = [p.name for p in images if not p.name.endswith(image_end)]
    if other_ends:
        unknown.append(
            f"{len(other_ends)} images do not end in {image_end}, such as {other_ends[0]}: they are left out"
        )
    for what, lonely in (
        ("images have no label map", pictures - masks),
        ("label maps have no image", masks - pictures),
    ):
        if lonely:
            unknown.append(f"{len(lonely)} {what}, such as {sorted(lonely)[0][1]}")
    for split, id in sorted(pictures & masks):
        ids[split].append(id)
    image, label = f"{image_prefix}/{{id}}{image_end}", f"{label_prefix}/{{id}}{label_end}"
    if [*ids] == [""]:
        return _by_lists(folder, image, label, ids[""], unknown)
    names = {folder_name: _SPLITS[folder_name.lower()] for folder_name in ids}
    folders = {name: folder_name for folder_name, name in names.items() if folder_name != name}
    ordered = sorted(ids, key=lambda name: _ORDER.index(names[name]))
    return Layout(image, label, folders, {names[name]: ids[name] for name in ordered})


def _commonest(pictures: Sequence[_Picture], what: str, unknown: list[str]) -> tuple[str, list[_Picture]]:
    """The pictures that lie where most do."""
    counts = Counter(p.prefix for p in pictures)
    prefix = counts.most_common(1)[0][0]
    unknown += [f"{count} {what} in {other}: left out" for other, count in counts.most_common()[1:]]
    return prefix, [p for p in pictures if p.prefix == prefix]


def _endings(images: Sequence[str], labels: Sequence[str]) -> tuple[str, str]:
    """What follows the id in names of images and of label maps, as most have it; '' where none go together."""
    ends: Counter[tuple[str, str]] = Counter()
    by_start: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        by_start[label[: len(label) - len(Path(label).suffix)]].append(label)
    starts = sorted(by_start)
    for image in images:
        stem = image[: len(image) - len(Path(image).suffix)]
        if stem in by_start:
            ends[Path(image).suffix, Path(by_start[stem][0]).suffix] += 1
            continue
        near = bisect.bisect_left(starts, stem)
        for start in starts[max(0, near - 1) : near + 1]:
            common = stem[
                : next((i for i, (a, b) in enumerate(zip(stem, start)) if a != b), min(len(stem), len(start)))
            ]
            common = common.rstrip("_-.") if common != stem else common
            label = by_start[start][0]
            if common and not common.endswith("/"):
                ends[image[len(common) :], label[len(common) :]] += 1
    if not ends:
        return "", ""
    (pair, count) = ends.most_common(1)[0]
    return pair if count * 2 > len(images) or count > 1 else ("", "")


def _by_lists(folder: Path, image: str, label: str, ids: list[str], unknown: list[str]) -> Layout:
    """Splits by text files of names; one split of all images where there are none."""
    known, found = set(ids), {}
    for file in sorted(folder.rglob("*.txt")):
        name = _SPLITS.get(file.stem.lower())
        if name is None:
            continue
        lines = file.read_text(encoding="utf-8", errors="replace").split()
        listed = [line for line in lines if line in known]
        if lines and len(listed) * 10 >= len(lines) * 9:
            found[name] = (file, listed)
        else:
            shown = lines[0][:60] if lines else "nothing"
            unknown.append(
                f"{file} holds no names of images without their ending (it begins with '{shown}'): it is left out"
            )
    patterns = Counter(str(file.with_stem("{split}").relative_to(folder)) for file, _ in found.values())
    if not patterns:
        unknown.append(
            "splits: found neither sub-folders nor lists called train, val, test; all images are 'train', and there is no 'val'"
        )
        return Layout(image, label, {}, {"train": ids})
    pattern = patterns.most_common(1)[0][0]
    chosen = {
        name: (file, listed)
        for name, (file, listed) in found.items()
        if str(file.with_stem("{split}").relative_to(folder)) == pattern
    }
    folders = {name: file.stem for name, (file, _) in chosen.items() if file.stem != name}
    ordered = sorted(chosen, key=_ORDER.index)
    return Layout(image, label, folders, {name: chosen[name][1] for name in ordered}, pattern)


def _read_values(result: Guess) -> None:
    """Enters the values of the label maps with names and colours."""
    layout = result.layout
    masks = [
        result.folder / layout.label.replace("{split}", layout.folders.get(split, split)).replace("{id}", id)
        for split, ids in layout.ids.items()
        for id in ids
    ]
    result.values, result.by_colour = classes(result.folder, masks, result.unknown)
    result.ignore = () if result.by_colour else (IGNORE,)


# ------------------------------------------------------------------------------------------------------------- writing


def as_yaml(result: Guess, file: Path) -> str:
    """The declaration as the commented text of a YAML file that is to lie at `file`."""
    name, folder = file.stem, os.path.relpath(result.folder, file.parent)
    layout = result.layout
    lines = [f"# {name}: guessed from {sum(map(len, layout.ids.values()))} images with label maps. Look at it, then:"]
    lines += [
        f"#   python -m harness data show {file}     images with their labels",
        f"#   python -m harness test {file}          every clause",
    ]
    if result.unknown:
        lines += ["# What could not be guessed:", *(f"# - {' '.join(text.split())}" for text in result.unknown)]
    lines += [
        f"title: {_text(name.replace('_', ' '))}",
        f"folder: {_text(folder)}  # counted from this file; where there is no such folder, below the data folder (--data)",
        f"image: {_text(layout.image)}",
        f"label: {_text(layout.label)}",
    ]
    lines += [f"listing: {_text(layout.listing)}"] if layout.listing else []
    lines.append(
        "splits: {" + ", ".join(f"{split}: {len(ids)}" for split, ids in layout.ids.items()) + "}  # images in each"
    )
    if layout.folders:
        lines.append("folders: {" + ", ".join(f"{split}: {_text(to)}" for split, to in layout.folders.items()) + "}")
    lines += ["", "encoding: colours  # label maps are pictures in the classes' colours"] if result.by_colour else []
    meant = "the `colour`" if result.by_colour else "`values`"
    lines += ["", f"classes:  # in the order of their training ids; {meant} in label files means the class"]
    for value, (title, colour) in result.values.items():
        values = "" if result.by_colour else f", values: [{value}]"
        lines.append(f"  - {{name: {_text(title)}, colour: [{', '.join(map(str, colour))}]{values}}}")
    ignored = ", ".join(map(str, result.ignore))
    lines += [
        f"ignore: [{ignored}]  # {'colours' if result.by_colour else 'values'} of pixels that count in no loss and no score",
        *(["# undeclared: ignore  # other colours count as little; where absent, they are errors"] * result.by_colour),
        "# licence: under which it may be used",
    ]
    return "\n".join([*lines, "# source: where it was got", ""])


def _text(text: str) -> str:
    """A text as YAML has it; JSON's quotes where a plain one would be something else."""
    plain = text.replace("_", "").replace(" ", "").replace("/", "").replace("-", "").replace(".", "")
    words = {"true", "false", "null", "yes", "no", "on", "off"}
    if text and (
        text == "."
        or (plain.isalnum() and not plain[0].isdigit() and text == text.strip() and text.lower() not in words)
    ):
        return text
    return json.dumps(text, ensure_ascii=False)
