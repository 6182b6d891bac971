"""LaTeX text without comments and macros of its own: what a compiler would see, with the line where each part stands.

Definitions (`\\newcommand`, `\\def`, `\\let` and their kin) are expanded with their arguments, `\\input` of a neighbour file is
read in place, and what is never printed (comments, `\\iffalse`, verbatim text) is left out.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UserError
from harness.scaffold.grid import Remark

MAX_CHARACTERS = 5_000_000  # of a file, and of what its macros make of it
_MAX_DEPTH = 60  # of macros in macros
_MAX_EXPANSIONS = 50_000
_TOKEN = re.compile(r"\\(?:[a-zA-Z@]+\*?|.|$)|%[^\n]*(?:\n[ \t]*)?|[^\\%]+", re.DOTALL)
_DEFINE = {"newcommand", "renewcommand", "providecommand", "DeclareRobustCommand", "DeclareMathOperator", "def", "gdef"}
_DEFINE |= {"edef", "xdef", "let", "newcolumntype"}
_UNPRINTED = ("verbatim", "verbatim*", "lstlisting", "comment", "filecontents", "filecontents*", "minted")
# structure that a document must not redefine under the reader's hands
_PROTECTED = {
    "begin",
    "end",
    "multicolumn",
    "multirow",
    "textbf",
    "underline",
    "hline",
    "toprule",
    "midrule",
    "bottomrule",
}
_PROTECTED |= {"input", "include", "caption", "label", "cite", "textcolor", "makecell", "par", "item"}


def read_text(path: Path) -> str:
    """A text file; UserError where it is absent, no text or too large."""
    try:
        size = path.stat().st_size
        if size > MAX_CHARACTERS:
            raise UserError(f"{path}: {size / 1e6:.0f} MB; a paper's text has at most {MAX_CHARACTERS / 1e6:.0f}")
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if b"\0" in data:
        at = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise UserError(f"{path}:{at}: contains a NUL character: no text; LaTeX, HTML, Markdown and CSV can be read")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{at}: is not UTF-8 text; if it is an older paper: iconv -f latin1 -t utf-8 {path.name} > utf8.tex"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


@dataclass
class Macro:
    """`\\newcommand{\\name}[arguments][default]{body}`."""

    arguments: int
    default: str | None
    body: str


@dataclass
class Source:
    """The text that is left; `place(offset)` is the (file, line) it came from."""

    path: Path
    text: str = ""
    remarks: list[Remark] = field(default_factory=list)
    _offsets: list[int] = field(default_factory=list)
    _places: list[tuple[str, int]] = field(default_factory=list)

    def place(self, offset: int) -> tuple[str, int]:
        index = bisect.bisect_right(self._offsets, offset) - 1
        return self._places[index] if index >= 0 else ("", 1)

    def line(self, offset: int) -> int:
        return self.place(offset)[1]


def load(path: Path) -> Source:
    """The expanded text of a LaTeX file; UserError where it cannot be read or its macros never end."""
    return _Expander(path).run()


class _Expander:
    def __init__(self, path: Path) -> None:
        self.source = Source(path)
        self.macros: dict[str, Macro] = {}
        self.parts: list[str] = []
        self.length = 0
        self.expansions = 0
        self.files: list[Path] = []
        self.ended = False

    def run(self) -> Source:
        self._file(self.source.path)
        self.source.text = "".join(self.parts)
        return self.source

    def _file(self, path: Path) -> None:
        self.files.append(path)
        inner = "" if path == self.source.path else path.name
        self._text(read_text(path), inner, 1, 0, fixed=False)
        self.files.pop()

    def _emit(self, text: str, file: str, line: int, fixed: bool) -> None:
        for part in [text] if fixed else text.splitlines(keepends=True):
            if not self.source._places or self.source._places[-1] != (file, line):
                self.source._offsets.append(self.length)
                self.source._places.append((file, line))
            self.parts.append(part)
            self.length += len(part)
            line += 0 if fixed else part.count("\n")
        if self.length > MAX_CHARACTERS:
            raise UserError(f"{self.source.path}:{line}: its macros make more text than a paper has")

    def _text(self, text: str, file: str, line: int, depth: int, *, fixed: bool) -> None:
        """Emits `text`; `fixed`: all of it stands in one line, that of the macro which it comes from."""
        position = counted = 0
        while position < len(text) and not self.ended:
            token = _TOKEN.match(text, position)
            assert token is not None
            if not fixed:
                line += text.count("\n", counted, position)
            counted = position
            start, position = position, token.end()
            if token[0].startswith("%"):
                continue
            if not token[0].startswith("\\"):
                self._emit(token[0], file, line, fixed)
                continue
            name = token[0][1:]
            if name in ("begin", "end", "iffalse"):
                position = self._skip_unprinted(text, start, position, name, file, line, fixed)
            elif name in ("input", "include", "subfile"):
                position = self._input(text, position, file, line)
            elif name.rstrip("*") in _DEFINE:
                position = self._define(name.rstrip("*"), text, position, line)
            elif name.rstrip("*") in self.macros:
                bare = name.rstrip("*")  # `\ours*`: the star is a footnote mark
                position = self._expand(bare, text, position - len(name) + len(bare), file, line, depth)
            else:
                self._emit(token[0], file, line, fixed)

    def _skip_unprinted(
        self, text: str, start: int, position: int, name: str, file: str, line: int, fixed: bool
    ) -> int:
        """Where to go on after `\\begin`, `\\end` or `\\iffalse`: behind what is never printed."""
        if name == "iffalse":
            end = re.compile(r"\\(?:fi|else)(?![a-zA-Z])").search(text, position)
            return end.end() if end else len(text)
        environment = re.compile(r"\s*\{([^{}]*)\}").match(text, position)
        if environment and name == "begin" and environment[1] in _UNPRINTED:
            end_text = f"\\end{{{environment[1]}}}"
            found = text.find(end_text, position)
            return found + len(end_text) if found >= 0 else len(text)
        self.ended = bool(environment and name == "end" and environment[1] == "document")
        stop = environment.end() if environment else position
        self._emit(text[start:stop], file, line, fixed)
        return stop

    def _input(self, text: str, position: int, file: str, line: int) -> int:
        match = re.compile(r"\s*\{([^{}]*)\}|\s+([^\s\\{}%]+)").match(text, position)
        if match is None:
            return position
        name = (match[1] or match[2] or "").strip()
        folder = self.source.path.resolve().parent
        for candidate in (name, f"{name}.tex"):
            path = (self.source.path.parent / candidate) if candidate else folder
            inside = path.resolve().is_relative_to(folder)
            if inside and path.is_file() and path not in self.files and len(self.files) < 10:
                self._file(path)
                return match.end()
        self.source.remarks.append(
            Remark(line, f"\\input{{{name}}} was not read: there is no such file in this folder", file)
        )
        return match.end()

    def _define(self, kind: str, text: str, position: int, line: int) -> int:
        """Remembers a definition; the position after it."""
        if kind == "newcolumntype":
            _, position = self._argument(text, position, line)
            _, position = self._optional(text, position, line)
            return self._argument(text, position, line)[1]
        match = re.compile(r"\*?\s*\{?\s*\\([a-zA-Z@]+|.)\s*\}?").match(text, position)
        if match is None:
            return position
        name, position = match[1], match.end()
        if kind == "let":
            target = re.compile(r"\s*=?\s*(\\(?:[a-zA-Z@]+|.)|.)").match(text, position)
            if target is None:
                return position
            macro = self.macros.get(target[1][1:]) if target[1].startswith("\\") else None
            macro = macro or Macro(0, None, target[1])
            position = target.end()
        elif kind.endswith("def"):
            parameters = re.compile(r"[^{]*").match(text, position)
            assert parameters is not None
            body, position = self._argument(text, parameters.end(), line)
            macro = Macro(len(re.findall(r"#[1-9]", parameters[0])), None, body)
        else:
            count, position = self._optional(text, position, line)
            default, position = self._optional(text, position, line)
            body, position = self._argument(text, position, line)
            macro = Macro(int(count) if count and count.strip().isdecimal() and len(count) < 3 else 0, default, body)
        if name not in _PROTECTED and (kind != "let" or macro.body != f"\\{name}"):
            self.macros[name] = macro
        return position

    def _expand(self, name: str, text: str, position: int, file: str, line: int, depth: int) -> int:
        self.expansions += 1
        if depth >= _MAX_DEPTH or self.expansions > _MAX_EXPANSIONS:
            raise UserError(f"{self.source.path}:{line}: the macro \\{name} expands without end")
        macro = self.macros[name]
        arguments: list[str] = []
        if macro.default is not None:
            given, position = self._optional(text, position, line)
            arguments.append(macro.default if given is None else given)
        while len(arguments) < macro.arguments:
            argument, position = self._argument(text, position, line)
            arguments.append(argument)
        body = macro.body.rstrip().removesuffix("\\xspace")
        spaced = body != macro.body.rstrip()
        body = re.sub(r"#([1-9])", lambda m: arguments[int(m[1]) - 1] if int(m[1]) <= len(arguments) else "", body)
        if not macro.arguments and name.isalpha() and not spaced:
            position = _after_blanks(text, position)  # TeX takes the blanks after a command's name with it
        self._text(body, file, line, depth + 1, fixed=True)
        return position

    def _optional(self, text: str, position: int, line: int) -> tuple[str | None, int]:
        match = re.compile(r"\s*\[").match(text, position)
        if match is None:
            return None, position
        end = _closing(text, match.end(), "[", "]")
        if end < 0:
            raise UserError(f"{self.source.path}:{line}: a '[' is never closed")
        return text[match.end() : end], end + 1

    def _argument(self, text: str, position: int, line: int) -> tuple[str, int]:
        match = re.compile(r"(?:\s|%[^\n]*\n)*").match(text, position)
        position = match.end() if match else position
        if text[position : position + 1] != "{":
            token = re.compile(r"\\(?:[a-zA-Z@]+|.)|.|$", re.DOTALL).match(text, position)
            return (token[0], token.end()) if token else ("", position)
        end = _closing(text, position + 1, "{", "}")
        if end < 0:
            raise UserError(f"{self.source.path}:{line}: a '{{' is never closed")
        return text[position + 1 : end], end + 1


def _after_blanks(text: str, position: int) -> int:
    match = re.compile(r"[ \t]*\n?[ \t]*").match(text, position)
    return match.end() if match else position


def _closing(text: str, position: int, opening: str, closing: str) -> int:
    """The offset of the bracket that closes the one before `position`; -1 where none does."""
    depth = braces = 0
    for match in re.compile(r"\\.|%[^\n]*|[{}\[\]]", re.DOTALL).finditer(text, position):
        sign = match[0]
        if sign == closing and depth == 0 and (closing == "}" or braces == 0):
            return match.start()
        if sign == opening:
            depth += 1
        elif sign == closing:
            depth -= 1
        elif sign in "{}":
            braces += 1 if sign == "{" else -1
    return -1


def bracketed(text: str, position: int) -> str:
    """What stands in the `[…]` at `position` (blanks before it allowed); '' where none does."""
    start = _after_blanks(text, position)
    end = _closing(text, start + 1, "[", "]") if text[start : start + 1] == "[" else -1
    return text[start + 1 : end] if end >= 0 else ""


def braced(text: str, position: int) -> tuple[str, int]:
    """The `{…}` at `position` (blanks before it allowed), without its braces, and the offset after it; ('', position)."""
    start = _after_blanks(text, position)
    end = _closing(text, start + 1, "{", "}") if text[start : start + 1] == "{" else -1
    return (text[start + 1 : end], end + 1) if end >= 0 else ("", position)
