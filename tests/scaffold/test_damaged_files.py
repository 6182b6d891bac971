"""Mutants of the printed tables: each is read, or is an error of the file; what is written is always a valid table.

HARNESS_MUTANTS=0:10000 reads the mutants of these numbers (10 000 in about 8 minutes); a failure names the number of its mutant.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

from harness import ROOT
from harness.errors import UserError
from harness.scaffold import formats, layout, write

FIRST, _, LAST = os.environ.get("HARNESS_MUTANTS", "0:80").partition(":")
FIXTURES = ROOT / "tests" / "fixtures"
FILES = [
    file for folder in ("latex", "printed") for file in sorted((FIXTURES / folder).iterdir()) if file.suffix != ".yaml"
]
PIECES = [
    *"{}\\&$%[]_^|`,\"'~\n",
    "\\\\",
    "\\multicolumn{2}{c}{",
    "\\multirow{3}{*}{",
    "\\begin{tabular}",
    "\\end{tabular}",
    "\\begin{tblr}",
    "\\SetCell[r=2,c=2]{c}",
    "cell{2-Z}{1}={c=2}{},",
]
PIECES += [
    "#1",
    "\\def\\x",
    "\\newcommand{\\y}",
    "\\textbf",
    "\\hline",
    "\\input{x}",
    "<td",
    "</td>",
    "<table>",
    "&#x41;",
    "**",
]
PIECES += [
    'rowspan="3"',
    "colspan=2",
    '<math alttext="',
    "--",
    "\u2009",
    "(+",
    "±",
    "1e9",
    "0.",
    "\x1b",
    "\u200e",
    "\u0661",
    "²",
]


def mutant(number: int) -> tuple[Path, str]:
    """(file, its text with one to six pieces removed, put in or moved)."""
    choose = random.Random(number)
    file = choose.choice(FILES)
    text = file.read_text(encoding="utf-8-sig")
    for _ in range(choose.randint(1, 6)):
        at, other = choose.randrange(len(text) + 1), choose.randrange(len(text) + 1)
        length = choose.choice([1, 1, 2, 5, 20, 100])
        kind = choose.random()
        if kind < 0.4:
            text = text[:at] + text[at + length :]
        elif kind < 0.8:
            text = text[:at] + choose.choice(PIECES) + text[at:]
        else:
            text = text[:other] + text[at : at + length] + text[other:]
    return file, text


def outcome(file: Path) -> str:
    """'' where all its tables are read and their files are valid; else the error."""
    try:
        for name, _ in formats.tables(file)[:3]:
            grid = formats.read(file, name)
            assert grid is not None
            content = write.table_text(layout.read(grid, {"": "miou"}, file.name), write.Heading("paper", file.name))
            write.check(content, file.with_name("written.yaml"))
    except UserError as error:
        return str(error)
    return ""


def test_a_damaged_file_is_read_or_is_an_error(tmp_path: Path):
    errors = {}
    for number in range(int(FIRST), int(LAST)):
        original, text = mutant(number)
        file = tmp_path / original.name
        file.write_text(text, encoding="utf-8")
        try:
            errors[number] = outcome(file)
        except Exception as error:
            raise AssertionError(f"mutant {number} of {original.name}") from error
    assert {n: e for n, e in errors.items() if "written.yaml" in e} == {}
    assert {
        n: e for n, e in errors.items() if e and not any(f".{kind}" in e for kind in ("tex", "html", "md", "csv"))
    } == {}
    assert {bool(error) for error in errors.values()} == {True, False}
