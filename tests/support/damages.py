"""Damaged files of a results folder: the n-th damage of a content is the same on every machine.

As disks, full disks, editors and hands make them: truncated, garbage, zeros, another encoding, another type at some place,
keys missing, JSON nested a thousand deep, another kind of record.
"""

from __future__ import annotations

import json
import random
from typing import Any

_VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1e308,
        float("nan"),
        float("inf"),
        -float("inf"),
        10**40,
        2**63,
        "",
        "x",
        "a\0b",
        "\x1b[31m",
    ),
    *(
        "../../..",
        "=1+1",
        "\ud800",
        "**",
        "2026-13-45",
        [],
        {},
        [[]],
        [None],
        {"a": 1},
        {"": None},
        ["x"] * 3,
        [0.5, "1"],
    ),
]


def damage(content: bytes, number: int) -> bytes:
    """The `number`-th damage of a file's content; of JSON, half of them are JSON of another shape."""
    chance = random.Random(number)
    if chance.random() < 0.5:
        lines = content.splitlines()
        whole = _changed_json(content, chance)
        if whole is not None:
            return whole
        line = chance.randrange(len(lines)) if lines else 0
        changed = _changed_json(lines[line], chance) if lines else None
        if changed is not None:
            return b"\n".join([*lines[:line], changed, *lines[line + 1 :]]) + b"\n"
    k = chance.randrange(len(content) + 1)
    text = content.decode("latin-1")
    return chance.choice(
        [
            b"",
            content[:k],
            content[k:],
            content[:k] + b"\0" * 512 + content[k + 512 :],
            content[:k] + chance.randbytes(9) + content[k + 9 :],
            chance.randbytes(200),
            b"\xff\xfe" + text.encode("utf-16-le"),
            b"\xef\xbb\xbf" + content,
            content[:k] + b"\xe9" + content[k:],
            content + content,
            b"[" * 1000 + b"]" * 1000,
            b'{"a":' * 100_000,
            b'{"a":' * 600 + b"1" + b"}" * 600,
            b"null",
            b"[]",
            b'"text"',
            b"1" * 5000,
        ]
    )


def _changed_json(content: bytes, chance: random.Random) -> bytes | None:
    """One value, key or entry changed; None where the content is no JSON."""
    try:
        tree = [json.loads(content)]
    except ValueError:
        return None
    places: list[tuple[Any, Any]] = []
    pending: list[Any] = [tree]
    while pending:
        node = pending.pop()
        entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in entries:
            places.append((node, key))
            pending.append(value)
    holder, key = chance.choice(places)
    what = chance.random()
    if what < 0.6:
        holder[key] = chance.choice(_VALUES)
    elif what < 0.75:
        for _ in range(chance.choice((1, 60, 700))):
            holder[key] = {"a": holder[key]} if chance.random() < 0.5 else [holder[key]]
    elif holder is not tree and what < 0.9:
        del holder[key]
    elif isinstance(holder, dict):
        holder[chance.choice(("", "key", "needs", "a\0b"))] = chance.choice(_VALUES)
    return json.dumps(tree[0] if tree else None).encode()
