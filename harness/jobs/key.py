"""A job's key: the digest of its configuration, reachable code, packages, data, weights and the jobs it needs.

Code is the import closure of the modules that run the job, found in the source text; comments, white space and docstrings
do not count, and neither do modules that hold nothing else or that cannot move a number (`harness.jobs.silent`). A
renamed local variable counts: telling it from a change would take more machinery than a training costs. What is found by
name (method, backbone family, label reader) is named by `harness.plan.keys`.

Packages that define what is computed (a model, an operation, a count) are in the key by version, where the code that a
job reaches imports them. Those that carry the arithmetic (torch, numpy, OpenCV) are not: a new release of theirs would
discard every training there is, and moves numbers by rounding at most where it is right. Every measurement records
their versions, and the nightly run measures again and compares.
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
from typing import TYPE_CHECKING, Any, NamedTuple

from harness import ROOT
from harness.errors import OutputError, UserError
from harness.files import is_shallow, read_json, write_text
from harness.jobs import outside
from harness.jobs.outside_names import without_folders
from harness.jobs.silent import SILENT
from harness.spec import flatten

if TYPE_CHECKING:
    from harness.spec import Spec

_ROOMS = ("harness", "methods")
_BY_NAME = re.compile(rf"({'|'.join(_ROOMS)})(\.\w+)+(:\w+)?")
_DISTRIBUTIONS = {  # {import name: who may provide it}
    "timm": ("timm",),
    "torchvision": ("torchvision",),
    "fvcore": ("fvcore",),
    "mmseg": ("onedl-mmsegmentation", "mmsegmentation"),
    "mmcv": ("onedl-mmcv", "mmcv", "mmcv-lite"),
    "mmengine": ("onedl-mmengine", "mmengine"),
    "transformers": ("transformers",),
}
_BUILT_ON = {"mmseg": {"mmcv"}}
"""{package: others that it consists of, though the code of a job does not name them}: its layers and transforms."""
_EMPTY_DIGEST = hashlib.sha256().hexdigest()  # the digest of a source that does nothing, as most packages' own files
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
    settings = without_folders(config.model_dump(mode="json", exclude_defaults=True))
    return digest({"kind": kind, "config": settings, "needs": [*needs]})


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


def imported_names(text: str, module: str, is_package: bool) -> set[str]:
    """Modules of this project that a module's source imports, at any depth of its functions, as dotted names.

    A text that is a module's name, or `module:function`, counts as an import: what is imported by name is so written.
    """
    return {name for name in _imports(text, module, is_package) if name.partition(".")[0] in _ROOMS}


def _imports(text: str, module: str, is_package: bool) -> set[str]:
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
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_module_name(node.value):
            names.add(node.value.partition(":")[0])
    return names


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """{package: installed version} of packages by their import names, or 'absent'; imports none of them."""
    from importlib import metadata  # loads slowly: only where there are any

    versions = {}
    for package in sorted(packages):
        versions[package] = "absent"
        for distribution in _DISTRIBUTIONS[package]:
            with contextlib.suppress(metadata.PackageNotFoundError):
                versions[package] = metadata.version(distribution)
                break
    return versions


def _is_module_name(text: str) -> bool:
    return "." in text and len(text) < 200 and _BY_NAME.fullmatch(text) is not None


def read_imports(module: str, file: Path) -> set[str]:
    """The dotted names that a module's file imports. UserError where it is not Python."""
    return _names(file.read_bytes(), module, file)[1]


def _names(content: bytes, module: str, file: Path) -> tuple[str, set[str]]:
    """(text, imported names) of a source file; UserError where it is not Python."""
    try:
        text = content.decode()
        return text, _imports(text, module, file.name == "__init__.py")
    except (SyntaxError, ValueError) as error:  # ValueError: not UTF-8, or a null byte
        raise UserError(f"{file}:{getattr(error, 'lineno', None) or 1}: not Python: {error}") from None


class _Source(NamedTuple):
    """The facts of a module: its digest, the names that it imports, the packages of them that define numbers."""

    digest: str
    imports: list[str]
    packages: list[str]


_CACHE = {"version": str, "digest": str, "modules": is_shallow}


