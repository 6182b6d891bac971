"""What is audited, and what a rule says of it: all that rules know of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.table.schema import Table
from reports.audit.formula import Cells
from reports.audit.paper import Names, Paper
from reports.audit.systems import Printed, scores


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that does not fit: which rule, where in the papers, what. `tables`: ids of the tables it is about.

    `trivial`: nothing follows from it (a last digit, a reference number, a symbol); such findings come last.
    """

    rule: str
    where: str
    message: str
    tables: tuple[str, ...] = ()
    trivial: bool = False


@dataclass
class Subject:
    """What is audited: tables of one or more papers, and what the papers say outside them."""

    tables: Sequence[Table]
    papers: Mapping[str, Paper]
    names: Names

    @cached_property
    def scores(self) -> list[Printed]:
        """Every printed score of every table."""
        return [found for table in self.tables for found in scores(table, self.names)]

    def of(self, paper: str) -> list[Table]:
        return [table for table in self.tables if table.paper == paper]

    def cells(self, paper: str) -> Cells:
        """The paper's tables for formulas, `t9` being Table 9."""
        return Cells({f"t{table.table}": table for table in self.of(paper) if table.table is not None})
