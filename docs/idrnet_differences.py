"""Writes docs/idrnet_differences.md: where IDRNet's text, its authors' code and the rows of its tables here differ.

    python docs/idrnet_differences.py

Everything is read from the method's options, the recipes and the table files; a test holds the page current.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from harness import ROOT
from harness.table.load import load
from harness.table.schema import Table
from harness.text import markdown
from methods import registry
from methods.idrnet.differences import FIXED, OPTIONS, clause
from methods.idrnet.options import DIFFERENCES, Options
from methods.segmentor import GivenFeatures

PAGE = ROOT / "docs" / "idrnet_differences.md"
RECIPES = ROOT / "tables" / "recipes" / "idrnet.yaml"


def tables() -> list[Table]:
    return [load(path) for path in sorted((ROOT / "tables").glob("idrnet_*.yaml"))]


def rows_of_idrnet(table: Table) -> Iterator[tuple[str, str, Options]]:
    """(row, column, options as resolved) of every cell that runs method idrnet."""
    for row, spec in table.rows.items():
        if spec.method is None or spec.method.name != "idrnet":
            continue
        for column in table.columns:
            cell = spec.cells.get(column)
            chosen = {**spec.method.options, **(cell.options if cell is not None else {})}
            narrow = {"channels": 1, "fpn_channels": 1, "attention_channels": 1, "auxiliary_channels": 1}
            yield row, column, registry.build("idrnet", GivenFeatures((1, 1, 1, 1)), 2, **{**chosen, **narrow}).options


def _run(name: str, every: list[tuple[str, Options]]) -> str:
    """What the rows run: one word where all agree, else the rows that do not."""
    released, paper = DIFFERENCES[name]
    others: dict[str, dict[str, None]] = {}
    for row, options in every:
        value = getattr(options, name)
        if value != released:
            said = "as the text" if value == paper else f"{value}"
            others.setdefault(said, {})[row] = None
    apart = "; ".join(f"{said}: {', '.join(rows)}" for said, rows in others.items())
    return f"as released, but {apart}" if apart else "as released"


def _line(*cells: str) -> str:
    return "| " + " | ".join(markdown(cell) for cell in cells) + " |"


def options_section() -> list[str]:
    every = [(f"{table.id}/{row}", options) for table in tables() for row, _, options in rows_of_idrnet(table)]
    lines = ["| Point | Text | Authors' code | Tables here | Option |", "|---|---|---|---|---|"]
    for name, difference in OPTIONS.items():
        text = f"{difference.paper} ({difference.where})"
        lines.append(_line(difference.topic, text, clause(name, DIFFERENCES[name][0]), _run(name, every), name))
    return lines


def heads_section() -> list[str]:
    table = load(ROOT / "tables" / "idrnet_table2.yaml")
    lines = ["| Row | Column | Options |", "|---|---|---|"]
    for row, spec in table.rows.items():
        for column, cell in spec.cells.items():
            if spec.method is not None and spec.method.name == "idrnet" and cell.options:
                chosen = ", ".join(f"{name}: {value}" for name, value in cell.options.items())
                lines.append(_line(table.row(row).name, table.columns[column].label, chosen))
    return lines


def recipes_section() -> list[str]:
    lines = ["| Recipe | Setting | Where it is from and what else is said |", "|---|---|---|"]
    for name, entry in yaml.safe_load(RECIPES.read_text(encoding="utf-8")).items():
        lines += [_line(name, setting, remark) for setting, remark in entry.get("differs", {}).items()]
    return lines


def page() -> str:
    fixed = [_line(point.topic, point.paper, point.released, point.run) for point in FIXED]
    parts = [
        "# IDRNet: text, authors' code, and what is run here\n",
        "Written by `python docs/idrnet_differences.py` from the method's options, the recipes and the table files.\n",
        "## Options\n\n`preset: released` takes the code's side of each and is the default; `preset: paper` takes the text's.\n",
        *options_section(),
        "\n## Heads that differ between datasets\n\nThe text describes one head. In Table 2 (and where its trainings are shared) "
        "the released configurations have:\n",
        *heads_section(),
        "\n## Points that are no option\n",
        "| Point | Text | Authors' code | Here |",
        "|---|---|---|---|",
        *fixed,
        "\n## Training and test settings\n",
        *recipes_section(),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(PAGE).write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
