"""Code outside the checkout: a method's file or plug-in, and the helper modules that it imports from beside itself.

Helpers are found in the source text, like the rest of a job's code, so they are in its key, travel with its snapshot, and can
be imported. Nothing else beside a method's file can be: what a key does not see is an error, never a number.

A file `FOLDER/mine.py` is loaded as `external_method_mine_HASH.mine`, or as `external_method_mine_HASH.pkg.mine` where its
folder is a package, so that relative imports work and two files of one name are two modules.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from harness import ROOT
from harness.errors import UserError

PREFIX = "external_method_"
_PLACE = re.compile(rf"^({PREFIX}\w*)_[0-9a-f]{{8}}(?=\.)")
_OURS = ("harness", "methods", "reports")

_LONGEST_STEM = 150  # bytes; its module's name is longer, and a file system takes 255

Reader = Callable[[str, Path], Iterable[str]]
"""(module, its file) → the dotted names that it imports."""


def module_name(file: Path) -> str:
    """The name under which a method's file is loaded and known in keys; `file` is an absolute path."""
    place = hashlib.sha256(str(file).encode()).hexdigest()[:8]  # two files may have one name
    packages = file.parent.relative_to(_above_packages(file)).parts
    return ".".join([f"{PREFIX}{_identifier(file.stem)}_{place}", *packages, _identifier(file.stem)])


def check_file(file: Path, subject: str) -> None:
    """UserError unless the file can be one of a method, a backbone or a dataset; `subject` names what was to be found in it."""
    if not os.path.isfile(file):
        raise UserError(f"{subject}: there is no file {file}")
    if file.name == "__init__.py":
        raise UserError(f"{subject}: a package's __init__.py cannot be named; put it into a file beside that")
    if len(os.fsencode(file.stem)) > _LONGEST_STEM:
        raise UserError(f"{subject}: the file's name is too long for a module's; at most {_LONGEST_STEM} bytes")


def without_places(digests: Mapping[str, str]) -> dict[str, str]:
    """{module: digest} with modules named as keys have them: without the digest of their place. Of two files of one name that a
    job uses, both digests under that name."""
    named: dict[str, list[str]] = {}
    for module, digest in digests.items():
        named.setdefault(_PLACE.sub(r"\1", module), []).append(digest)
    return {module: " ".join(sorted(found)) for module, found in sorted(named.items())}


def _identifier(stem: str) -> str:
    return "".join(c if c.isalnum() or c == "_" else "_" for c in stem)


def _above_packages(file: Path) -> Path:
    """The folder that holds the file's outermost package, or the file itself where it is in none."""
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        folder = folder.parent
    return folder


@dataclass
class OutsideCode:
    """The modules of a method outside the checkout. `files`: {module: file}, its own first; `plain`: {name: folder} of helpers
    that are imported by their plain name; `root`: the folder that stands for the first part of the modules' names, None
    where that is a single file."""

    root: Path | None
    files: dict[str, Path] = field(default_factory=dict)
    plain: dict[str, Path] = field(default_factory=dict)


def find(module: str, file: Path, imports: Reader) -> OutsideCode:
    """All modules outside the checkout that loading `file` as `module` may import. UserError for an ambiguous name."""
    top, *rest = module.split(".")
    is_package = file.name == "__init__.py"
    root = file.parents[len(rest) - (not is_package)] if rest or is_package else None
    beside = dict.fromkeys((file.parent, root)) if root is not None and top.startswith(PREFIX) else {}
    code = OutsideCode(root)
    pending = [(module, file)]
    if root is not None:  # its packages run before it
        pending = [*_on_the_way(top, rest[:-1], root), *pending]
    while pending:
        module, place = pending.pop()
        if module in code.files:
            continue
        code.files[module] = place
        for name in sorted(imports(module, place)):
            first, *others = name.split(".")
            if first != top:
                pending += _helpers(first, others, list(filter(None, beside)), place, code)
            elif root is not None:
                pending += _on_the_way(top, others, root)
    return code


def _on_the_way(first: str, others: Sequence[str], root: Path) -> Iterator[tuple[str, Path]]:
    """(module, file) of the packages that importing `first.others…` runs, and of itself; `root` is the folder of `first`."""
    for count in range(len(others) + 1):
        path = root.joinpath(*others[:count])
        candidates = [path / "__init__.py", *([path.with_name(f"{path.name}.py")] if count else [])]
        file = next((candidate for candidate in candidates if candidate.is_file()), None)
        if file is not None:
            yield ".".join([first, *others[:count]]), file


def _helpers(
    first: str, others: Sequence[str], folders: Sequence[Path], importer: Path, code: OutsideCode
) -> list[tuple[str, Path]]:
    """(module, file) of what the plain name `first.others…` means beside a method's file; empty where it is nothing there."""
    top = next(iter(code.files)).partition(".")[0]
    for folder in folders:
        single = folder / f"{first}.py"
        files = [file for _, file in _on_the_way(first, others, folder / first)]
        if single.is_file() and (folder / first / "__init__.py") not in files:
            files = [single]  # a module comes before a folder that is no package
        if files:
            _check_name(first, files[0], importer, folders)
            if first in _OURS:
                return []
            code.plain[first] = folder
            assert code.root is not None
            return [(_module_in(top, code.root, file), file) for file in files]
    return []


