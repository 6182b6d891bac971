"""A published table as a file: its rows, columns, published values and claims, and every error such a file can have.

    paper: idrnet
    table: 5
    title: Complexity of context modules
    defaults: {num_classes: 150, input: [[1, 2048, 128, 128]]}
    columns:
      flops: {label: FLOPs, metric: flops, convention: mmcv-hooks}
    rows:
      ppm: {label: PPM, method: pspnet, module: {name: ppm, evidence: confirmed}}
    published:
      source: {arxiv: "2310.10755", table: 5}
      values:
        ppm: {flops: 309.45}

Everything that is wrong is reported at once, with its line and the nearest valid name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from harness.recipes.profile import ModelChanges
from harness.spec import Positive, Spec
from harness.table.cell import Cell, ResolvedColumn, ResolvedRow, resolve_cell, resolve_column, resolve_row
from harness.yamlfile import Number

_PRINTED = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)")
_LONGEST = 20  # characters of a printed number

Evidence = Literal["confirmed", "inferred", "fitted"]
Statistic = Literal["single", "best", "median", "mean", "unknown"]
Rounding = Literal["round", "truncate"]


def _method_forms(schema: dict[str, Any]) -> None:
    """The three ways to write a method: its name; its name among its options; its name, and its options apart."""
    apart, about = {**schema, "required": ["name", "options"]}, schema["description"]
    among = {**schema, "additionalProperties": True, "not": {"required": ["options"]}}
    among["properties"] = {"name": schema["properties"]["name"]}
    schema.clear()
    schema |= {"title": "MethodRef", "description": about, "anyOf": [{"type": "string"}, apart, among]}


class MethodRef(Spec):
    """A method and its options: `pspnet`, or `{name: idrnet, context: none}`."""

    model_config = ConfigDict(json_schema_extra=_method_forms)

    name: str  # as `python -m harness list methods` prints it, or path/to/file.py:name, counted from the table
    options: dict[str, Any] = {}  # what its function takes; also written beside the name

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "name" in value and "options" not in value:
            return {"name": value["name"], "options": {k: v for k, v in value.items() if k != "name"}}
        return value


class ModuleRef(Spec):
    """The context module whose complexity a row states, and how well it is established that the paper measured it."""

    name: str  # as `python -m harness list contexts` prints it
    options: dict[str, Any] = {}  # what its class or function takes
    evidence: Evidence = "confirmed"  # `fitted`: reconstructed to meet the published counts, which is then no evidence
    note: str = ""  # why the evidence is what it is


Shape = Annotated[tuple[Positive, ...], Field(min_length=4, max_length=4)]
Shapes = Annotated[tuple[Shape, ...], Field(min_length=1)]  # one image, or one or more feature maps: [B, C, H, W] each


class Column(Spec):
    """One measured quantity. `on_request`: shown when measured, but run only when `--columns` names it.

    `tested_on`: another dataset with the same classes as the recipe's, on which its trainings are tested; `test`: what
    of the recipe's test protocol differs there.
    """

    label: str = ""  # heading, as printed; its key where absent
    metric: str | None = None  # as `python -m harness list metrics` prints it; else the table's
    recipe: str | None = None  # PAPER/ENTRY
    input: Shapes | None = None  # what is counted or timed: [batch, channels, height, width] of each input
    convention: str | None = None  # how operations are counted: `python -m harness list conventions`
    relative_to: str | None = None  # row whose value is 1: the column then shows ratios
    on_request: bool = False  # run only when --columns names it
    train_split: str | None = None  # as the paper says; must be the recipe's
    split: str | None = None  # tested split, as the paper says; must be the recipe's
    protocol: str | None = None  # how the paper tests, in words
    tested_on: str | None = None  # another dataset with the same classes, on which the recipe's trainings are tested
    test: dict[str, Any] = {}  # what of the recipe's test protocol differs
    statistic: Statistic | None = None  # what the printed number is of several runs, if the paper says so
    runs: int | None = Field(None, gt=1)  # how many a `mean` or `median` is of, where it differs from the table's
    of: int | None = Field(None, gt=1)  # how many a `best` value is the best of, where it differs from the table's
    note: str = ""  # printed below the table


class CellSpec(Spec):
    """What one cell does differently from its row and column: released configurations often differ between datasets.

    `awaits`: why there is nothing to run in this cell.
    """

    options: dict[str, Any] = {}  # laid over the options of the row's method
    recipe: str | None = None  # instead of the column's
    checkpoint: str | None = None  # instead of the row's
    awaits: str | None = None  # why nothing can be run here


class Row(Spec):
    """One line of the table. `cited`: quoted from there, never run; `quoted_from`: quoted, and run all the same; `awaits`: why
    there is no method for it yet.

    `evidence`: how well it is established that this method is what the paper counted, where no module says so.
    `checkpoint`: file of weights (python -m harness weights import) that is tested as it is, so that nothing is trained;
    relative to the table file, with the column's key for `{column}`.
    """

    label: str = ""  # as printed; its key where absent
    group: str = ""  # heading above the rows that share it
    method: MethodRef | None = None  # what is trained and tested
    module: ModuleRef | None = None  # what is counted and timed where a column's input is feature maps
    model: ModelChanges = ModelChanges()  # what differs from the table's defaults
    cited: str | None = None  # the paper that the row is quoted from, and why it cannot be run here; it is never run
    quoted_from: str | None = None  # the paper that the row's printed numbers are quoted from, of a row that can be run
    awaits: str | None = None  # why there is no method for it yet
    checkpoint: str | None = None  # file of weights that is tested as it is; `{column}` is the column's key
    cells: dict[str, CellSpec] = {}  # {column: what differs there}
    compared_with: str | None = None  # row whose published values this one is held against
    descriptors: dict[str, str] = {}  # what the table prints of the row besides its label and its numbers
    system: str | None = None  # one name for what several tables quote, where label and backbone do not tell
    rounding: Rounding | None = None  # of this row's counts, where it differs from the table's
    input: Shapes | None = None  # of this row's counts, where it differs from the column's
    convention: str | None = None  # by which this row is counted, where it differs from the column's
    # how well it is established that the paper counted this method as it is built here, where no `module` says it
    evidence: Evidence | None = None
    statistic: Statistic | None = None  # what this row's scores are of several runs, where it differs from the column's
    runs: int | None = Field(None, gt=1)  # how many a `mean` or `median` is of, where it differs from the column's
    of: int | None = Field(None, gt=1)  # how many a `best` value is the best of, where it differs from the column's
    extra: bool = False  # not in the paper's table; added here, printed below the paper's rows
    notes: tuple[str, ...] = ()  # one text, or several; printed below the table

    @property
    def quoted(self) -> str | None:
        """Where the paper quotes the row's numbers from, whether or not the row can be run here; None for its own."""
        return self.cited if self.cited is not None else self.quoted_from

    @field_validator("notes", mode="before", json_schema_input_type=str | tuple[str, ...])
    @classmethod
    def _one_note(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Source(Spec):
    """Where the published values were read; `name` is what people call the paper."""

    name: str | None = None  # what people call the paper
    arxiv: str | None = None  # its number, in quotes: "2310.10755"
    doi: str | None = None  # where it has one
    table: int | str | None = None  # number there
    venue: str | None = None  # such as NeurIPS 2023


def _value_forms(schema: dict[str, Any]) -> None:
    """A number, or a mapping with one; the digits as text come from how it is written."""
    about, inner = schema["description"], {**schema, "required": ["value"]}
    schema.clear()
    schema |= {"title": "Value", "description": about, "anyOf": [{"type": "number"}, inner]}


class Value(Spec):
    """One published number as printed. `text` keeps its digits: 79.40 has two decimals. `bound`: printed as `>150`."""

    model_config = ConfigDict(json_schema_extra=_value_forms)

    value: float  # the number itself
    text: str  # its digits; taken from how the value is written
    bound: Literal["", ">", "<"] = ""  # where the paper prints one
    gain: float | None = None  # the `(+x)` printed beside it
    gain_text: str = ""  # its digits; taken from how the gain is written

    @model_validator(mode="before")
    @classmethod
    def _from_scalar(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            inner, gain = value.get("value"), value.get("gain")
            texts = {"text": getattr(inner, "text", str(inner))}
            texts |= {"gain_text": getattr(gain, "text", str(gain))} if gain is not None else {}
            return {**texts, **value}
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{value!r} is not a number; leave the cell out where the paper prints none")
        return {"value": value, "text": value.text if isinstance(value, Number) else str(value)}

    @model_validator(mode="after")
    def _digits(self) -> Value:
        gain = [("gain", self.gain, self.gain_text)] if self.gain is not None else []
        for name, number, text in [("value", self.value, self.text), *gain]:
            if not _PRINTED.fullmatch(text) or len(text) > _LONGEST or float(text) != number:
                shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
                raise ValueError(f"'{name}' is '{shown}', which is no number as a paper prints it, like 79.40")
        return self

    @property
    def decimals(self) -> int:
        return len(self.text.partition(".")[2])

    @property
    def printed(self) -> str:
        return self.bound + self.text


class Published(Spec):
    """The values a paper prints, and how it says they were obtained."""

    source: Source = Source()
    statistic: Statistic = "unknown"  # what a number is of several runs
    runs: int | None = Field(None, gt=1)  # how many a `mean` or `median` is of, where the paper says it
    of: int | None = Field(None, gt=1)  # how many a `best` value is the best of, where the paper says it
    rounding: Rounding = "round"  # how counts were cut to the printed decimals
    protocol: str | None = None  # how the paper tests, in words
    values: dict[str, dict[str, Value]] = {}  # {row: {column: number}}; left out where the paper prints none


class Claim(Spec):
    """What the paper concludes: `better` beats `than` on these columns (by at least `by`); or, of an ablation, that each
    row of `monotone` beats the one before it."""

    better: str | None = None  # row
    than: str | None = None  # row
    monotone: Annotated[tuple[str, ...], Field(min_length=3)] | None = None  # rows, from the worst to the best
    on: Literal["all"] | tuple[str, ...] = "all"  # columns
    by: float | None = None  # at least so many points

    @model_validator(mode="after")
    def _one_kind(self) -> Claim:
        pair = self.better is not None and self.than is not None
        if (self.monotone is None and not pair) or (self.monotone is not None and {self.better, self.than} != {None}):
            raise ValueError("a claim says either better and than, or monotone")
        if self.monotone is not None and (self.by is not None or len(set(self.monotone)) < len(self.monotone)):
            raise ValueError("monotone names each row once, from the worst to the best, and goes without 'by'")
        return self

    @property
    def steps(self) -> tuple[tuple[str, str], ...]:
        """The comparisons it consists of: (better row, worse row)."""
        if self.monotone is not None:
            return tuple(zip(self.monotone[1:], self.monotone))
        return ((str(self.better), str(self.than)),)

    @property
    def rows(self) -> tuple[str, ...]:
        return self.monotone or (str(self.better), str(self.than))


class Defaults(Spec):
    """Defaults of all rows and columns."""

    backbone: str | None = None  # such as resnet50_v1c, or timm/NAME
    output_stride: int | None = Field(None, gt=0)  # 8, 16 or 32, of a backbone that has a choice
    num_classes: int | None = Field(None, gt=0)  # where no recipe names a dataset
    input: Shapes | None = None  # what is counted or timed: [batch, channels, height, width] of each input
    recipe: str | None = None  # PAPER/ENTRY
    metric: str | None = None  # as `python -m harness list metrics` prints it


class Table(Spec):
    """A table file. `id` is the file's stem (`idrnet_table2`) and `path` where it was read.

    `descriptors`: headings of the columns before the numbers in the paper's order, `label` being the row's label.
    """

    id: SkipJsonSchema[str]
    path: SkipJsonSchema[str]
    paper: str  # short name, as in tables/papers/PAPER.yaml
    table: int | str | None = None  # its number there
    title: str  # as printed, or shortened
    metric: str | None = None  # of every column that names none
    about: str = ""  # printed above the table
    defaults: Defaults = Defaults()
    descriptors: dict[str, str] = {}  # {name: heading} of the columns before the numbers
    columns: dict[str, Column] = Field(min_length=1)  # {key: column}, in the printed order
    rows: dict[str, Row] = Field(min_length=1)  # {key: row}, in the printed order
    published: Published = Published()
    claims: tuple[Claim, ...] = ()  # what the paper concludes
    incomplete_data: dict[str, str] = {}  # {dataset: why its numbers may be judged although images are missing}
    notes: tuple[str, ...] = ()  # printed below the table

    @property
    def name(self) -> str:
        """The table's display name: `IDRNet, Table 2`; its id where the paper gives it no number."""
        paper = self.published.source.name or self.paper
        return f"{paper}, Table {self.table}" if self.table is not None else self.id

    def row(self, key: str) -> ResolvedRow:
        return resolve_row(self, key)

    def column(self, key: str) -> ResolvedColumn:
        return resolve_column(self, key)

    def cell(self, row: str, column: str) -> Cell:
        return resolve_cell(self, row, column)

    def cells(self) -> Iterator[Cell]:
        """Every cell, row by row, with all defaults filled in."""
        for row in self.rows:
            for column in self.columns:
                yield self.cell(row, column)
