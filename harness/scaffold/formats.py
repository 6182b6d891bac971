"""The tables of a file, whatever its format, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness.errors import UserError, nearest
from harness.scaffold import html, latex, plain
from harness.scaffold.grid import Grid
from harness.scaffold.source import read_text

_T = TypeVar("_T")


@dataclass(frozen=True)
class Format:
    """How a format's tables are listed, (name, a line on it), and one of them is read."""

    tables: Callable[[Path], list[tuple[str, str]]]
    read: Callable[[Path, str], Grid]


_LATEX, _HTML = Format(latex.tables, latex.read), Format(html.tables, html.read)
_MARKDOWN, _CSV = Format(plain.markdown_tables, plain.read_markdown), Format(plain.csv_tables, plain.read_csv)
_FORMATS = {".tex": _LATEX, ".ltx": _LATEX, ".html": _HTML, ".htm": _HTML, ".xhtml": _HTML, ".md": _MARKDOWN}
_FORMATS |= {".markdown": _MARKDOWN, ".csv": _CSV, ".tsv": _CSV}


def tables(path: Path) -> list[tuple[str, str]]:
    """(name, a line on it) of the tables of a file; UserError where it cannot be read."""
    return _guarded(path, lambda: _format(path).tables(path))


def read(path: Path, label: str | None) -> Grid | None:
    """The table called `label` (its label, id or number), the only one of the file where that is None; None where several
    could be meant. UserError where there is none."""
    found = tables(path)
    names = [name for name, _ in found]
    if not found:
        raise UserError(f"{path}: no table in it; read are LaTeX's tabular, HTML's table, Markdown's pipes and CSV")
    name = names[0] if label is None and len(found) == 1 else label
    if name is None:
        return None
    if name not in names:
        matches = [
            n for n in names if n.removeprefix("#") == name or n.rpartition("#")[0] == name or n.endswith(f".T{name}")
        ]
        if len(matches) > 1:
            raise UserError(f"{path}: '{name}' are several tables: {', '.join(matches)}; say --label {matches[0]}")
        if not matches:
            raise UserError(f"{path}: no table '{name}'.{nearest(name, names, label='tables are')}")
        name = matches[0]
    chosen = name
    return _guarded(path, lambda: _format(path).read(path, chosen))


def _format(path: Path) -> Format:
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        known = ", ".join(_FORMATS)
        raise UserError(f"{path}: '{path.suffix or path.name}' is no format of tables; known are {known}")
    if form is _MARKDOWN and path.is_file() and not plain.markdown_tables(path) and "<table" in read_text(path).lower():
        return _HTML  # Markdown may hold HTML
    return form


def _guarded(path: Path, read: Callable[[], _T]) -> _T:
    """What `read` returns; what is nested deeper than any table is an error of the file."""
    try:
        return read()
    except RecursionError:
        raise UserError(f"{path}: nested deeper than any table") from None
