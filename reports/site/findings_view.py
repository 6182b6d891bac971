"""Audit findings with links to the cells, rows and tables that they name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.plan.planner import PlannedCell
from harness.text import line
from reports.audit.corpus import Finding
from reports.audit.systems import place
from reports.site.names import file_name

Parts = list[tuple[str, str]]  # (text, page that it leads to or "")


@dataclass(frozen=True)
class _Place:
    href: str
    cell: str = ""  # TABLE/ROW/COLUMN, where the place is one cell


class Places:
    """The pages of all places that findings name: `hfgd, Table 5, row SFPN, mIoU`."""

    def __init__(self, cells: Sequence[PlannedCell]) -> None:
        places: dict[str, _Place] = {}
        for planned in cells:
            table, row, column = planned.table, planned.row, planned.column
            href = f"tables/{file_name(table.id)}"
            # a table's own name last: its rows' and cells' names begin with it
            places.setdefault(place(table), _Place(href))
            places.setdefault(place(table, row), _Place(href))
            places.setdefault(
                place(table, row, column), _Place(f"cells/{file_name(table.id, row, column)}", planned.name)
            )
        self._places = {line(text): there for text, there in places.items()}
        ordered = sorted(self._places, key=len, reverse=True)
        # not inside a longer number or word: "Table 1" is no part of "Table 13"
        self._pattern = re.compile("|".join(rf"{re.escape(text)}(?!\w)" for text in ordered) or r"(?!)")

    def parts(self, text: str) -> Parts:
        """The text in pieces, each with the page (from the site's root) that it leads to."""
        text, pieces, end = line(text), [], 0
        for match in self._pattern.finditer(text):
            pieces += [(text[end : match.start()], "")] if match.start() > end else []
            pieces.append((match[0], self._places[match[0]].href))
            end = match.end()
        return [*pieces, (text[end:], "")] if end < len(text) or not pieces else pieces

    def cells(self, finding: Finding) -> Iterator[str]:
        """The cells that a finding names, as TABLE/ROW/COLUMN."""
        for text in (finding.where, finding.message):
            for match in self._pattern.finditer(line(text)):
                if self._places[match[0]].cell:
                    yield self._places[match[0]].cell

    def view(self, finding: Finding) -> dict[str, Any]:
        return {"rule": finding.rule, "where": self.parts(finding.where), "message": self.parts(finding.message)}


def by_cell(findings: Sequence[Finding], places: Places) -> Mapping[str, list[Finding]]:
    """{TABLE/ROW/COLUMN: the findings that name the cell}."""
    found: dict[str, dict[Finding, None]] = {}
    for finding in findings:
        for name in places.cells(finding):
            found.setdefault(name, {})[finding] = None
    return {name: list(about) for name, about in found.items()}
