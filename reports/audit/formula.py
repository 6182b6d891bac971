"""Formulas over printed cells, exact: `t9.hfgd_os4.miou - t9.sfpn.miou`, `t13.hfgd.ss > best_cited(t13.ss)`.

A cell is TABLE.ROW.COLUMN, where `t9` is the paper's Table 9. `best(t9.miou)` is the best value printed in a column,
`best_cited` the best of the rows that the paper quotes, and `best_cited(t9.miou, 'caa*')` leaves rows out.
"""

from __future__ import annotations

import ast
import fnmatch
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from harness.errors import UserError
from harness.table.schema import Table, Value
from harness.text import shorten

_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
}


_NAMED = re.compile(r"best(?:_cited)?\([^()]*\)|[A-Za-z_]\w*(?:\.\w+){2}")
_DIGITS = re.compile(r"[0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18}")
_LARGEST = 10**15
_LONGEST = 1000  # characters: what is nested deeper is no arithmetic of a paper


class NoPrintedValue(Exception):
    """A cell that exists but has no printed value."""


@dataclass
class Cells:
    """The printed cells of one paper's tables. `used` collects the cells that formulas have read."""

    tables: Mapping[str, Table]  # by `t9`
    used: list[tuple[Table, str, str]] = field(default_factory=list)

    def value(self, text: str) -> Fraction | bool:
        """What a formula comes to. UserError where it is not one or names what does not exist; NoPrintedValue without value."""
        if len(text) > _LONGEST:
            raise UserError(f"a formula of {len(text)} characters is no formula")
        try:
            tree = ast.parse(text, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise UserError(f"'{text}' is not a formula") from None
        value = self._node(tree.body, text)
        if abs(Fraction(value)) > _LARGEST:
            raise UserError(f"'{text}' is larger than any printed number")
        return value

    def spelled(self, text: str) -> str:
        """A formula with the printed numbers in the place of cells: `48.67 > 48.76`. For formulas that have a value."""

        def number(found: re.Match[str]) -> str:
            before, self.used = self.used, []
            self.value(found[0])
            (table, row, column), self.used = self.used[0], before
            return table.published.values[row][column].text

        return _NAMED.sub(number, text)

    def place(self, text: str) -> tuple[Table, str, str]:
        """The cell `t9.row.column`. UserError where there is none."""
        parts = text.split(".")
        if len(parts) != 3 or parts[0] not in self.tables:
            raise UserError(f"'{text}' is not a cell: TABLE.ROW.COLUMN, tables are {', '.join(self.tables)}")
        table = self.tables[parts[0]]
        if parts[1] not in table.rows or parts[2] not in table.columns:
            raise UserError(f"'{text}': {table.id} has no such row or column")
        return table, parts[1], parts[2]

    def _node(self, node: ast.AST, text: str) -> Fraction | bool:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return _number(ast.get_source_segment(text, node) or "", text)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -Fraction(self._node(node.operand, text))
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            left, right = self._node(node.left, text), self._node(node.right, text)
            if isinstance(node.op, ast.Div) and right == 0:
                raise UserError(f"'{text}' divides by nothing")
            return _OPERATORS[type(node.op)](left, right)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATORS:
            left, right = self._node(node.left, text), self._node(node.comparators[0], text)
            return _OPERATORS[type(node.ops[0])](left, right)
        if isinstance(node, ast.Attribute):
            return self._cell(_dotted(node, text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            return self._best(node, text)
        raise UserError(f"'{text}': only numbers, cells, + - * / comparisons, best and best_cited are understood")

    def _cell(self, name: str) -> Fraction:
        table, row, column = self.place(name)
        value = table.published.values.get(row, {}).get(column)
        if value is None:
            raise NoPrintedValue(f"{table.id}/{row}/{column}")
        self.used.append((table, row, column))
        return Fraction(value.text)

    def _best(self, call: ast.Call, text: str) -> Fraction:
        name = call.func.id  # type: ignore[attr-defined]
        if name not in ("best", "best_cited"):
            raise UserError(f"'{text}': there is no function '{name}'; best and best_cited are")
        key, _, column = _dotted(call.args[0], text).partition(".")
        if key not in self.tables or column not in self.tables[key].columns:
            raise UserError(f"'{text}': '{key}.{column}' is no column")
        table = self.tables[key]
        but = [a.value for a in call.args[1:] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        found: list[tuple[Fraction, str]] = []
        for row, value in printed(table, column).items():
            left_out = any(fnmatch.fnmatchcase(row, glob) for glob in but)
            if not left_out and (name == "best" or table.rows[row].quoted is not None):
                found.append((Fraction(value.text), row))
        if not found:
            raise NoPrintedValue(f"{table.id}, column {column}")
        most = (max if table.column(column).metric.better == "higher" else min)(found, key=lambda entry: entry[0])
        self.used.append((table, most[1], column))
        return most[0]


def printed(table: Table, column: str) -> dict[str, Value]:
    """{row: printed value} of a column."""
    return {row: values[column] for row, values in table.published.values.items() if column in values}


def _number(digits: str, text: str) -> Fraction:
    """A number of a formula: plain decimal digits, as papers print them."""
    if not _DIGITS.fullmatch(digits):
        raise UserError(f"'{text}': '{shorten(digits, 24)}' is no number as a paper prints it, like 3.60")
    return Fraction(digits)


def _dotted(node: ast.AST, text: str) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, text)}.{node.attr}"
    raise UserError(f"'{text}': expected a cell like t1.row.column")
