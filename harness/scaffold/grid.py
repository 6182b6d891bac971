"""Cells with spans as a rectangular grid, and remarks on what could not be read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from harness.errors import UserError
from harness.text import plural, printable

MAX_CELLS = 10_000  # a printed table has hundreds
MAX_COLUMNS = 200
_MARKS = frozenset("*†‡§¶⋆★♯#◦∘⊕")


@dataclass(frozen=True, order=True)
class Remark:
    """What a person should know of how a place was read. `line` counts from 1; 0 where there is none to name."""

    line: int
    text: str
    file: str = ""  # where it is not the file that was named

    def at(self, file: str) -> str:
        where = self.file or file
        return f"{where}:{self.line}: {self.text}" if self.line else f"{where}: {self.text}"


@dataclass(frozen=True)
class Run:
    """A piece of a cell's text in one style. `script`: `sub`, `sup` or ''."""

    text: str
    script: str = ""
    bold: bool = False
    underlined: bool = False


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell as printed; `columns` and `rows` are what it spans, `rows` negative where it counts upwards."""

    runs: tuple[Run, ...] = ()
    line: int = 0
    columns: int = 1
    rows: int = 1
    cites: tuple[str, ...] = ()  # keys of the citations in it
    file: str = ""  # where it is not the file that was named

    @property
    def text(self) -> str:
        """In one line; `M_mean`, `R^2`, but footnote marks without a sign."""
        parts: list[str] = []
        for run in self.runs:
            text = run.text.strip()
            plain = not run.script or not text or set(text) <= _MARKS or not parts
            parts.append(run.text if plain else f"{'_' if run.script == 'sub' else '^'}{text}")
        return printable(" ".join("".join(parts).split()))

    @property
    def bold(self) -> bool:
        return any(run.bold and not run.script and run.text.strip() for run in self.runs)

    @property
    def underlined(self) -> bool:
        return any(run.underlined and not run.script and run.text.strip() for run in self.runs)

    @property
    def blank(self) -> bool:
        return not self.cites and not any(run.text.strip() for run in self.runs)


def merged(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Neighbours in one style as one run."""
    found: list[Run] = []
    for run in runs:
        if found and replace(found[-1], text="") == replace(run, text=""):
            found[-1] = replace(run, text=found[-1].text + run.text)
        else:
            found.append(run)
    return tuple(found)


@dataclass
class Grid:
    """One printed table: rectangular `cells`, whose first `headings` rows are its heading (0: not told by rules or tags).

    A cell that spans several positions stands in each of them as the same object.
    """

    name: str
    cells: list[list[Cell]]
    headings: int = 0
    caption: str = ""
    number: int | None = None
    counted: bool = False  # the number is the table's place in the file, which prints none
    first_line: int = 0
    last_line: int = 0
    arxiv: str | None = None
    file: str = ""  # where it stands, if not in the file that was named
    remarks: list[Remark] = field(default_factory=list)

    @property
    def width(self) -> int:
        return len(self.cells[0]) if self.cells else 0

    def transposed(self) -> Grid:
        """Rows as columns; its first column becomes the heading."""
        cells = [[row[i] for row in self.cells] for i in range(self.width)]
        return replace(self, cells=cells, headings=1)


def check_size(columns: int, cells: int, where: str) -> None:
    """UserError for a table larger than any that is printed."""
    if columns > MAX_COLUMNS:
        raise UserError(f"{where}: {columns} columns; a printed table has at most {MAX_COLUMNS}")
    if cells > MAX_CELLS:
        raise UserError(f"{where}: {cells} cells; a printed table has at most {MAX_CELLS}")


def with_covered_cells(rows: Sequence[Sequence[Cell]], where: str) -> tuple[list[list[Cell]], list[Remark]]:
    """A rectangle of rows that hold the cells below a vertical span, empty (LaTeX). UserError where it is too large."""
    check_size(max((sum(cell.columns for cell in row) for row in rows), default=0), sum(map(len, rows)), where)
    cells = [[cell for cell in row for _ in range(cell.columns)] for row in rows]
    _pad(cells, where)
    remarks = []
    for r, row in enumerate(cells):
        for c, cell in enumerate(list(row)):
            if abs(cell.rows) <= 1 or not any(cell is placed for placed in rows[r]):
                continue
            step = 1 if cell.rows > 0 else -1
            for target in range(r + step, r + cell.rows, step):
                if not 0 <= target < len(cells):
                    remarks.append(Remark(cell.line, f"'{cell.text}' spans more rows than there are", cell.file))
                    break
                covered = cells[target][c]
                if not covered.blank:
                    text = f"'{covered.text}' stands where '{cell.text}' spans, and was kept"
                    remarks.append(Remark(covered.line, text, covered.file))
                else:
                    cells[target][c] = cell
    return cells, remarks


def without_covered_cells(rows: Sequence[Sequence[Cell]], where: str) -> tuple[list[list[Cell]], list[Remark]]:
    """A rectangle of rows that leave out the cells below a vertical span (HTML). UserError where it is too large."""
    spanned = sum(min(cell.columns, MAX_CELLS) for row in rows for cell in row)
    check_size(max((sum(cell.columns for cell in row) for row in rows), default=0), spanned, where)
    cells: list[list[Cell]] = []
    hanging: dict[int, tuple[Cell, int]] = {}  # {column: (cell from above, rows it still covers)}
    for row in rows:
        placed: dict[int, Cell] = {}
        following = {c: (cell, left - 1) for c, (cell, left) in hanging.items() if left > 1}
        placed |= {c: cell for c, (cell, _) in hanging.items()}
        column = 0
        for cell in row:
            while column in placed:
                column += 1
            for c in range(column, column + cell.columns):
                placed[c] = cell
                if cell.rows > 1:
                    following[c] = (cell, cell.rows - 1)
            column += cell.columns
        check_size(len(placed), sum(map(len, cells)) + len(placed), where)
        cells.append([placed.get(c, Cell(line=row[0].line if row else 0)) for c in range(max(placed, default=-1) + 1)])
        hanging = following
    _pad(cells, where)
    over = {id(cell): cell for cell, _ in hanging.values()}
    return cells, [Remark(cell.line, f"'{cell.text}' spans more rows than there are") for cell in over.values()]


def _pad(cells: list[list[Cell]], where: str) -> None:
    width = max(map(len, cells), default=0)
    check_size(width, width * len(cells), where)
    for row in cells:
        row += [Cell(line=row[0].line if row else 0) for _ in range(width - len(row))]


def words(cells: Iterable[Cell]) -> list[str]:
    """The texts of a heading from the top, a cell that spans several rows once."""
    seen: list[Cell] = []
    for cell in cells:
        if not cell.blank and all(cell is not other for other in seen):
            seen.append(cell)
    return [cell.text for cell in seen if cell.text]


def describe(grid: Grid) -> str:
    """A line that tells a table from others: name, place, size, caption."""
    caption = re.sub(r"\s+", " ", grid.caption)
    size = f"{plural(len(grid.cells), 'row')} × {plural(grid.width, 'column')}"
    return f"{grid.name}  line {grid.first_line}, {size}  {caption[:60]}".rstrip()