def _module_in(top: str, root: Path, file: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join([top, *(parts[:-1] if parts[-1] == "__init__" else parts)])


def _check_name(name: str, helper: Path, importer: Path, folders: Sequence[Path]) -> None:
    """UserError where a helper has the name of a package that is installed, of the standard library, or of this project."""
    other = ""
    if name in _OURS:
        own = (ROOT / name).resolve()
        # a job runs on a copy of the checkout; there a method of the checkout's tests still lies beside these packages
        is_ours = own in helper.resolve().parents or (helper.parents[1] / "harness/jobs/outside.py").is_file()
        other = "" if is_ours else f"this project's package '{name}'"
    elif name in sys.stdlib_module_names:
        other = f"the standard library's '{name}'"
    elif (origin := _installed(name, {*folders, Path.cwd()})) is not None:
        other = f"the installed '{name}' ({origin})"
    if other:
        raise UserError(
            f"{importer}:{_line_of(name, importer)}: '{name}' may mean {helper} beside it or {other}; rename the file beside it"
        )


def _installed(name: str, apart_from: set[Path]) -> str | None:
    """Where a package or module of this name is installed; None where it is not."""
    resolved = {folder.resolve() for folder in apart_from}
    path = [p for p in sys.path if p and Path(p).resolve() not in resolved]
    spec = PathFinder.find_spec(name, path)
    ours = (BuiltinImporter, FrozenImporter, PathFinder)
    for finder in sys.meta_path:  # those of editable installations
        if spec is None and finder not in ours and not isinstance(finder, _Helpers) and hasattr(finder, "find_spec"):
            spec = finder.find_spec(name, None)
    return spec.origin if spec is not None else None  # a folder that is no package has no origin


def _line_of(name: str, file: Path) -> int:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(imported.partition(".")[0] == name for imported in names):
            return node.lineno  # type: ignore[attr-defined]
    return 1


# ------------------------------------------------------------------------------------------------------------- loading


class _Helpers(MetaPathFinder):
    """Finds helpers by their plain names, before anything else does."""

    def __init__(self) -> None:
        self.folders: dict[str, Path] = {}

    def add(self, name: str, folder: Path) -> None:
        """UserError where another module of this name is in use."""
        module = sys.modules.get(name)
        places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", [])]
        other = self.folders.get(name) if module is None else None if _lies_in(places, folder) else places[0]
        if other is not None and other != folder:
            raise UserError(
                f"a method outside the checkout imports '{name}' from {folder}, and another one of that name is in use here: "
                f"{other}; rename one of them"
            )
        self.folders[name] = folder

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        folder = self.folders.get(name) if path is None else None
        return PathFinder.find_spec(name, [str(folder)]) if folder is not None else None


def _lies_in(places: Iterable[str], folder: Path) -> bool:
    return any(place and folder in Path(place).parents for place in places)


_HELPERS = _Helpers()


def load(module: str, file: Path, imports: Reader) -> ModuleType:
    """The method's file as a module, imported once; its helpers can be imported from then on. UserError for ambiguous names."""
    if module in sys.modules:
        return sys.modules[module]
    _make_ready(module, file, imports)
    if module in sys.modules:  # its package imports it
        return sys.modules[module]
    loaded, loader = _empty(module, file)
    sys.modules[module] = loaded
    try:
        loader.exec_module(loaded)
    except BaseException:
        del sys.modules[module]
        raise
    return loaded


def load_anew(module: str, file: Path, imports: Reader) -> ModuleType:
    """A file as a module that is run each time anew with its helpers, and that nothing else can import: a declaration, of which a
    plan may read several with helpers of one name. UserError for ambiguous names."""
    modules, folders = {*sys.modules}, dict(_HELPERS.folders)
    helpers = {module.partition(".")[0]}
    try:
        helpers |= {*_make_ready(module, file, imports).plain}
        loaded, loader = _empty(module, file)
        loader.exec_module(loaded)
    finally:
        _HELPERS.folders = folders
        for name in {*sys.modules} - modules:
            if name.partition(".")[0] in helpers:
                del sys.modules[name]
    return loaded


def _make_ready(module: str, file: Path, imports: Reader) -> OutsideCode:
    """Makes the helpers of a file importable, and imports the packages in which it lies; returns what it may import."""
    code = find(module, file, imports)
    if _HELPERS not in sys.meta_path:
        sys.meta_path.insert(0, _HELPERS)
    for name, folder in code.plain.items():
        _HELPERS.add(name, folder)
    importlib.invalidate_caches()
    top, *packages, _ = module.split(".")
    root = ModuleType(top)
    root.__path__ = [os.fspath(code.root)] if code.root is not None else []
    sys.modules.setdefault(top, root)
    importlib.import_module(".".join([top, *packages]))
    return code


def _empty(module: str, file: Path) -> tuple[ModuleType, Loader]:
    """A module of a file that has not run yet, and what runs it."""
    spec = importlib.util.spec_from_file_location(module, file)
    assert spec is not None
    assert spec.loader is not None
    return importlib.util.module_from_spec(spec), spec.loader
