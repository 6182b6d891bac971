"""Damaged YAML files: the n-th mutant of a file is the same on every machine.

A file is read into a tree, the tree is changed in one to four places (values, types, keys, deletions, duplications,
nesting), and it is written again; one mutant in four is changed as text or as bytes instead.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml

_PLAIN = re.compile(r"[-+.\w]*[0-9][-+.\w]*\Z|true\Z|false\Z|null\Z|~\Z")

_MARKS = "{}[]|>&*!%@#'\",:-?`\t\0\x1b\x85\ufeff"


class Raw(str):
    """A plain value, written as it is: YAML decides what it means."""


class Pairs(list):
    """A mapping as (key, value) pairs, so that a key may stand twice."""


_NUMBERS = """
0 -0.0 1 -1 2 0.5 1e308 1e999 -1e999 1e-400 5e-324 .inf -.inf .nan 1.x 1e 1_000 0x10 0o17 1:30 +3. .5 1,5 1e-300
2147483648 9223372036854775808 1e15 12345678901234.5678 １２ ٣
"""
NUMBERS = [*_NUMBERS.split(), "7" * 18, "9" * 40, "9" * 5000, "0." + "3" * 400, "0." + "3" * 30_000]
_WORDS = """
null;~;true;false;yes;[];{};[[]];[1, 3];[[1, 3, 64, 64]];{name: fcn};2026-01-01;[1e5];&a x;*a;!!set {x}
{value: 3, text: 1.x};{value: 3, text: };{value: 3.70, gain: .inf};{value: 3.7, gain: 1e-300000};{value: "inf"}
{value: 1e99, gain: 2};{value: 3.7, bound: ">", gain: +1.20};{value: 7.40, gain_text: x}
"""
WORDS = re.split(r"[;\n]", _WORDS.strip())
_TEXTS = r"""
. .. / - --rows {} {column} {0.__class__} $(id) =1+1 <b> | ``` * [a](b) \input{x} %s%n ../../../etc/passwd /dev/zero
/dev/null /proc/self/mem ~nobody/x ~/x.py:y x.py:y fcn ppm idrnet miou flops latency camvid synthetic 1e5 nan inf COM1
timm/resnet18 resnet18 idrnet/ade20k camvid/scratch tests/support/slow_methods.py:x é 漢
"""
TEXTS = [
    *_TEXTS.split(),
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\0.py:fcn",
        "\x1b[31mred\x1b[0m",
        "\x07\x08\x9b2J",
        "a\nb",
        "a\r\tb",
        "\u202eg",
        "\ud800",
    ),
    *("e\u0301" * 500, "x" * 300, "x" * 100_000, "a/" * 3000),
]


def mutant(text: str, number: int) -> bytes:
    """The `number`-th mutant of a file's text; number 0 of a whole file is the file as it is, in another layout."""
    chance = random.Random(number)
    if number and chance.random() < 0.25:
        return _text_mutant(text, chance)
    tree = _tree(yaml.compose(text, Loader=yaml.CSafeLoader))
    for _ in range(0 if not number else chance.choice((1, 1, 1, 2, 3, 4))):
        chance.choice(_CHANGES)(tree, chance)
    return "".join(_render(tree, 0)).encode("utf-8", "surrogatepass") + b"\n"


def _tree(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return Pairs([_tree(key), _tree(value)] for key, value in node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_tree(child) for child in node.value]
    return Raw(node.value) if not node.style and _PLAIN.match(node.value) else str(node.value)


def _render(value: Any, depth: int) -> Iterator[str]:
    """Flow style, an entry per line in the upper levels."""
    if isinstance(value, Raw):
        yield value
    elif isinstance(value, str):
        yield json.dumps(value)
    else:
        lead = "\n" + " " * depth if depth < 4 else ""
        yield "{" if isinstance(value, Pairs) else "["
        for i, entry in enumerate(value):
            yield ("," if i else "") + lead
            if isinstance(value, Pairs):
                yield from _render(entry[0], depth + 1)
                yield ": "
                entry = entry[1]
            yield from _render(entry, depth + 1)
        yield "}" if isinstance(value, Pairs) else "]"


# ------------------------------------------------------------------------------------------------------ of the tree

_Place = tuple[list, int]  # a list and an index in it that holds a value


def _places(tree: Any) -> list[_Place]:
    """Where values stand, the keys of mappings apart."""
    places: list[_Place] = []
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, Pairs):
            places += [(pair, 1) for pair in node]
            pending += [pair[1] for pair in node]
        elif isinstance(node, list):
            places += [(node, i) for i in range(len(node))]
            pending += node
    return places


def _choose(tree: Any, chance: random.Random) -> _Place:
    return chance.choice(_places(tree) or [([tree], 0)])


def _new_value(tree: Any, chance: random.Random) -> Any:
    kind = chance.random()
    if kind < 0.35:
        return Raw(chance.choice(NUMBERS))
    if kind < 0.5:
        return Raw(chance.choice(WORDS))
    if kind < 0.85:
        return chance.choice(TEXTS)
    holder, i = _choose(tree, chance)
    return copy.deepcopy(holder[i])


def _replace(tree: Any, chance: random.Random) -> None:
    holder, i = _choose(tree, chance)
    holder[i] = _new_value(tree, chance)


def _replace_number(tree: Any, chance: random.Random) -> None:
    """Numbers are most of a table, and where most can go wrong."""
    numbers = [(holder, i) for holder, i in _places(tree) if isinstance(holder[i], Raw)]
    holder, i = chance.choice(numbers or [_choose(tree, chance)])
    holder[i] = Raw(chance.choice(NUMBERS)) if chance.random() < 0.7 else _new_value(tree, chance)


def _rename(tree: Any, chance: random.Random) -> None:
    pairs = [holder for holder, i in _places(tree) if i == 1 and isinstance(holder[0], str)]
    if pairs:
        chance.choice(pairs)[0] = chance.choice([*TEXTS, *(pair[0] for pair in pairs)])


def _delete(tree: Any, chance: random.Random) -> None:
    nodes = [node for node in (tree, *(holder[i] for holder, i in _places(tree))) if isinstance(node, list) and node]
    if nodes:
        node = chance.choice(nodes)
        del node[chance.randrange(len(node))]


def _duplicate(tree: Any, chance: random.Random) -> None:
    nodes = [node for node in (tree, *(holder[i] for holder, i in _places(tree))) if isinstance(node, list) and node]
    if nodes:
        node = chance.choice(nodes)
        entry = copy.deepcopy(chance.choice(node))
        if isinstance(node, Pairs) and chance.random() < 0.7:
            entry[0] = f"{entry[0]}{chance.randrange(9)}"
        node.insert(chance.randrange(len(node) + 1), entry)


def _swap(tree: Any, chance: random.Random) -> None:
    (a, i), (b, j) = _choose(tree, chance), _choose(tree, chance)
    a[i], b[j] = copy.deepcopy(b[j]), copy.deepcopy(a[i])


def _nest(tree: Any, chance: random.Random) -> None:
    holder, i = _choose(tree, chance)
    for _ in range(chance.choice((1, 1, 2, 60, 300))):
        holder[i] = [holder[i]] if chance.random() < 0.5 else Pairs([["a", holder[i]]])


def _add_key(tree: Any, chance: random.Random) -> None:
    """A key from elsewhere in the file, with a value of its own."""
    mappings = [node for node in (tree, *(h[i] for h, i in _places(tree))) if isinstance(node, Pairs) and node]
    if mappings:
        key = chance.choice(chance.choice(mappings))[0]
        chance.choice(mappings).append([copy.deepcopy(key), _new_value(tree, chance)])


_CHANGES: list[Callable[[Any, random.Random], None]] = [
    *(_replace, _replace, _replace, _replace_number, _replace_number),
    *(_rename, _delete, _duplicate, _swap, _nest, _add_key),
]

# ------------------------------------------------------------------------------------------------------- of the text


def _text_mutant(text: str, chance: random.Random) -> bytes:
    lines = text.split("\n")
    for _ in range(chance.choice((1, 1, 2, 4))):
        i, j = chance.randrange(len(lines)), chance.randrange(len(lines))
        what = chance.randrange(7)
        if what == 0 and len(lines) > 1:
            del lines[i]
        elif what == 1:
            lines.insert(j, lines[i])
        elif what == 2:
            lines[i], lines[j] = lines[j], lines[i]
        elif what == 3:
            lines[i] = " " * chance.randrange(9) + lines[i].lstrip()
        elif what == 4:
            k = chance.randrange(len(lines[i]) + 1)
            lines[i] = lines[i][:k] + chance.choice([*_MARKS, "&a ", "*a"]) + lines[i][k:]
        elif what == 5:
            lines[i] = re.sub(r"(?<=: )\S.*", lambda _: chance.choice([*NUMBERS, *WORDS]), lines[i])
        else:
            lines[i] = re.sub(r"(?<=: )\S.*", lambda _: json.dumps(chance.choice(TEXTS)), lines[i])
    return _bytes_mutant("\n".join(lines).encode(), chance) if chance.random() < 0.3 else "\n".join(lines).encode()


def _bytes_mutant(content: bytes, chance: random.Random) -> bytes:
    """Truncated, another encoding, garbage, empty, or nested without end."""
    k = chance.randrange(len(content) + 1)
    deep = chance.choice((200, 5000, 100_000))
    return chance.choice(
        [
            content[:k],
            content[:k] + bytes(chance.randrange(256) for _ in range(8)) + content[k + 8 :],
            content[:k] + b"\0" * chance.randrange(1, 600),
            b"",
            content.decode("utf-8", "replace").encode("utf-16"),
            content.decode("utf-8", "replace").encode("latin-1", "replace") + b"\n# \xe9\n",
            b"\xef\xbb\xbf" + content,
            content.replace(b"\n", b"\r\n"),
            b"[" * deep,
            b"{a: " * deep + b"1" + b"}" * deep,
            b"- " * deep,
            b"a: &a [x, x]\n" + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b"*a, " * 9) for n in range(9)) + content,
        ]
    )