class Code:
    """The project's source files: digests and import closures, remembered in `cache` by the files' content."""

    def __init__(self, cache: Path | None = None, root: Path = ROOT) -> None:
        self.root = root
        self._cache = cache / "code.json" if cache is not None else None
        self._cache_changed = False
        self._version = _sha256(Path(__file__).read_bytes())  # what another version of this file found does not count
        self._sources: dict[str, _Source | None] = {}
        cached = (read_json(self._cache, _CACHE, cache=True) if self._cache is not None else None) or {}
        sound = cached and (cached["version"], cached["digest"]) == (self._version, _checksum(cached["modules"]))
        self._cached_sources: dict[str, Any] = cached["modules"] if sound else {}

    def closure(self, modules: Iterable[str], files: Mapping[str, Path] | None = None) -> dict[str, str]:
        """{module: digest} of everything reachable by import from `modules` that may move a number. Modules outside the checkout
        are named without their place: the same file elsewhere is the same.

        `files` places modules outside the checkout; their helpers count, too. UserError for a file that is not Python or
        a helper whose name is ambiguous.
        """
        sources = self._reached(modules, files or {})
        return outside.without_places({m: s.digest for m, s in sources.items() if s.digest != _EMPTY_DIGEST})

    def _reached(self, modules: Iterable[str], files: Mapping[str, Path]) -> dict[str, _Source]:
        """{module: source} of everything reachable by import that may move a number."""
        sources: dict[str, _Source] = {}
        places = self.outside(files)
        visited: set[str] = set()
        pending = [*modules, *places]
        while pending:
            module = pending.pop()
            if module in visited or module in SILENT:
                continue
            visited.add(module)
            source = self._module(module, places.get(module))
            if source is not None:
                sources[module] = source
                pending += [name for name in source.imports if name.partition(".")[0] in _ROOMS]
                pending.append(module.rpartition(".")[0]) if "." in module else None
        return sources

    def outside(self, files: Mapping[str, Path]) -> dict[str, Path]:
        """{module: file} of modules outside the checkout and of the helpers that they import."""

        def imports(module: str, file: Path) -> list[str]:
            source = self._module(module, file)
            assert source is not None
            return source.imports

        return {m: f for entry, file in files.items() for m, f in outside.find(entry, file, imports).files.items()}

    def packages(self, modules: Iterable[str], files: Mapping[str, Path] | None = None) -> set[str]:
        """Import names of the packages that define a part of what these modules, and what they reach, compute."""
        sources = self._reached(modules, files or {})
        named = {
            package for source in sources.values() for package in source.packages if source.digest != _EMPTY_DIGEST
        }
        return named.union(*(_BUILT_ON.get(package, ()) for package in named))

    def save(self) -> None:
        """Writes the cache for the next command."""
        if self._cache is None or not self._cache_changed:
            return
        modules = self._cached_sources
        record = {"version": self._version, "digest": _checksum(modules), "modules": modules}
        with contextlib.suppress(OutputError):  # only a cache: a read-only results folder must still be able to plan
            write_text(self._cache, json.dumps(record), durable=False)

    def _module(self, module: str, file: Path | None) -> _Source | None:
        if module not in self._sources:
            path = self.root.joinpath(*module.split("."))
            candidates = [file] if file is not None else [path.with_suffix(".py"), path / "__init__.py"]
            place = next((c for c in candidates if c.is_file()), None)
            self._sources[module] = self._read(module, place) if place is not None else None
        return self._sources[module]

    def _read(self, module: str, place: Path) -> _Source:
        content = place.read_bytes()
        by = _sha256(content)
        with contextlib.suppress(KeyError, TypeError, ValueError):  # a damaged cache is filled again
            cached_by, digest, names, packages = self._cached_sources[module]
            if cached_by == by and all(isinstance(text, str) for text in (digest, *names, *packages)):
                return _Source(digest, names, packages)
        text, imported = _names(content, module, place)
        tops = {name.partition(".")[0] for name in imported}
        source = _Source(source_digest(text), sorted(imported), sorted(tops & {*_DISTRIBUTIONS}))
        self._cached_sources[module] = [by, *source]
        self._cache_changed = True
        return source


def _checksum(record: Any) -> str:
    return _sha256(json.dumps(record, sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


PARTS = ("config", "code", "packages", "data", "weights", "needs")
"""What a key may be made of, in the order in which changes are told."""
_TITLES = {"packages": "package"}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between the parts of two keys, a line each: `code    methods/idrnet/head.py changed`."""
    lines = []
    for part in PARTS:
        before, after = flatten(old.get(part) or {}), flatten(new.get(part) or {})
        for name in sorted(name for name in {*before, *after} if before.get(name) != after.get(name)):
            was, now = before.get(name), after.get(name)
            head = f"{_TITLES.get(part, part):<8}{_title(part, name)}"
            if part in ("config", "packages"):
                lines.append(f"{head}: {was!r} → {now!r}")
            else:
                lines.append(f"{head} {'is new' if was is None else 'is gone' if now is None else 'changed'}")
    return lines


def _title(part: str, name: str) -> str:
    """The display name of an entry in a part of a key."""
    if part == "code" and name.startswith(outside.PREFIX):
        name = name.partition(".")[2]  # of a method outside the checkout, below its folder
    if part == "code":
        return name.replace(".", "/") + ".py"
    dataset, _, fact = name.partition(".")
    return f"{fact} of {dataset}" if part == "data" and fact else name
