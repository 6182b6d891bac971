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

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.recipes.profile import ModelChanges
from harness.spec import Positive, Spec
from harness.table.metrics import METRICS, Metric
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
    """One quantity. `on_request`: shown when measured, but run only when `--columns` names it.

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
    relative to the table file, with the column's key for `{column}`. `input`, `convention`: of this row's counts, where they
    differ from the column's. `evidence`: how well it is established that the paper counted this method as it is built here,
    where no `module` says it.
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
    input: Shapes | None = None
    convention: str | None = None
    evidence: Evidence | None = None
    extra: bool = False  # not in the paper's table; ours, printed below it
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
    """The values a paper prints, and what it says of how they came about."""

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
    """What holds for every row or column that does not say otherwise."""

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
        """What a person calls the table: `IDRNet, Table 2`; its id where the paper gives it no number."""
        paper = self.published.source.name or self.paper
        return f"{paper}, Table {self.table}" if self.table is not None else self.id

    def metric_of(self, column: str) -> Metric:
        """What a column shows; validated on load."""
        return METRICS[self.columns[column].metric or self.metric or self.defaults.metric or ""]

    def recipe_of(self, column: str, row: str | None = None) -> str | None:
        """The recipe of a column, or of a row's cell in it."""
        cell = self.rows[row].cells.get(column) if row is not None else None
        return (cell.recipe if cell is not None else None) or self.columns[column].recipe or self.defaults.recipe

    def checkpoint_of(self, row: str, column: str) -> Path | None:
        """The file of weights that a cell tests instead of training, if it names one."""
        spec = self.rows[row]
        cell = spec.cells.get(column)
        own = cell.checkpoint if cell is not None else None
        named = own or (spec.checkpoint.replace("{column}", column) if spec.checkpoint else None)
        return Path(os.path.abspath(Path(self.path).parent / Path(named).expanduser())) if named else None

    def input_of(self, column: str, row: str | None = None) -> Shapes | None:
        """What a column counts at, or a row's cell in it."""
        own = self.rows[row].input if row is not None else None
        return own or self.columns[column].input or self.defaults.input

    def convention_of(self, column: str, row: str | None = None) -> str:
        """How a column counts, or a row's cell in it."""
        own = self.rows[row].convention if row is not None else None
        return own or self.columns[column].convention or ""

    def name_of(self, row: str) -> str:
        """The row's label, with what else the table prints of it where another row has the same label."""
        label = self.rows[row].label or row
        if sum((spec.label or key) == label for key, spec in self.rows.items()) < 2:
            return label
        spec = self.rows[row]
        told = [text for name in self.descriptors if (text := spec.descriptors.get(name))] or [spec.group]
        return " · ".join(part for part in (label, *told) if part)

    def rounding_of(self, row: str) -> Rounding:
        """How the paper cuts the counts of a row to its decimals."""
        return self.rows[row].rounding or self.published.rounding

    def value_of(self, row: str, column: str) -> Value | None:
        """The published value a cell is compared with, if the paper prints one."""
        return self.published.values.get(self.rows[row].compared_with or row, {}).get(column)

    def provenance(self, row: str, column: str) -> dict[str, Any]:
        """Where a cell's published value comes from and how it is to be read; {} where the paper prints none."""
        value, metric = self.value_of(row, column), self.metric_of(column)
        if value is None:
            return {}
        module, spec = self.rows[row].module, self.columns[column]
        counted = metric.kind in ("complexity", "latency")
        evidence = module.evidence if module is not None else self.rows[row].evidence or ""
        return {
            "paper": self.paper,
            **{k: v for k, v in self.published.source.model_dump().items() if v is not None},
            "row": self.name_of(row),
            "column": spec.label or column,
            "printed": value.printed,
            "decimals": value.decimals,
            "statistic": "single" if metric.exact else spec.statistic or self.published.statistic,
            "split": spec.split or "",
            "protocol": spec.protocol or self.published.protocol or "",
            "unit": metric.unit,
            "convention": self.convention_of(column, row) if metric.kind == "complexity" else "",
            "rounding": self.rounding_of(row) if metric.exact else "round",
            "evidence": evidence if counted else "",
        }

    def options_of(self, row: str, column: str) -> dict[str, Any]:
        """Options of the row's method in this cell."""
        method, cell = self.rows[row].method, self.rows[row].cells.get(column)
        return {**(method.options if method is not None else {}), **(cell.options if cell is not None else {})}

    def cells(self) -> Iterator[tuple[str, str]]:
        for row in self.rows:
            for column in self.columns:
                yield row, column
