"""Guesses a dataset's classes from its label maps: their values or colours, and names and colours where files list them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from harness.data.annotations import colours
from harness.data.annotations.label_maps import read_raw_label
from harness.data.catalogue._notation import distinct
from harness.data.layout import IGNORE
from harness.errors import DataError

Colour = tuple[int, int, int]

_NAME_FILES = ("classes.txt", "class_names.txt", "labels.txt", "label_names.txt", "names.txt", "classes.json")
_COLOUR_FILES = (  # CamVid's, those of its copies, CVAT's
    *("label_colors.txt", "class_dict.csv", "labelmap.txt"),
    *("label_colours.txt", "colors.txt", "colours.txt", "classes.csv", "colormap.txt"),
)
_COLOUR_FIRST = re.compile(r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(.*\w.*)")
_NAME_FIRST = re.compile(r"(.*?\w)\s*[\s,;:]\s*(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\D*")
_MOST_MASKS = 2000  # label maps that are read; the others have to be of the same values, which `test` checks
_MOST_CLASSES = 254


def classes(folder: Path, masks: Sequence[Path], unknown: list[str]) -> tuple[dict[int, tuple[str, Colour]], bool]:
    """({raw value: (name, colour)} of the classes, whether raw values are colours, 0xRRGGBB); what could not be guessed is added
    to `unknown`."""
    chosen = (
        masks
        if len(masks) <= _MOST_MASKS
        else [masks[i] for i in np.linspace(0, len(masks) - 1, _MOST_MASKS).astype(int)]
    )
    if len(chosen) < len(masks):
        unknown.append(f"values: {len(chosen)} of {len(masks)} label maps were read; others may hold more")
    by_colour = sum(map(_is_coloured, chosen)) * 2 > len(chosen)
    counts: Counter[int] = Counter()
    problems: list[str] = []
    for mask in chosen:
        try:
            raw = colours.read(str(mask)) if by_colour else read_raw_label(str(mask))
        except DataError as error:
            problems.append(str(error))
            continue
        values, numbers = np.unique(raw, return_counts=True)
        counts.update(dict(zip(values.tolist(), numbers.tolist())))
    if problems:
        unknown.append(f"{len(problems)} label maps cannot be read, the first: {problems[0]}")
    found = sorted(value for value in counts if by_colour or value != IGNORE)
    if len(found) > _MOST_CLASSES:
        unknown.append(
            f"{'colours' if by_colour else 'values'}: {len(found)} different ones, of {_MOST_CLASSES} classes that there can be; "
            "are these label maps?"
        )
        found = found[:_MOST_CLASSES]
    if not found:
        unknown.append(f"classes: no {'colour' if by_colour else 'value'} was read; say them by hand")
        found = [0]
    if by_colour:
        return _by_colour(folder, found, unknown), True
    return _by_value(folder, found, chosen, unknown), False


def _is_coloured(mask: Path) -> bool:
    """Whether a picture has three channels or more; its header alone is read."""
    try:
        with Image.open(mask) as picture:
            return picture.mode not in ("1", "L", "LA", "P", "PA", "I", "F") and not picture.mode.startswith("I;")
    except Exception:  # of any of its plug-ins; reading it says why
        return False


# ------------------------------------------------------------------------------------------------------ by colours


def _by_colour(folder: Path, found: Sequence[int], unknown: list[str]) -> dict[int, tuple[str, Colour]]:
    """Classes of colours: those of a file that lists them, then the others of the label maps."""
    listed = _colour_names(folder, unknown)
    result = {value: (name, _colour(value)) for value, name in listed.items()}
    others = [value for value in found if value not in listed][: _MOST_CLASSES - len(result)]
    for value in others:
        result[value] = (f"colour {' '.join(map(str, _colour(value)))}", _colour(value))
    if listed and others:
        shown = ", ".join(str([*_colour(value)]) for value in others[:5])
        unknown.append(
            f"{len(others)} colours of the label maps have no name in the list, such as {shown}: classes with stand-ins"
        )
    elif not listed:
        unknown.append(f"names of classes: found no {' or '.join(_COLOUR_FILES[:2])}; the colours have stand-ins")
    unknown.append(
        "which colour, often black or white, means 'not annotated': all are classes here; `ignore` lists such ones"
    )
    return result


def _colour_names(folder: Path, unknown: list[str]) -> dict[int, str]:
    """{0xRRGGBB: name} by a text file whose lines have a name and a colour, in either order."""
    for file in (folder / name for name in _COLOUR_FILES):
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        result: dict[int, str] = {}
        for number, line in enumerate(lines):
            entry = _named_colour(line)
            if entry is not None and entry[0] not in result and entry[1] not in result.values():
                result[entry[0]] = entry[1]
            elif number or entry is not None:  # the first line may be a heading
                unknown.append(f"{file}: '{line[:60]}' is no new name with a new colour: left out")
        if result:
            return result
    return {}


def _named_colour(line: str) -> tuple[int, str] | None:
    """(0xRRGGBB, name) of a line; None where it has none."""
    match = _COLOUR_FIRST.fullmatch(line)
    if match is not None:
        *digits, name = match.groups()
    else:
        match = _NAME_FIRST.fullmatch(line)
        if match is None:
            return None
        name, *digits = match.groups()
    channels = [int(digit) for digit in digits]
    return (int.from_bytes(channels, "big"), name.strip().strip('"')) if max(channels) < 256 else None


def _colour(value: int) -> Colour:
    red, green, blue = value.to_bytes(3, "big")
    return red, green, blue


# ------------------------------------------------------------------------------------------------------- by values


def _by_value(
    folder: Path, values: Sequence[int], masks: Sequence[Path], unknown: list[str]
) -> dict[int, tuple[str, Colour]]:
    names, palette = _names(folder, values, unknown), _palette(masks[0]) if masks else {}
    chosen = distinct(len(values))
    if not names:
        ends = " or ".join(str(value) for value in dict.fromkeys((values[0], values[-1])))
        unknown.append(
            f"which value, often the first or the last ({ends}), means 'not annotated': all are classes here"
        )
    return {
        value: (names.get(value, f"class {value}"), palette.get(value, chosen[k])) for k, value in enumerate(values)
    }


def _names(folder: Path, values: Sequence[int], unknown: list[str]) -> dict[int, str]:
    """{value: name} by a text file of names, one for each value or for each number from 0 on."""
    for file in (folder / name for name in _NAME_FILES):
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        try:
            lines = (
                json.loads(text)
                if file.suffix == ".json"
                else [line.strip() for line in text.splitlines() if line.strip()]
            )
        except ValueError:
            lines = None
        if isinstance(lines, list) and all(isinstance(line, str) for line in lines) and len(set(lines)) == len(lines):
            if len(lines) > max(values):
                return {value: lines[value] for value in values}
            if len(lines) == len(values):
                return dict(zip(values, lines))
        unknown.append(f"names of classes: {file} does not list one for each of the {len(values)} values")
        return {}
    unknown.append(f"names of classes: found no {_NAME_FILES[0]}; the values have stand-ins ('class {values[0]}')")
    return {}


def _palette(mask: Path) -> dict[int, Colour]:
    """{value: colour} of a label map with a palette; empty where it has none."""
    try:
        with Image.open(mask) as picture:
            palette = picture.getpalette() if picture.mode == "P" else None
    except Exception:  # of any of its plug-ins; reading it says why
        palette = None
    entries = [tuple(palette[i : i + 3]) for i in range(0, len(palette) - 2, 3)] if palette else []
    return dict(enumerate(entries)) if len(set(entries)) > 1 else {}
