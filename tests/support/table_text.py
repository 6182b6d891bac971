"""Tables given as text."""

from __future__ import annotations

import pytest

from harness.errors import Problems
from harness.table.load import check
from harness.table.schema import Table
from harness.yamlfile import parse


def table(text: str) -> Table:
    """The table of a file `t.yaml` with this text."""
    return check(parse(text, "t.yaml"))


def problems(text: str) -> list[tuple[int, str, str]]:
    """(line, key, message) of everything that is wrong with it."""
    with pytest.raises(Problems) as caught:
        table(text)
    return [(p.line, p.key, p.message) for p in caught.value.problems]
