"""What can be tested, found by its name: registered, offered by a package, or in a file."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.conformance.clause import Clause
from harness.data import catalogue
from harness.errors import UserError, nearest
from harness.jobs import outside, outside_names
from methods import backbones, registry

KINDS = ("method", "context", "backbone", "dataset")


def kind_of(name: str, kind: str | None = None) -> str:
    """What a name is the name of. UserError where there is no such thing, where it is several (and `kind` does not say which), or
    not of the `kind` that is asked for."""
    found = _kinds_in_file(name) if outside_names.is_outside(name) else [k for k in KINDS if name in _names()[k]()]
    if not found and (name.startswith("timm/") and backbones.family_of(name) is not None):
        found = ["backbone"]
    if not found and name.endswith(".py") and Path(name).is_file():
        registered = sorted(entry.name for entry in registry.entries_in(Path(name)))
        raise UserError(
            f"{name}: say which of the file: {name}:NAME; it registers: {', '.join(registered) or 'nothing'}"
        )
    if kind is not None and kind not in found:
        what = f"it is a {' and a '.join(found)}" if found else "there is nothing of that name"
        known = _names()[kind]()
        raise UserError(f"'{name}' is no {kind}: {what}.{nearest(name, known, label=f'{kind}s are')}")
    if kind is not None or len(found) == 1:
        return kind or found[0]
    if found:
        raise UserError(f"'{name}' is a {' and a '.join(found)}; say which with --kind")
    every = {n for names in _names().values() for n in names()}
    raise UserError(
        f"unknown name '{name}'.{nearest(name, every)}; or a file: my_method.py:NAME, my_backbone.py:NAME, my_data.yaml"
    )


def _names() -> Mapping[str, Callable[[], list[str]]]:
    return {
        "method": lambda: registry.names("method"),
        "context": lambda: registry.names("context"),
        "backbone": backbones.names,
        "dataset": lambda: [*catalogue.names(), *catalogue.plugin_names()],
    }


def _kinds_in_file(name: str) -> list[str]:
    """The kinds of what a file's text declares under a name; UserError with what it does declare where that is nothing."""
    file = outside_names.original(outside_names.file_of(name))
    subject = f"'{outside_names.without_folder(name)}'"
    outside.check_file(file, subject)
    if file.suffix != ".py":
        return ["dataset"]
    attribute, tree = name.rpartition(":")[2], _parsed(file)
    marked = {(entry.kind, entry.name) for entry in registry.entries_in(file)}
    assigned = backbones.assignments(tree)
    listed = _literal_names(assigned.get("NAMES"))
    found = [kind for kind in ("method", "context") if (kind, attribute) in marked]
    found += ["backbone"] if attribute in listed else []
    if not found and attribute in assigned and attribute not in ("NAMES", "STRIDES", "WEIGHTS"):
        found = ["dataset"]
    if not found:
        declared = sorted({n for _, n in marked} | set(listed) | ({*assigned} - {"NAMES", "STRIDES", "WEIGHTS"}))
        raise UserError(
            f"{file} declares no '{attribute}': a method is marked @register(\"NAME\"), a backbone stands in NAMES, a dataset "
            f"is a variable.{nearest(attribute, declared, label='declared are')}"
        )
    return found


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    except SyntaxError as error:
        raise UserError(f"{file}:{error.lineno}: not Python: {error.msg}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as Python: {error}") from None


def _literal_names(node: ast.expr | None) -> list[str]:
    try:
        names = ast.literal_eval(node) if node is not None else ()
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, tuple | list) else []


def subject_of(
    kind: str, name: str, options: Mapping[str, Any], data_dir: Path | None, cache: Path, images: int | None
) -> tuple[Any, tuple[Clause, ...]]:
    """What is tested, and the clauses of its contract. UserError for options that it does not take, and for a dataset's file
    that is wrong."""
    if kind in ("method", "context"):
        from harness.conformance import method

        subject = method.MethodSubject(name, options, kind)
        subject.all_options()
        return subject, method.CLAUSES
    if options:
        raise UserError(f"--option is of methods and contexts; '{name}' is a {kind}")
    if kind == "backbone":
        from harness.conformance import backbone

        return backbone.BackboneSubject(name), backbone.CLAUSES
    from harness.conformance import dataset

    catalogue.find(name)  # else every clause would say what is wrong in the file
    return dataset.DatasetSubject(name, data_dir, cache, images), dataset.CLAUSES
