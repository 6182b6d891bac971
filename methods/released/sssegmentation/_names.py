"""Patterns of names, and how a state is renamed by them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

Names = tuple[tuple[str, str], ...]
"""(pattern at the start of a foreign name, ours), tried in order."""


def translate(name: str, names: Names) -> str | None:
    """Our name of a foreign one; None where no pattern fits."""
    for pattern, ours in names:
        match = re.match(pattern, name)
        if match is not None:
            return match.expand(ours) + name[match.end() :]
    return None


def rename(state: Mapping[str, Tensor], names: Names) -> tuple[dict[str, Tensor], list[str]]:
    """(the state under our names, foreign names that no pattern fits)"""
    ours: dict[str, Tensor] = {}
    unmatched = []
    for name, value in state.items():
        translated = translate(name, names)
        if translated is None:
            unmatched.append(name)
        else:
            ours[translated] = value
    return ours, unmatched
