"""What makes two jobs the same number: configuration, the code it can reach, data, weights, and the jobs it needs.

Code is the import closure of the modules that run the job, found in the source text; comments, white space and docstrings
do not count. What a module prints to people (`harness.errors`) and how a job is handed over (`harness.jobs.kinds`) cannot change
a number and stay out of the closure.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import json
import re
import tokenize
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import ROOT
from harness.errors import OutputError, UserError
from harness.files import write_text
from harness.spec import flatten

if TYPE_CHECKING:
    from harness.spec import Spec

_ROOMS = ("harness", "methods")
_BY_NAME = re.compile(rf"({'|'.join(_ROOMS)})(\.\w+)+(:\w+)?")
_SILENT = {
    "harness",
    "harness.errors",
    "harness.jobs",
    "harness.jobs.kinds",
    "harness.jobs.context",
    "harness.jobs.job",
    "methods",
}
_LAYOUT = {tokenize.NL, tokenize.COMMENT, tokenize.ENCODING, tokenize.ENDMARKER}


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def identity(kind: str, config: Spec, needs: Iterable[str] = ()) -> str:
    """Digest of a kind and of what a configuration says beyond its defaults: the same job whatever the code, data and weights.

    A field that the harness gains later, with a default, leaves it as it was, so that `why` and the cell's history go on;
    the key covers every field. `needs`: identities of the jobs that come first.
    """
    said = config.model_dump(mode="json", exclude_defaults=True)
    return digest({"kind": kind, "config": said, "needs": [*needs]})


def source_digest(text: str) -> str:
    """SHA-256 of what Python source does: its tokens without comments, layout and docstrings.

    The same on every Python version: an f-string counts as its source text, however it is tokenised.
    """
    lines = io.StringIO(text).readlines()
    significant: list[tuple[int, str]] = []
    nested, start = 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        if name == "FSTRING_START":
            nested, start = nested + 1, start if nested else token.start
        elif name == "FSTRING_END":
            nested -= 1
            if not nested:
                significant.append((tokenize.STRING, _between(lines, start, token.end)))
        elif not nested and token.type not in _LAYOUT:
            layout = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
            significant.append((token.type, name if layout else token.string))
    hasher = hashlib.sha256()
    breaks = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    skip_newline = False
    for i, (kind, string) in enumerate(significant):
        alone = (i == 0 or significant[i - 1][0] in breaks) and i + 1 < len(significant)
        if kind == tokenize.STRING and alone and significant[i + 1][0] == tokenize.NEWLINE:
            skip_newline = True  # a docstring
        elif skip_newline:
            skip_newline = False
        else:
            hasher.update(string.encode() + b"\0")
    return hasher.hexdigest()


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    inner = lines[start[0] : end[0] - 1]
    return "".join([lines[start[0] - 1][start[1] :], *inner, lines[end[0] - 1][: end[1]]])


def imported(text: str, module: str, is_package: bool) -> set[str]:
    """Modules of this project that a module's source imports, at any depth of its functions, as dotted names.

    A text that is a module's name, or `module:function`, counts as an import: what is imported by name is so written.
    """
    package = module if is_package else module.rpartition(".")[0]
    names: set[str] = set()
    nodes = list(ast.walk(ast.parse(text)))
    typing_only: set[int] = set()
    if "TYPE_CHECKING" in text:  # most files have none, and every plan without a cache reads them all
        guards = [n for n in nodes if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
        typing_only = {id(child) for guard in guards for part in guard.body for child in ast.walk(part)}
    for node in nodes:
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _named(node.value):
            names.add(node.value.partition(":")[0])
    return {name for name in names if name.partition(".")[0] in _ROOMS}


def _named(text: str) -> bool:
    return "." in text and len(text) < 200 and _BY_NAME.fullmatch(text) is not None


class Code:
    """The project's source files: digests and import closures, remembered in `cache` by size and time of change."""

    def __init__(self, cache: Path | None = None, root: Path = ROOT) -> None:
        self.root = root
        self._cache = cache / "code.json" if cache is not None else None
        self._known: dict[str, list[Any]] = {}
        self._changed = False
        own = Path(__file__).stat()  # what an older version of this file found does not count
        self._by = [own.st_size, own.st_mtime_ns]
        self._seen: dict[str, tuple[str, set[str]] | None] = {}
        if self._cache is not None:
            try:
                known = json.loads(self._cache.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                known = {}  # only a cache: made anew
            self._known = known if isinstance(known, dict) else {}

    def closure(self, modules: Iterable[str], files: Mapping[str, Path] | None = None) -> dict[str, str]:
        """{module: digest} of everything reachable by import from `modules`; `files` places modules outside the checkout."""
        reached: dict[str, str] = {}
        waiting = list(modules)
        while waiting:
            module = waiting.pop()
            if module in reached or module in _SILENT:
                continue
            found = self._module(module, (files or {}).get(module))
            if found is not None:
                reached[module] = found[0]
                waiting += found[1]
                waiting.append(module.rpartition(".")[0]) if "." in module else None
        return dict(sorted(reached.items()))

    def save(self) -> None:
        """Keeps what was read for the next command."""
        if self._cache is None or not self._changed:
            return
        with contextlib.suppress(OutputError):  # only a cache: a read-only results folder must still be able to plan
            write_text(self._cache, json.dumps(self._known), durable=False)

    def _module(self, module: str, file: Path | None) -> tuple[str, set[str]] | None:
        if module in self._seen:
            return self._seen[module]
        path = self.root.joinpath(*module.split("."))
        candidates = [file] if file is not None else [path.with_suffix(".py"), path / "__init__.py"]
        place = next((c for c in candidates if c.is_file()), None)
        self._seen[module] = self._read(module, place) if place is not None else None
        return self._seen[module]

    def _read(self, module: str, place: Path) -> tuple[str, set[str]]:
        stat = place.stat()
        stamp = [*self._by, stat.st_size, stat.st_mtime_ns]
        known = self._known.get(str(place))
        if known is None or known[0] != stamp:
            try:
                text = place.read_text(encoding="utf-8")
                imports = sorted(imported(text, module, place.name == "__init__.py"))
            except (SyntaxError, ValueError) as error:  # ValueError: not UTF-8, or a null byte
                raise UserError(f"{place}:{getattr(error, 'lineno', None) or 1}: not Python: {error}") from None
            known = self._known[str(place)] = [stamp, source_digest(text), imports]
            self._changed = True
        return known[1], set(known[2])


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between the parts of two keys, a line each: `code    methods/idrnet/head.py changed`."""
    lines = []
    for part in ("config", "code", "data", "weights", "needs"):
        before, after = old.get(part) or {}, new.get(part) or {}
        if before == after:
            continue
        before, after = flatten(before), flatten(after)
        for name in sorted({k for k in (*before, *after) if before.get(k) != after.get(k)}):
            was, now = before.get(name), after.get(name)
            shown = name.replace(".", "/") + ".py" if part == "code" else name
            if part == "config":
                lines.append(f"{part:<8}{shown}: {was!r} → {now!r}")
            else:
                lines.append(f"{part:<8}{shown} {'is new' if was is None else 'is gone' if now is None else 'changed'}")
    return lines
