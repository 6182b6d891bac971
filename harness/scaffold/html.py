"""Tables of an HTML page as grids; also of arXiv's pages, whose markup LaTeXML writes. lxml parses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.scaffold.grid import MAX_COLUMNS, Cell, Grid, Run, check_size, merged, without_covered_cells
from harness.scaffold.latex_cells import cell as latex_cell
from harness.scaffold.latex_cells import missing
from harness.scaffold.source import read_text

_BOLD, _UNDERLINED = {"b", "strong"}, {"u", "ins"}
_UNPRINTED = {"script", "style", "annotation", "annotation-xml", "template", "noscript"}
_NUMBER = re.compile(r"Table\s*(\d+)", re.IGNORECASE)
_ARXIV = re.compile(r"(?:arxiv\.org)?/html/(\d{4}\.\d{4,5})", re.IGNORECASE)


def tables(path: Path) -> list[tuple[str, str]]:
    """(name, a line on it) of the tables of a page."""
    return [
        (name, f"{path.name}:{element.sourceline}  {_caption(element)[:70]}".rstrip())
        for name, element in _named(_page(path)).items()
    ]


def read(path: Path, name: str) -> Grid:
    """The table of this name (or number, `2` for Table 2); KeyError for an unknown one."""
    page = _page(path)
    table = _named(page)[name]
    where = f"{path}:{table.sourceline}"
    rows: list[list[Cell]] = []
    count, headings, head_is_over = 0, 0, False
    for row in _rows(table):
        elements = [element for element in row if _is_cell(element)]
        if not elements:
            continue
        count += len(elements)
        check_size(len(elements), count, where)
        rows.append([_cell(element, where) for element in elements])
        head_is_over = head_is_over or not _is_heading(row)
        headings += not head_is_over
    cells, remarks = without_covered_cells(rows, where)
    caption = _caption(table)
    number = _NUMBER.match(caption)
    base = " ".join(page.xpath("//base/@href | //link[@rel='canonical']/@href"))
    arxiv = _ARXIV.search(base)
    return Grid(
        name=name,
        cells=cells,
        headings=headings if headings < len(cells) else 0,
        caption=re.sub(r"^Table\s*\w+\s*[:.]?\s*", "", caption, flags=re.IGNORECASE),
        number=int(number[1]) if number and len(number[1]) < 5 else None,
        first_line=table.sourceline,
        last_line=max((c.line for row in cells for c in row), default=table.sourceline),
        arxiv=arxiv[1] if arxiv else None,
        remarks=remarks,
    )


def _page(path: Path) -> Any:
    try:
        from lxml import etree, html
    except ImportError:
        raise missing("lxml") from None
    try:
        page = html.document_fromstring(read_text(path).encode(), html.HTMLParser(encoding="utf-8", no_network=True))
    except (etree.LxmlError, ValueError) as error:
        raise UserError(f"{path}: cannot be parsed as HTML: {str(error).splitlines()[0]}") from None
    return page


def _classes(element: Any) -> set[str]:
    return set((element.get("class") or "").split())


def _is_table(element: Any) -> bool:
    classes = _classes(element)
    equation = any(c.startswith(("ltx_equation", "ltx_eqn")) for c in classes)
    return (element.tag == "table" and not equation) or (element.tag == "span" and "ltx_tabular" in classes)


def _named(page: Any) -> dict[str, Any]:
    """The tables that lie in no other: by the id of their figure, else by number in the page."""
    named: dict[str, Any] = {}
    for element in page.iter("table", "span"):
        if not _is_table(element) or any(_is_table(above) for above in element.iterancestors("table", "span")):
            continue
        figure = next((f for f in element.iterancestors("figure") if f.get("id")), None)
        name = (figure.get("id") if figure is not None else element.get("id")) or f"#{len(named) + 1}"
        while name in named:
            stem, _, count = name.partition("#")
            name = f"{stem}#{int(count or 1) + 1}"
        named[name] = element
    return named


def _caption(table: Any) -> str:
    """The caption of the table or of the innermost figure that has one."""
    found = table.findall("caption")
    for figure in table.iterancestors("figure"):
        found = found or figure.findall("figcaption")
    return " ".join(Cell(tuple(_runs(found[0], Run("")))).text.split()) if found else ""


def _rows(table: Any) -> Iterator[Any]:
    """Its own rows, not those of tables in its cells."""
    for element in table.iter():
        if not isinstance(element.tag, str) or not (element.tag == "tr" or "ltx_tr" in _classes(element)):
            continue
        if next((above for above in element.iterancestors() if _is_table(above)), None) is table:
            yield element


def _is_cell(element: Any) -> bool:
    return isinstance(element.tag, str) and (
        element.tag in ("td", "th") or bool({"ltx_td", "ltx_th"} & _classes(element))
    )


def _is_heading(row: Any) -> bool:
    """In a `thead`, or made of heading cells alone."""
    above = row.getparent()
    if above is not None and (above.tag == "thead" or "ltx_thead" in _classes(above)):
        return True
    cells = [element for element in row if _is_cell(element)]
    row_headings = any("ltx_th_row" in _classes(c) and "ltx_th_column" not in _classes(c) for c in cells)
    return all(c.tag == "th" or "ltx_th_column" in _classes(c) for c in cells) and not row_headings


def _span(element: Any, axis: str, where: str) -> int:
    text = element.get(f"{axis}span") or "1"
    found = re.search(rf"ltx_{axis}span_(\d+)", element.get("class") or "")
    text = found[1] if found and text == "1" else text.strip()
    if not text.isdecimal() or not 0 <= int(text[:6]) <= MAX_COLUMNS * 10 or len(text) > 6:
        raise UserError(
            f"{where.rpartition(':')[0]}:{element.sourceline}: {axis}span '{text[:20]}' is no span of a table"
        )
    return max(int(text), 1)


def _cell(element: Any, where: str) -> Cell:
    # the page's layout is no text: white space is one blank
    runs = [replace(run, text=re.sub(r"[ \t\r\n\f]+", " ", run.text)) for run in _runs(element, Run(""))]
    columns, rows = _span(element, "col", where), _span(element, "row", where)
    return Cell(merged(runs), element.sourceline, columns, rows)


def _runs(element: Any, style: Run) -> Iterator[Run]:
    """The text of an element in its styles. Formulas are read from their LaTeX, which stands beside them."""
    classes, tag = _classes(element), element.tag
    if tag in _UNPRINTED or classes & {"ltx_note_outer", "ltx_note_content", "ltx_ERROR"}:
        return
    if tag == "math" and element.get("alttext"):
        try:
            formula = latex_cell(f"${element.get('alttext')}$")
        except UserError:
            formula = Cell((Run(" ".join(element.itertext("mi", "mn", "mo", "mtext"))),))
        for run in formula.runs:
            yield replace(run, script=style.script or run.script, bold=style.bold or run.bold)
        return
    style = replace(
        style,
        bold=style.bold or tag in _BOLD or "ltx_font_bold" in classes,
        underlined=style.underlined or tag in _UNDERLINED or bool(classes & {"ltx_framed_underline", "ltx_ulem_uline"}),
        script="sup" if tag in ("sup", "msup") else "sub" if tag in ("sub", "msub") else style.script,
    )
    if tag == "br":
        yield replace(style, text=" ")
    if element.text:
        yield replace(style, text=element.text)
    for child in element:
        if isinstance(child.tag, str):
            yield from _runs(child, style)
            if child.tag in ("tr", "td", "th", "p", "div", "li") or _classes(child) & {"ltx_tr", "ltx_td", "ltx_p"}:
                yield replace(style, text=" ")
        if child.tail:
            yield replace(style, text=child.tail)
