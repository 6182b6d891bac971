"""A dataset as a YAML file: where its images and label maps lie, its splits, and what the values in the label maps mean.

    title: Streets of my town
    folder: .
    image: images/{split}/{id}.png
    label: masks/{split}/{id}.png
    splits: {train: 120, val: 30}
    classes:
      - {name: road, colour: [128, 64, 128]}
      - {name: car, colour: [0, 0, 142], values: [2, 3]}
    ignore: [255]

Where label maps are pictures in the classes' colours, `encoding: colours` says so, and each class's `colour` is its value.
The file becomes the same `Dataset` that the catalogue's are (harness.data.layout).
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.data.catalogue._notation import distinct
from harness.data.layout import IGNORE, Dataset, Layout
from harness.errors import Problems, nearest
from harness.jobs.outside_names import beside
from harness.spec import Positive, Spec
from harness.yamlfile import Document, Path_, read, validate

_MAX_CLASSES = 254  # training ids are bytes, of which one is IGNORE and one marks what is not declared
_FORM = (
    "is a path below 'folder' with {split} and one {id}, which a folder's end precedes and the ending of files follows, such as "
    "images/{split}/{id}.png"
)

Byte = Annotated[int, Field(ge=0, le=255)]
SplitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+\z")]
RawValue = Annotated[int, Field(ge=0, le=65535)]
Colour = tuple[Byte, Byte, Byte]
_COLOURS = "harness.data.annotations.colours"


class ClassSpec(Spec):
    """One class. Its training id is its place in the list, counted from 0."""

    name: str = Field(min_length=1)  # as reports print it
    colour: Colour | None = None  # red, green, blue in figures; one is chosen where absent
    values: tuple[RawValue, ...] | None = None  # in the label files that mean this class; its training id where absent
    colours: tuple[Colour, ...] | None = None  # the same of `encoding: colours`; its `colour` where absent


class Declaration(Spec):
    """A dataset outside the checkout. Its name is the file's, without `.yaml`.

    An image and its label map have the same `{id}`, which may contain `/`. A label map has one channel, or a palette whose
    indices are the values; or colours that mean classes (`encoding`). Which images a split has is said by folders (`{split}`
    in the patterns) or by lists (`listing`).
    """

    title: str  # what people call it
    folder: str = "."  # of the files, counted from this file; where there is none, below the data folder (--data)
    image: str  # path of an image, with {split} and {id}: images/{split}/{id}.jpg
    label: str  # path of its label map, with {split} and {id}: masks/{split}/{id}.png
    listing: str = ""  # path of a text file with the ids of a split, one per line: lists/{split}.txt
    splits: dict[SplitName, Positive | None] = Field(
        min_length=1
    )  # {name: images that it must have, null where that is not published}
    folders: dict[str, str] = {}  # {split: what {split} stands for in paths} where that is not its name
    classes: tuple[ClassSpec, ...] = Field(min_length=1, max_length=_MAX_CLASSES)  # in the order of their training ids
    # what a pixel of a label map says: a class's value, or its colour
    encoding: Literal["values", "colours"] = "values"
    # what reads label files that are no pictures, file.py:NAME with a path counted from this file: a function from the path of a
    # label file to its values, integers [H, W]
    reader: str = ""
    # values (of `encoding: colours`, colours; none where absent) of pixels that count in no loss and no score
    ignore: tuple[RawValue | Colour, ...] = (IGNORE,)
    # what a value or colour is that stands neither in `classes` nor in `ignore`
    undeclared: Literal["error", "ignore"] = "error"
    mirror_pairs: tuple[tuple[str, str], ...] = ()  # classes that a horizontal flip exchanges: [[left arm, right arm]]
    licence: str = ""  # under which it may be used
    source: str = ""  # where it was got
    note: str = ""  # what a reader must know of it

    @field_validator("image", "label")
    @classmethod
    def _pattern(cls, pattern: str) -> str:
        _check_braces(pattern, "split", "id")
        start, _, end = pattern.partition("{id}")
        if (
            pattern.count("{id}") != 1
            or Path(pattern).is_absolute()
            or "/" in end
            or (start and not start.endswith("/"))
        ):
            raise ValueError(_FORM)
        return pattern

    @field_validator("ignore", mode="before")
    @classmethod
    def _values_or_colours(cls, items: Any) -> Any:
        """One error for an item that is neither, where a union of types would give one for each of them."""
        for item in items if isinstance(items, list | tuple) else ():
            numbers, largest = (item, 255) if isinstance(item, list | tuple) and len(item) == 3 else ((item,), 65535)
            if not all(type(number) is int and 0 <= number <= largest for number in numbers):
                raise ValueError(f"{item!r} is neither a value, 0 … 65535, nor a colour, [red, green, blue] of 0 … 255")
        return items

    @field_validator("reader")
    @classmethod
    def _reader(cls, name: str) -> str:
        if name and re.fullmatch(r".+\.py:[A-Za-z_]\w*", name) is None:
            raise ValueError("is a Python file and a function in it, such as my_labels.py:read_labels")
        return name

    @field_validator("listing")
    @classmethod
    def _listing(cls, pattern: str) -> str:
        _check_braces(pattern, "split")
        if pattern and "{split}" not in pattern:
            raise ValueError("is a path with {split}, counted from `folder`, such as lists/{split}.txt")
        return pattern

    @model_validator(mode="after")
    def _one_folder_or_list_per_split(self) -> Declaration:
        if not self.listing and len(self.splits) > 1:
            for key in ("image", "label"):
                if "{split}" not in getattr(self, key):
                    raise ValueError(f"'{key}' needs {{split}} where no 'listing' says which images a split has")
        return self

    def problems(self) -> Iterator[tuple[Path_, str]]:
        """(path, message) of what contradicts itself."""
        yield from self._of_other_encoding()
        names = [spec.name for spec in self.classes]
        meaning: dict[object, str] = dict.fromkeys(self._ignored(), "'ignore'")
        for number, spec in enumerate(self.classes):
            if spec.name in names[:number]:
                yield ("classes", number, "name"), f"two classes are called '{spec.name}'"
            for value in self._values(number):
                if value in meaning:
                    word, shown = ("colour", [*value]) if isinstance(value, tuple) else ("value", value)
                    given = [key for key in (f"{word}s", word) if getattr(spec, key, None) is not None]
                    message = f"the {word} {shown} means {meaning[value]} already; a {word} means one thing"
                    yield ("classes", number, *given[:1]), message
                meaning.setdefault(value, f"class '{spec.name}'")
        for number, pair in enumerate(self.mirror_pairs):
            for name in pair:
                if name not in names:
                    yield (
                        ("mirror_pairs", number),
                        f"unknown class '{name}'.{nearest(name, names, label='classes are')}",
                    )
        for split in self.folders:
            if split not in self.splits:
                yield ("folders", split), f"no such split.{nearest(split, self.splits, label='splits are')}"

    def _of_other_encoding(self) -> Iterator[tuple[Path_, str]]:
        """(path, message) of colours among values, of values among colours, and of classes without a colour."""
        by_colour = self.encoding == "colours"
        if by_colour and self.reader:
            yield ("reader",), "has no meaning with 'encoding: colours'; a reader gives values"
        for number, value in enumerate(self._ignored()):
            if isinstance(value, tuple) != by_colour:
                form = "colours, such as [[0, 0, 0]]" if by_colour else "numbers, such as [255]"
                yield ("ignore", number), f"with 'encoding: {self.encoding}' it lists {form}"
        for number, spec in enumerate(self.classes):
            other = "values" if by_colour else "colours"
            if getattr(spec, other) is not None:
                yield ("classes", number, other), f"has no meaning with 'encoding: {self.encoding}'"
            if by_colour and spec.colour is None and spec.colours is None:
                yield ("classes", number), f"class '{spec.name}' needs its colour: colour: [red, green, blue]"

    def _ignored(self) -> tuple[int | Colour, ...]:
        return () if self.encoding == "colours" and "ignore" not in self.model_fields_set else self.ignore

    def _values(self, number: int) -> tuple[int | Colour, ...]:
        """What means a class in label files."""
        spec = self.classes[number]
        if self.encoding == "colours":
            return spec.colours if spec.colours is not None else (spec.colour,) if spec.colour is not None else ()
        return (number,) if spec.values is None else spec.values

    def dataset(self, file: Path) -> Dataset:
        """The dataset that the file at `file` declares."""
        colours = distinct(len(self.classes))
        names = [spec.name for spec in self.classes]
        labels = {_code(value): k for k in range(len(names)) for value in self._values(k)}
        labels |= {_code(value): IGNORE for value in self._ignored()}
        by_colour = self.encoding == "colours"
        layout = Layout(
            "declared",
            self.image,
            self.label,
            labels,
            self.folders,
            self.listing,
            annotations=_COLOURS if by_colour else beside(self.reader, file.parent),
            colours=by_colour,
            undeclared=self.undeclared,
        )
        return Dataset(
            name=file.stem,
            title=self.title,
            classes=tuple(names),
            palette=tuple(
                spec.colour or (spec.colours or colours[k : k + 1])[0] for k, spec in enumerate(self.classes)
            ),
            splits=self.splits,
            layouts=(layout,),
            folder=file.stem,
            place=str(file.parent / Path(self.folder).expanduser()),
            licence=self.licence,
            source=self.source or str(file),
            note=self.note,
            mirror_pairs=tuple((names.index(a), names.index(b)) for a, b in self.mirror_pairs),
        )


def _code(value: int | Colour) -> int:
    """A raw value as a layout has it: of a colour, 0xRRGGBB."""
    return int.from_bytes(value, "big") if isinstance(value, tuple) else value


def _check_braces(pattern: str, *names: str) -> None:
    """ValueError unless only these names stand in braces."""
    allowed = " and ".join(f"{{{name}}}" for name in names)
    try:
        parts = [*string.Formatter().parse(pattern)]
    except ValueError as error:
        raise ValueError(f"{error}; only {allowed} are filled in") from None
    for _, name, form, conversion in parts:
        if name is not None and (name not in names or form or conversion):
            raise ValueError(f"only {allowed} are filled in, not {{{name}}}")


def declaration(document: Document) -> Declaration:
    """The declaration in a YAML file; Problems with everything that is wrong in it."""
    if not isinstance(document.data, dict):
        raise Problems(
            [document.problem((), "a dataset's file is a mapping: title, folder, image, label, splits, classes")]
        )
    spec: Declaration = validate(document, document.data, Declaration)
    problems = [document.problem(path, message) for path, message in spec.problems()]
    if problems:
        raise Problems(problems)
    return spec


def read_dataset(file: Path, original: Path) -> Dataset:
    """The dataset that a YAML file declares; `original`: where the file lies, which its folder is counted from. Problems with
    everything that is wrong in it."""
    return declaration(read(file)).dataset(original)
