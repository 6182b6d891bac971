"""Tables of a LaTeX file as grids. pylatexenc parses; macros and comments are gone before (`source.py`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UserError
from harness.scaffold import source, tblr
from harness.scaffold.grid import MAX_CELLS, Grid, with_covered_cells
from harness.scaffold.latex_cells import Builder, inline, parse

_TABULARS = {"tabular", "tabular*", "tabularx", "tabulary", "longtable", "array", "tabu", "xltabular", "NiceTabular"}
_TABULARS |= tblr.ENVIRONMENTS
_FLOATS = {"table", "table*", "sidewaystable", "sidewaystable*", "wraptable", "longtable", "xltabular", "margintable"}
_FLOATS |= {"longtblr"}
_STEP = re.compile(r"\\(begin|end)\s*\{([^{}]*)\}|\\(label|caption\*?|captionof)(?![a-zA-Z])")


@dataclass
class _Environment:
    name: str
    start: int
    stop: int = 0  # after its \end
    parent: _Environment | None = None
    marks: list[tuple[str, int, str]] = field(default_factory=list)  # (label or caption, offset, text)
    number: int | None = None

    def ancestors(self) -> Iterator[_Environment]:
        at: _Environment | None = self
        while at is not None and at.name != "document":
            yield at
            at = at.parent


def tables(path: Path) -> list[tuple[str, str]]:
    """(name, a line on it) of the tables of a LaTeX file, in its order, without reading their cells."""
    text = source.load(path)
    return [(name, _about(text, t)) for name, t in _named(_tabulars(text)).items()]


def read(path: Path, name: str) -> Grid:
    """The table of this name; UserError where it cannot be parsed. KeyError for an unknown name."""
    text = source.load(path)
    tabular = _named(_tabulars(text))[name]
    file, line = text.place(tabular.start)
    where = f"{file or path}:{line}"
    tabularray = tabular.name in tblr.ENVIRONMENTS
    body = text.text[tabular.start : tabular.stop]
    if body.count("&") > MAX_CELLS:
        raise UserError(f"{where}: {body.count('&')} cells; a printed table has at most {MAX_CELLS}")
    builder = Builder(lambda offset: text.place(tabular.start + offset), path, tabularray=tabularray)
    builder.read(parse(body, where, lambda offset: text.line(tabular.start + offset), tabularray=tabularray))
    cells, remarks = with_covered_cells(builder.rows, where)
    caption = _nearest(tabular, "caption")
    return Grid(
        name=name,
        cells=cells,
        headings=builder.headings,
        caption=inline(caption) if caption else "",
        number=next((a.number for a in tabular.ancestors() if a.number is not None), None),
        counted=True,
        first_line=line,
        file=file,
        last_line=text.line(tabular.stop - 1),
        remarks=[*text.remarks, *builder.remarks, *remarks],
    )


def _about(text: source.Source, tabular: _Environment) -> str:
    file, line = text.place(tabular.start)
    caption = inline(_nearest(tabular, "caption") or "")
    return f"{file or text.path.name}:{line}  {caption[:70]}".rstrip()


def _named(tabulars: list[_Environment]) -> dict[str, _Environment]:
    """Tables by label; `#2` after it where several share one, `#2` alone for the second of all where there is none."""
    labels = [_nearest(tabular, "label") or "" for tabular in tabulars]
    named = {}
    for i, (label, tabular) in enumerate(zip(labels, tabulars)):
        shared = labels.count(label) > 1 and label
        named[f"{label}#{labels[: i + 1].count(label)}" if shared else label or f"#{i + 1}"] = tabular
    return named


def _nearest(tabular: _Environment, kind: str) -> str | None:
    """Label or caption of the innermost environment that has one, the nearest to the table there."""
    for environment in tabular.ancestors():
        found = [
            (min(abs(at - tabular.start), abs(at - tabular.stop)), text)
            for k, at, text in environment.marks
            if k == kind
        ]
        if found:
            return min(found)[1]
    return None


def _tabulars(text: source.Source) -> list[_Environment]:
    """Tables that lie in no other table, in order; UserError where one is never closed."""
    stack: list[_Environment] = []
    found: list[_Environment] = []
    count = 0
    for match in _STEP.finditer(text.text):
        kind, name, mark = match[1], (match[2] or "").strip(), match[3]
        if kind == "begin":
            stack.append(_Environment(name, match.start(), parent=stack[-1] if stack else None))
            if name in ("longtblr", "talltblr"):
                for option in tblr.options(source.bracketed(text.text, match.end())):
                    if option.key in ("caption", "label"):
                        content = option.value.removeprefix("{").removesuffix("}").strip()
                        stack[-1].marks.append((option.key, match.start(), content))
                        count += option.key == "caption"
                        stack[-1].number = count if option.key == "caption" else stack[-1].number
        elif kind == "end":
            while stack and any(e.name == name for e in stack):
                top = stack.pop()
                if top.name != name and top.name in _TABULARS | _FLOATS:
                    raise _unclosed(text, top)
                if top.name == name:
                    top.stop = match.end()
                    break
            else:
                continue
            if top.name in _TABULARS and not any(e.name in _TABULARS for e in stack):
                found.append(top)
        elif mark and stack:
            position = match.end()
            for _ in range(mark == "captionof"):
                _, position = source.braced(text.text, position)
            optional = re.compile(r"\s*\[[^\]]*\]").match(text.text, position)
            content, _ = source.braced(text.text, optional.end() if optional else position)
            label = mark == "label"
            stack[-1].marks.append(("label" if label else "caption", match.start(), content.strip()))
            floats = [e for e in stack if e.name in _FLOATS]
            if not label and floats and floats[0].number is None:
                count += 1
                floats[0].number = count
    unclosed = [e for e in stack if e.name in _TABULARS | _FLOATS]
    if unclosed:
        raise _unclosed(text, unclosed[0])
    return [
        tabular for tabular in found if tabular.name != "array" or _numbers(text.text[tabular.start : tabular.stop])
    ]


def _numbers(body: str) -> bool:
    """Whether an `array` holds a table: equations have no numbers in several cells."""
    return len(re.findall(r"\d+\.\d+", body)) > 2


def _unclosed(text: source.Source, environment: _Environment) -> UserError:
    file, line = text.place(environment.start)
    return UserError(f"{file or text.path}:{line}: \\begin{{{environment.name}}} has no \\end{{{environment.name}}}")
