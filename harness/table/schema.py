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

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.recipes.profile import ModelChanges
from harness.spec import Positive, Spec
from harness.table.cell import Cell, ResolvedColumn, ResolvedRow, resolve_cell, resolve_column, resolve_row
from harness.yamlfile import Number

Evidence = Literal["confirmed", "inferred", "fitted"]
Statistic = Literal["single", "best", "median", "mean", "unknown"]
Rounding = Literal["round", "truncate"]


class MethodRef(Spec):
    """A method and its options: `pspnet`, or `{name: idrnet, context: none}`."""

    name: str
    options: dict[str, Any] = {}

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

    name: str
    options: dict[str, Any] = {}
    evidence: Evidence = "confirmed"
    note: str = ""


Shape = Annotated[tuple[Positive, ...], Field(min_length=4, max_length=4)]
Shapes = Annotated[tuple[Shape, ...], Field(min_length=1)]  # one image, or one or more feature maps: [B, C, H, W] each


class Column(Spec):
    """One measured quantity. `on_request`: shown when measured, but run only when `--columns` names it.

    `tested_on`: another dataset with the same classes as the recipe's, on which its trainings are tested; `test`: what
    of the recipe's test protocol differs there.
    """

    label: str = ""
    metric: str | None = None
    recipe: str | None = None
    input: Shapes | None = None
    convention: str | None = None
    relative_to: str | None = None
    on_request: bool = False
    train_split: str | None = None
    split: str | None = None
    protocol: str | None = None
    tested_on: str | None = None
    test: dict[str, Any] = {}
    statistic: Statistic | None = None
    note: str = ""


class CellSpec(Spec):
    """What one cell does differently from its row and column: released configurations often differ between datasets.

    `awaits`: why there is nothing to run in this cell.
    """

    options: dict[str, Any] = {}
    recipe: str | None = None
    checkpoint: str | None = None
    awaits: str | None = None


class Row(Spec):
    """One line of the table. `cited`: quoted from there, never run; `awaits`: why there is no method for it yet.

    `checkpoint`: file of weights (python -m harness weights import) that is tested as it is, so that nothing is trained;
    relative to the table file, with the column's key for `{column}`.
    """

    label: str = ""
    group: str = ""
    method: MethodRef | None = None
    module: ModuleRef | None = None
    model: ModelChanges = ModelChanges()
    cited: str | None = None
    awaits: str | None = None
    checkpoint: str | None = None
    cells: dict[str, CellSpec] = {}
    compared_with: str | None = None
    descriptors: dict[str, str] = {}  # what the table prints of the row besides its label and its numbers
    system: str | None = None  # one name for what several tables quote, where label and backbone do not tell
    rounding: Rounding | None = None  # of this row's counts, where it differs from the table's
    extra: bool = False  # not in the paper's table; added here, printed below the paper's rows
    notes: tuple[str, ...] = ()

    @field_validator("notes", mode="before")
    @classmethod
    def _one_note(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Source(Spec):
    """Where the published values were read; `name` is what people call the paper."""

    name: str | None = None
    arxiv: str | None = None
    doi: str | None = None
    table: int | str | None = None
    venue: str | None = None


class Value(Spec):
    """One published number as printed. `text` keeps its digits: 79.40 has two decimals. `bound`: printed as `>150`."""

    value: float
    text: str
    bound: Literal["", ">", "<"] = ""
    gain: float | None = None  # the `(+x)` printed beside it
    gain_text: str = ""

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

    @property
    def decimals(self) -> int:
        return len(self.text.partition(".")[2])

    @property
    def printed(self) -> str:
        return self.bound + self.text


class Published(Spec):
    """The values a paper prints, and how it says they were obtained."""

    source: Source = Source()
    statistic: Statistic = "unknown"
    rounding: Rounding = "round"
    protocol: str | None = None
    values: dict[str, dict[str, Value]] = {}


class Claim(Spec):
    """What the paper concludes: `better` beats `than` on these columns (by at least `by`); or, of an ablation, that each
    row of `monotone` beats the one before it."""

    better: str | None = None
    than: str | None = None
    monotone: Annotated[tuple[str, ...], Field(min_length=3)] | None = None
    on: Literal["all"] | tuple[str, ...] = "all"
    by: float | None = None

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

    backbone: str | None = None
    output_stride: int | None = Field(None, gt=0)
    num_classes: int | None = Field(None, gt=0)
    input: Shapes | None = None
    recipe: str | None = None
    metric: str | None = None


class Table(Spec):
    """A table file. `id` is the file's stem (`idrnet_table2`) and `path` where it was read.

    `descriptors`: headings of the columns before the numbers in the paper's order, `label` being the row's label.
    """

    id: str
    path: str
    paper: str
    table: int | str | None = None
    title: str
    metric: str | None = None
    about: str = ""
    defaults: Defaults = Defaults()
    descriptors: dict[str, str] = {}
    columns: dict[str, Column] = Field(min_length=1)
    rows: dict[str, Row] = Field(min_length=1)
    published: Published = Published()
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()

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
