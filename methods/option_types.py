"""Types of options as a signature declares them, checked from the source text alone.

Understood are `int`, `float`, `bool`, `str`, `None`, `Positive` (harness.spec), `Literal[…]`, unions, sequences and mappings of
them; any other annotation takes anything.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

_PLAIN = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "None": "null"}
_PLAIN["Positive"] = "a whole number above 0"
_SEQUENCES = ("Sequence", "Iterable", "Collection", "list", "tuple", "List", "Tuple")
_MAPPINGS = ("Mapping", "dict", "Dict")


def mismatch(annotation: ast.expr | None, value: Any) -> str:
    """What an option with this annotation takes, where `value` is nothing of the kind; '' where it fits."""
    if annotation is None or _fits(annotation, value):
        return ""
    return _words(annotation)


def _fits(node: ast.expr, value: Any) -> bool:
    node = _unquoted(node)
    branches = _branches(node)
    if len(branches) > 1:
        return any(_fits(branch, value) for branch in branches)
    name, arguments = _name(node), _arguments(node)
    if name in _PLAIN:
        return _is_plain(name, value)
    if name == "Literal":
        return any(type(choice) is type(value) and choice == value for choice in _choices(arguments))
    if name in _MAPPINGS:
        return isinstance(value, Mapping)
    if name in _SEQUENCES:
        return isinstance(value, list | tuple) and _items_fit(name, arguments, value)
    return True


def _is_plain(name: str, value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return {
        "int": whole,
        "Positive": whole and value > 0,
        "float": whole or isinstance(value, float),
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
        "None": value is None,
    }[name]


def _items_fit(name: str, arguments: list[ast.expr], values: list[Any] | tuple[Any, ...]) -> bool:
    if not arguments:
        return True
    fixed = name in ("tuple", "Tuple") and not (isinstance(last := arguments[-1], ast.Constant) and last.value is ...)
    if fixed:
        return len(arguments) == len(values) and all(_fits(node, value) for node, value in zip(arguments, values))
    return all(_fits(arguments[0], value) for value in values)


def _unquoted(node: ast.expr) -> ast.expr:
    """The annotation itself where it is written as text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return ast.parse(node.value, mode="eval").body
        except (SyntaxError, ValueError):
            return ast.Name("Any")
    return node


def _branches(node: ast.expr) -> list[ast.expr]:
    """The members of a union; else the annotation alone."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_branches(node.left), *_branches(node.right)]
    if _name(node) == "Union":
        return _arguments(node)
    if _name(node) == "Optional":
        return [*_arguments(node), ast.Constant(None)]
    return [node]


def _name(node: ast.expr) -> str:
    """`Sequence` of `collections.abc.Sequence[int]`."""
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Constant) and node.value is None:
        return "None"
    return node.id if isinstance(node, ast.Name) else ""


def _arguments(node: ast.expr) -> list[ast.expr]:
    """`int` and `...` of `tuple[int, ...]`."""
    if not isinstance(node, ast.Subscript):
        return []
    return list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]


def _choices(arguments: list[ast.expr]) -> list[Any]:
    return [argument.value for argument in arguments if isinstance(argument, ast.Constant)]


def _words(node: ast.expr) -> str:
    """The annotation in words, for an error."""
    node = _unquoted(node)
    branches = _branches(node)
    if len(branches) > 1:
        return " or ".join(map(_words, branches))
    name, arguments = _name(node), _arguments(node)
    if name == "Literal":
        return f"one of {', '.join(map(str, _choices(arguments)))}"
    if name in _SEQUENCES:
        inner = ", ".join(
            dict.fromkeys(_words(a) for a in arguments if not isinstance(a, ast.Constant) or a.value is None)
        )
        count = (
            f"{len(arguments)} " if name in ("tuple", "Tuple") and "..." not in ast.unparse(node) and arguments else ""
        )
        return f"a list of {count}items, each {inner}" if inner else "a list"
    return "a mapping" if name in _MAPPINGS else _PLAIN.get(name, "anything")
