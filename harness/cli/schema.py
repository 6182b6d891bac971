"""`schema`: JSON Schemas of the YAML files, for editors, and the reference of their keys, for people."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.errors import Exit, UserError, nearest
from harness.files import output_errors
from harness.json_schema import dump, embed, json_schema, reference
from harness.recipes.segmentation import Recipe, TestProtocol


@dataclass(frozen=True)
class FileKind:
    """One kind of YAML file: the model that reads it (`module:Class`), and where such files lie."""

    model: str
    place: str
    about: str


KINDS = {
    "table": FileKind(
        "harness.table.schema:Table", "tables/*.yaml", "A table of a paper: columns, rows, values, claims."
    ),
    "recipe": FileKind(
        "harness.recipes.segmentation:Recipe",
        "tables/recipes/PAPER.yaml",
        "How cells are trained and tested: one entry per recipe, which tables name as `PAPER/ENTRY`. An entry that"
        " `extends` another one of its file states what differs; mappings merge, everything else replaces.",
    ),
    "dataset": FileKind(
        "harness.data.declaration:Declaration",
        "datasets/NAME.yaml",
        "A dataset of your own: where its files lie and what the values in its label maps mean. Recipes name the file, by its"
        " path from the table or, where it lies in the folder `datasets` beside the table, by its name.",
    ),
    "profile": FileKind(
        "harness.recipes.profile:Profile", "tables/profiles/NAME.yaml", "A change to every recipe for a purpose."
    ),
    "cluster": FileKind(
        "harness.scheduler.slurm.cluster_file:Cluster", "slurm/clusters/NAME.yaml", "What is true of a Slurm cluster."
    ),
    "nightly": FileKind("harness.nightly.config:Nightly", "slurm/nightly.yaml", "What every night measures."),
    "paper": FileKind(
        "reports.audit.paper:Paper", "tables/papers/PAPER.yaml", "What a paper says outside its tables, for the audit."
    ),
    "names": FileKind("reports.audit.paper:Names", "tables/papers/names.yaml", "Spellings of one method or backbone."),
}


@register("schema", "table", notes="Without KIND, --out writes all of them.")
@click.argument("names", metavar="[KIND]...", nargs=-1, type=options.Choice(KINDS))
@click.option("--out", type=options.PathType(), metavar="DIR", help="write DIR/schema/*.json and DIR/reference/*.md")
def command(names: tuple[str, ...], out: Path | None) -> Exit:
    return schema(names, out)


def schema(names: Sequence[str], out: Path | None) -> Exit:
    """Writes the JSON Schema and the key reference of the named kinds of file (none: all).

    With `out`, to OUT/schema/NAME.json and OUT/reference/NAME.md; without it, one schema to standard output. Raises
    UserError for an unknown kind, or where several would be printed; OutputError where `out` cannot be written.
    """
    for name in names:
        if name not in KINDS:
            raise UserError(f"there are no {name} files.{nearest(name, KINDS)}")
    if out is None:
        if len(names) != 1:
            raise UserError(
                f"name one kind of file ({', '.join(KINDS)}), or a folder for all: python -m harness schema --out docs"
            )
        sys.stdout.write(dump(schema_of(names[0])))
        return Exit.OK
    with output_errors(out, "Choose another folder with --out DIR."):
        for path, text in documents(names or tuple(KINDS)).items():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_text(text, encoding="utf-8")
            print(out / path)
    return Exit.OK


def documents(names: Sequence[str]) -> dict[str, str]:
    """{path below the folder of documents: its text} for these kinds of file."""
    texts = {}
    for name in names:
        kind, content = KINDS[name], schema_of(name)
        texts[f"schema/{name}.json"] = dump(content)
        about = f"{kind.about} Such files are `{kind.place}`."
        note = "Generated from the models that read the files; `python -m harness schema --out docs` writes it anew."
        texts[f"reference/{name}.md"] = reference(content, f"Keys of {name} files", f"{about}\n\n{note}")
    return texts


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema of a kind of file."""
    module, _, attribute = KINDS[name].model.partition(":")
    model = getattr(importlib.import_module(module), attribute)
    if name == "recipe":
        return _recipe_file()
    content = json_schema(model)
    if name == "table":
        changes = embed(content, json_schema(TestProtocol, complete=False))
        content["$defs"]["Column"]["properties"]["test"] |= changes
    if name == "profile":
        content["properties"]["recipe"] |= embed(content, json_schema(Recipe, complete=False))
    return content


def _recipe_file() -> dict[str, Any]:
    """A mapping from names to recipes. No key is required: a base that others extend need not be complete."""
    content: dict[str, Any] = {"title": "Recipes", "description": KINDS["recipe"].about, "type": "object"}
    entry = json_schema(Recipe, complete=False)
    entry["properties"] = {
        "extends": {"type": "string", "description": "recipe of this file whose fields hold where this one is silent"},
        **entry["properties"],
    }
    content["additionalProperties"] = embed(content, entry)
    return {"$schema": entry["$schema"], **content}
