"""What a paper says outside its tables, as data: statements, facts, citations, and what others print of the same runs.

    tables/papers/PAPER.yaml    one file per paper, named as `paper:` in its tables
    tables/papers/names.yaml    spellings of one method or backbone

A statement quotes the paper, or says in other words what it says; whether it is true is computed (`reports.audit.formula`),
never written down. Facts, settings and `where` are always in our words; what stands between “ ” anywhere is a quote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from harness import SHIPPED, yamlfile
from harness.spec import Spec
from harness.text import shorten
from harness.yamlfile import Number, read

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
FOLDER = SHIPPED / "tables" / "papers"
_Digits = str | int | float
"""What a file may say where digits are kept as they are printed."""
_NumberText = Annotated[str, Field(pattern=f"^{_NUMBER.pattern}$", max_length=24)]
_PrintedNumber = _NumberText | int | float


def _text(value: Any) -> Any:
    """A number as it is written: 47.30 keeps its two decimals."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return value.text if isinstance(value, Number) else str(value)


class Statement(Spec):
    """One sentence of the paper and what it amounts to; at least one field below `where`.

    `quote`: verbatim, with ` … ` where words are left out; or `paraphrase`: in our words, and marked as such in findings.
    `number` (as printed) `is` a formula over cells, or each of several; `holds`: comparisons that it asserts;
    `significant`: differences that it calls significant; `only_on`: rows (globs) that it says exist on one dataset alone;
    `of_one_row`: numbers that it gives as one row's, by column; `best`: cells that it calls the state of the art.
    `reading`: what the words are taken to say where they can be taken otherwise; findings repeat it.
    """

    quote: str | None = None  # word for word, with … where words are left out
    paraphrase: str | None = None  # in our words
    where: str  # section or caption
    reading: str = ""  # what the words are taken to say, where they can be taken otherwise
    number: str | None = None  # as printed
    is_: tuple[str, ...] = Field((), alias="is")  # formulas over cells that the number should equal
    holds: tuple[str, ...] = ()  # comparisons that should be true
    significant: tuple[str, ...] = ()  # differences that should exceed what seeds explain
    only_on: dict[str, str] = {}  # {rows (a glob): the one dataset that they exist on}
    of_one_row: dict[str, _NumberText] = {}  # {column: number as printed}, all of which one row should have
    best: tuple[str, ...] = ()  # cells that nothing should surpass

    _digits = field_validator("number", mode="before", json_schema_input_type=_PrintedNumber | None)(_text)

    @field_validator("is_", "holds", "significant", "best", mode="before", json_schema_input_type=str | tuple[str, ...])
    @classmethod
    def _one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("of_one_row", mode="before", json_schema_input_type=dict[str, _PrintedNumber])
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return {k: _text(v) for k, v in value.items()} if isinstance(value, Mapping) else value

    @property
    def says(self) -> str:
        """The statement as findings show it."""
        said = f"“{self.quote}”" if self.quote is not None else f"in other words: {self.paraphrase}"
        return f"{said}, taken to say {self.reading}" if self.reading else said

    @model_validator(mode="after")
    def _something(self) -> Statement:
        if (self.quote is None) == (self.paraphrase is None):
            raise ValueError("a statement is either a 'quote', word for word, or a 'paraphrase'")
        if self.number is not None and (not _NUMBER.fullmatch(self.number) or len(self.number) > 24):
            raise ValueError(f"'{shorten(self.number, 24)}' is not a number as printed, like 3.60")
        if (self.number is None) != (not self.is_):
            raise ValueError("'number' and 'is' go together")
        if not (self.is_ or self.holds or self.significant or self.only_on or self.of_one_row or self.best):
            raise ValueError("a statement needs one of 'is', 'holds', 'significant', 'only_on', 'of_one_row', 'best'")
        return self


class Fact(Spec):
    """Something the paper (or what was released with it) states: `what` of `about` is `value`.

    `trivial`: a slip of notation, from which nothing follows.
    """

    about: str  # dataset, method or row
    what: str  # quantity
    value: str
    where: str  # section, table or repository
    trivial: bool = False  # a slip from which nothing follows

    _digits = field_validator("value", mode="before", json_schema_input_type=_Digits)(_text)


class Citation(Spec):
    """A reference number beside a name, outside the labels of the tables."""

    name: str  # method
    number: int  # in the list of references
    where: str  # section or table


class ExternalValue(Spec):
    """What another source prints for a cell: `value`, on `dataset` if that is another, with `details` of the same row."""

    cell: str  # TABLE/ROW/COLUMN
    value: _NumberText  # as printed
    where: str  # the other source
    dataset: str | None = None  # if that is another than the cell's
    details: dict[str, str] = {}  # what else the source prints of the same row

    _digits = field_validator("value", mode="before", json_schema_input_type=_PrintedNumber)(_text)

    @field_validator("details", mode="before", json_schema_input_type=dict[str, _Digits])
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return {k: _text(v) for k, v in value.items()} if isinstance(value, Mapping) else value


class Recount(Spec):
    """A cell counted again in the printed unit, under several readings; the first is the column's own convention."""

    cell: str  # TABLE/ROW/COLUMN
    counts: dict[str, float] = Field(min_length=1)  # {reading: count}


class Paper(Spec):
    """Everything a paper file says. `settings`: what training and testing need, null where the paper does not say it.

    `follows`: papers whose numbers were known when this one's text was written, so that it can be held against them.
    `method`: the method's name here, where text and release differ in its options (`methods/METHOD/differences.py`).
    """

    title: str  # of the paper
    arxiv: str  # its number, in quotes: "2310.10755"
    follows: tuple[str, ...] = ()  # papers whose numbers were known when it was written
    method: str | None = None  # its method here, where text and release differ in options
    statements: tuple[Statement, ...] = ()  # sentences of its text
    facts: tuple[Fact, ...] = ()  # what it states of datasets, methods and settings
    citations: tuple[Citation, ...] = ()  # references beside names
    elsewhere: tuple[ExternalValue, ...] = ()  # what other sources print for cells of this paper
    recounts: tuple[Recount, ...] = ()  # counts under several readings
    settings: dict[str, str | None] = {}  # {setting: value}, null where the paper does not say it

    @field_validator("settings", mode="before", json_schema_input_type=dict[str, _Digits | None])
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return {k: _text(v) for k, v in value.items()} if isinstance(value, Mapping) else value


class Names(Spec):
    """`{canonical: [spellings]}` of methods and of backbones."""

    methods: dict[str, tuple[str, ...]] = {}  # {canonical name: other spellings}
    backbones: dict[str, tuple[str, ...]] = {}  # {canonical name: other spellings}


def papers(names: set[str], folder: Path = FOLDER) -> dict[str, Paper]:
    """The files of these papers; a paper without a file is left out. Problems with lines for a bad one."""
    found = {}
    for name in sorted(names):
        file = folder / f"{name}.yaml"
        if file.exists():
            document = read(file)
            found[name] = yamlfile.validate(document, document.data, Paper)
    return found


def spellings(folder: Path = FOLDER) -> Names:
    """The known spellings; none where there is no file."""
    file = folder / "names.yaml"
    if not file.exists():
        return Names()
    document = read(file)
    return yamlfile.validate(document, document.data, Names)
