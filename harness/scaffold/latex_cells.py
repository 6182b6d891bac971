"""What stands in the cells of a LaTeX table: nodes of pylatexenc as rows of cells with styles and spans."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from harness.errors import UserError
from harness.scaffold import latex_commands as commands
from harness.scaffold import tblr
from harness.scaffold.grid import MAX_COLUMNS, Cell, Remark, Run, merged


def parse(body: str, where: str, line: Callable[[int], int], *, tabularray: bool = False) -> Any:
    """The environment that `body` is, as pylatexenc's node; UserError where it is no LaTeX or the package is absent."""
    nodes = _nodes(commands.CMIDRULE.sub(lambda m: " " * len(m[0]), body), where, line, tabularray)
    if len(nodes) != 1:
        raise UserError(f"{where}: not one table")
    return nodes[0]


def inline(text: str) -> str:
    """A piece of LaTeX (a caption, a formula) as plain text in one line; its own characters where it cannot be parsed."""
    try:
        return cell(text).text
    except UserError:
        return " ".join(re.sub(r"\\[a-zA-Z]+|[{}$]", "", text).split())


def cell(text: str) -> Cell:
    """A piece of LaTeX as a cell; UserError where it cannot be parsed."""
    builder = Builder(lambda offset: ("", 0))
    builder.walk(_nodes(text, "text", lambda offset: 0), Run(""), top=False)
    return builder.finish()


def _nodes(text: str, where: str, line: Callable[[int], int], tabularray: bool = False) -> Any:
    try:
        from pylatexenc.latexwalker import LatexWalker, LatexWalkerParseError
    except ImportError:
        raise missing("pylatexenc") from None
    try:
        return LatexWalker(text, latex_context=_context(tabularray), tolerant_parsing=False).get_latex_nodes()[0]
    except LatexWalkerParseError as error:
        at = line(error.pos) if isinstance(error.pos, int) else 0
        message = str(error.msg).splitlines()[0]
        raise UserError(f"{where.rpartition(':')[0] or where}:{at}: cannot be parsed as LaTeX: {message}") from None


def missing(package: str) -> UserError:
    from harness.errors import MissingError

    return MissingError(
        f"reading this needs the package {package}: pip install 'segmentation-harness[scaffold]', or `make setup` in a checkout"
    )


@functools.cache
def _context(tabularray: bool) -> Any:
    from pylatexenc.latexwalker import get_default_latex_context_db
    from pylatexenc.macrospec import EnvironmentSpec, MacroSpec

    context = get_default_latex_context_db()
    macros = [MacroSpec(name, arguments) for name, (arguments, _) in commands.COMMANDS.items()]
    if tabularray:
        macros += [MacroSpec(name, arguments) for name, arguments in tblr.COMMANDS.items()]
    environments = [EnvironmentSpec(name, arguments) for name, arguments in commands.TABULAR_ARGUMENTS.items()]
    context.add_context_category("tables", macros=macros, environments=environments, prepend=True)
    return context


@functools.cache
def _symbol(name: str) -> str | None:
    """The character that a command without arguments prints; None for an unknown command."""
    from pylatexenc.latex2text import get_default_latex_context_db

    spec = get_default_latex_context_db().get_macro_spec(name)
    printed = spec.simplify_repl if spec is not None else None
    return printed if isinstance(printed, str) and "%" not in printed else None


class Builder:
    """Collects rows of cells from the nodes of one table."""

    def __init__(
        self, place: Callable[[int], tuple[str, int]], path: object = "text", *, tabularray: bool = False
    ) -> None:
        self.place, self.path, self.tabularray = place, path, tabularray
        self.covering: set[Cell] = set()  # cells with a span of \\SetCell
        self.bold: set[tuple[int | None, int | None]] = set()  # places that \\SetRow and its kin print bold
        self.rows: list[list[Cell]] = []
        self.headings = 0
        self.remarks: list[Remark] = []
        self._unknown: set[str] = set()
        self._first_head: int | None = None
        self._row: list[Cell] = []
        self._last = 0  # offset of the node that was read last
        self._reset()

    def read(self, environment: Any) -> None:
        self.walk(environment.nodelist, Run(""), top=True)
        self._end_row()
        if self.tabularray:
            self._arrange(environment)

    def _arrange(self, environment: Any) -> None:
        """Applies the options of tabularray's table to the rows as they are written."""
        if self.rows and len(self.rows[-1]) == 1 and self.rows[-1][0].blank:
            self.rows.pop()  # what follows the last \\\\
        arguments = environment.nodeargd.argnlist if environment.nodeargd else ()
        given = arguments[-1] if arguments else None  # damaged text may have none
        inner, position = _verbatim(given), given.pos + 1 if given is not None else 0
        width = max(map(len, self.rows), default=0)
        style = tblr.style(inner, len(self.rows), width, lambda offset, text: self._remark(position + offset, text))
        style.bold |= self.bold
        self.rows, self.headings, remarks = tblr.arranged(self.rows, self.headings, style, self.covering)
        self.remarks += remarks

    def _reset(self) -> None:
        self._runs: list[Run] = []
        self._cites: list[str] = []
        self._columns = self._spanned_rows = 1
        self._position: int | None = None
        self._covers = False

    def finish(self) -> Cell:
        """The cell collected so far."""
        file, line = self.place(self._last if self._position is None else self._position)
        cell = Cell(merged(self._runs), line, self._columns, self._spanned_rows, tuple(self._cites), file)
        self.covering |= {cell} if self._covers else set()
        self._reset()
        return cell

    def _end_row(self) -> None:
        self._row.append(self.finish())
        if self.tabularray or any(not cell.blank for cell in self._row):
            self.rows.append(self._row)
        self._row = []

    def _add(self, text: str, style: Run, position: int) -> None:
        if self._position is None and text.strip():
            self._position = position
        if text:
            self._runs.append(replace(style, text=text))

    def _remark(self, position: int, text: str) -> None:
        file, line = self.place(position)
        self.remarks.append(Remark(line, text, file))

    # ---------------------------------------------------------------------------------------------------------- nodes

    def walk(self, nodes: Sequence[Any], style: Run, *, top: bool, math: bool = False) -> None:
        """`top`: `&` and `\\\\` here are the table's own."""
        script = ""  # after `_` or `^`: of the next node
        of_cell = style  # `\\bfseries` holds to the end of its cell
        for node in nodes:
            if node is None:
                continue
            self._last = node.pos
            kind = node.nodeType().__name__
            now = replace(style, script=script) if script else style
            if kind == "LatexCharsNode":
                script = self._characters(node, style, script, math)
                continue
            script = ""
            if kind == "LatexGroupNode":
                self.walk(node.nodelist, now, top=False, math=math)
            elif kind == "LatexMathNode":
                self.walk(node.nodelist, now, top=False, math=True)
            elif kind == "LatexSpecialsNode":
                if top and node.specials_chars == "&":
                    self._row.append(self.finish())
                    style = of_cell
                else:
                    self._add(commands.SPECIALS.get(node.specials_chars, node.specials_chars), now, node.pos)
            elif kind == "LatexEnvironmentNode":
                self.walk(node.nodelist, now, top=False, math=math)
            elif kind == "LatexMacroNode":
                if node.macroname in commands.BOLD_ON:
                    style = replace(style, bold=True)
                elif top and node.macroname in commands.ROW_ENDS:
                    style = of_cell
                self._command(node, now, top=top, math=math)

    def _characters(self, node: Any, style: Run, script: str, math: bool) -> str:
        """Adds plain characters; what the script of the next node is."""
        text, position = node.chars, node.pos
        position += len(text) - len(text.lstrip())
        if not math:
            self._add(re.sub(r"\s+", " ", text), replace(style, script=script) if script else style, position)
            return ""
        for char in text:
            if char in "_^":
                script = "sub" if char == "_" else "sup"
            elif not char.isspace():
                shown = "−" if char == "-" else "" if char == "'" else char
                self._add(shown, replace(style, script=script) if script else style, position)
                script = ""
        return script

    def _command(self, node: Any, style: Run, *, top: bool, math: bool) -> None:
        name, arguments = node.macroname, (node.nodeargd.argnlist if node.nodeargd else []) or []
        if len(arguments) < len(
            commands.COMMANDS.get(name, ("", ()))[0]
        ):  # `\\multirow\\ding`: it is itself an argument
            self._remark(node.pos, f"the command \\{name} has no argument and is left out")
        elif self.tabularray and name in tblr.COMMANDS and name not in commands.RULES:
            self._set(node, name, arguments)
        elif top and name in commands.ROW_ENDS:
            self._end_row()
        elif name in commands.ROW_ENDS or name in commands.SPACES:
            self._add(commands.SPACES.get(name, " "), style, node.pos)
        elif name in commands.RULES:
            if self.rows and not self.headings and top:
                self.headings = len(self.rows)
        elif name in ("endfirsthead", "endhead", "endfoot", "endlastfoot"):
            self._long_table(name)
        elif name in commands.TICKS or name in commands.CROSSES:
            self._add("✓" if name in commands.TICKS else "✗", style, node.pos)
        elif name == "ding":
            number = _plain(arguments[0])
            if number not in commands.DINGS:
                self._remark(node.pos, f"the sign \\ding{{{number}}} is unknown and left out")
            self._add(commands.DINGS.get(number, ""), style, node.pos)
        elif name in commands.CITES:
            self._cites += [key.strip() for key in _plain(arguments[-1]).split(",") if key.strip()]
        elif name in commands.COMMANDS:
            self._known(node, name, arguments, style, math)
        elif name in commands.SILENT or name in commands.BOLD_ON:
            pass
        elif name in commands.SYMBOLS or (not arguments and _symbol(name) is not None):
            self._add(commands.SYMBOLS.get(name) or _symbol(name) or "", style, node.pos)
        else:
            self._unknown_command(node, name, arguments, style, math)

    def _set(self, node: Any, name: str, arguments: Sequence[Any]) -> None:
        """\\SetCell, \\SetRow and their kin; others of tabularray's commands print nothing."""
        options, style = (_verbatim(argument) for argument in (*arguments, None, None)[:2])
        for key in tblr.printing(style):
            self._remark(node.pos, f"'{key}' in \\{name} changes what cells print and is not read")
        if name == "SetCell":
            rows, columns = tblr.span(options)
            self._check_span(node, name, options, max(rows, columns))
            self._spanned_rows, self._columns, self._covers = rows, columns, True
            self.bold |= {(len(self.rows), len(self._row))} if tblr.is_bold(style) else set()
        elif name.startswith("Set") and name in tblr.WHOLE and tblr.is_bold(style):
            self.bold.add(tblr.whole_style(name, len(self.rows), len(self._row)))

    def _check_span(self, node: Any, name: str, number: str, count: int) -> None:
        if abs(count) > MAX_COLUMNS * 10 or not count:
            file, line = self.place(node.pos)
            raise UserError(
                f"{file or self.path}:{line}: \\{name}{{{number}}}: no number of columns or rows of a table"
            )

    def _known(self, node: Any, name: str, arguments: Sequence[Any], style: Run, math: bool) -> None:
        if name in ("multicolumn", "multirow"):
            number = _plain(arguments[1 if name == "multirow" else 0])
            count = int(number) if re.fullmatch(r"-?\d{1,9}", number) else 0
            self._check_span(node, name, number, count)
            if name == "multicolumn":
                self._columns = max(count, 1)
            else:
                self._spanned_rows = count
        style = replace(
            style, bold=style.bold or name in commands.BOLD, underlined=style.underlined or name in commands.UNDERLINED
        )
        if name in commands.SUPERSCRIPTS or name == "textsubscript":
            style = replace(style, script="sub" if name == "textsubscript" else "sup")
        printed = [arguments[i] for i in commands.COMMANDS[name][1] if i < len(arguments)]
        if name == "sqrt" and not _plain(printed[0]).strip():  # written as a tick
            self._add("✓", style, node.pos)
        for i, argument in enumerate(printed):
            if i:
                self._add(" / ", style, node.pos)
            self.walk([argument], style, top=False, math=math and name not in ("text", "mbox", "textbf", "textrm"))

    def _long_table(self, name: str) -> None:
        """`longtable` writes its heading twice and a foot before the rows: only the first heading is of the table."""
        if name == "endfirsthead":
            self._first_head = self.headings = len(self.rows)
        elif name == "endhead" and self._first_head is None:
            self.headings = len(self.rows)
        else:
            del self.rows[self.headings :]

    def _unknown_command(self, node: Any, name: str, arguments: Sequence[Any], style: Run, math: bool) -> None:
        accents = _accented(node)
        if accents is not None:
            self._add(accents, style, node.pos)
            return
        if name not in self._unknown:
            self._unknown.add(name)
            self._remark(
                node.pos, f"the command \\{name} is unknown: left out, and what stands in braces after it kept"
            )
        self.walk([a for a in arguments if a is not None], style, top=False, math=math)


def _accented(node: Any) -> str | None:
    """The letter with its accent that a command such as `\\'{e}` prints; None where it is no such command."""
    from pylatexenc.latex2text import LatexNodes2Text

    if node.macroname not in "'`^\"~=.cvuHkrbdt" or node.nodeargd is None or not node.nodeargd.argnlist:
        return None
    return str(LatexNodes2Text().nodelist_to_text([node]))


def _verbatim(argument: Any) -> str:
    """The LaTeX of an argument without its braces or brackets; '' of one that is left out."""
    if argument is None:
        return ""
    text = str(argument.latex_verbatim()).strip()
    return text[1:-1] if text[:1] in ("{", "[") else text


def _plain(node: Any) -> str:
    """The characters of an argument without braces."""
    if node is None:
        return ""
    inner = getattr(node, "nodelist", None)
    if inner is not None:
        return "".join(map(_plain, inner))
    return str(getattr(node, "chars", ""))
