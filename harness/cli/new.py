"""`new table | recipe | method | … NAME`: commented, valid files to start from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import click

from harness.cli import options
from harness.cli.group import action, command_group
from harness.cli.new_names import check_dataset, check_table_names
from harness.cli.new_table import PrintedTable
from harness.cli.new_table import options as _printed_table
from harness.errors import Exit, UserError
from harness.files import output_errors

_SKELETONS = Path(__file__).parent / "skeletons"
_PLACE = re.compile(r"@(\w+)(?:=([^@\n]*))?@")
_name = click.argument("name", metavar="NAME", required=False)
_out = click.option("--out", type=options.PathType(), metavar="FILE", help="where to; nothing is overwritten")


@command_group("new", "table my_table")
def command() -> None:
    pass


@action(
    command,
    "table",
    "write a table file to start from, or one with the numbers that a paper prints",
    "my_table --recipe my_recipe/standard\n"
    "  python -m harness new table --from paper.tex --label tab:ade20k --out t.yaml",
)
@_name
@click.option("--recipe", metavar="PAPER/ENTRY", help="how its rows are trained and tested")
@click.option("--method", metavar="METHOD", help="the method of its second row, e.g. my_method.py:my_method")
@click.option("--backbone", metavar="BACKBONE", help="of all rows, e.g. my_backbone.py:my_backbone")
@_printed_table
@_out
def table(
    name: str | None,
    recipe: str | None,
    method: str | None,
    backbone: str | None,
    out: Path | None,
    printed: PrintedTable | None,
) -> Exit:
    if printed is not None:
        return printed.write(name, out)
    name = checked_name(name or "my_table")
    file = out or Path(f"{name}.yaml")
    check_table_names(file, recipe=recipe, method=method, backbone=backbone)
    row = re.sub(r"\W", "_", method.rpartition(":")[2]) if method else None
    write(file, "table.yaml", name, {"recipe": recipe, "method": method, "backbone": backbone, "row": row})
    print(f"next: python -m harness plan {file} --profile smoke")
    return Exit.OK


@action(command, "recipe", "write a file of recipes to start from", "my_recipe --dataset camvid")
@_name
@click.option("--dataset", metavar="DATASET", help="a name, or a file such as my_data.yaml")
@_out
def recipe(name: str | None, dataset: str | None, out: Path | None) -> Exit:
    name = checked_name(name or "my_recipe")
    file = out or Path("recipes", f"{name}.yaml")
    check_dataset(file, dataset)
    write(file, "recipe.yaml", name, {"dataset": dataset})
    print(f"next: python -m harness new table --recipe {name}/standard")
    return Exit.OK


@action(command, "dataset", "write a dataset's file to start from", "my_data")
@_name
@_out
def dataset(name: str | None, out: Path | None) -> Exit:
    name = checked_name(name or "my_data")
    file = out or Path("datasets", f"{name}.yaml")
    write(file, "dataset.yaml", name, {})
    print(f"next: python -m harness test {file}")
    return Exit.OK


@action(command, "backbone", "write a backbone's file to start from", "my_backbone")
@_name
@_out
def backbone(name: str | None, out: Path | None) -> Exit:
    name = checked_name(name or "my_backbone")
    file = out or Path(f"{name}.py")
    write(file, "backbone.txt", name, {"stem": file.stem})
    print(f"next: python -m harness test {file}:{name}")
    return Exit.OK


@action(command, "method", "write a method's file to start from", "my_method")
@_name
@_out
def method(name: str | None, out: Path | None) -> Exit:
    name = checked_name(name or "my_method")
    file = out or Path(f"{name}.py")
    write(file, "method.txt", name, {"stem": file.stem})
    print(f"next: python -m harness test {file}:{name}")
    return Exit.OK


@action(command, "cluster", "write a cluster file to start from, with what sinfo says", "my_cluster --partition gpu")
@_name
@click.option("--partition", metavar="NAME", help="of Slurm (the one with most GPUs per node)")
@_out
def cluster(name: str | None, partition: str | None, out: Path | None) -> Exit:
    from harness.cli.new_cluster import values_of

    name = checked_name(name or "my_cluster")
    file = out or Path(f"{name}.yaml")
    write(file, "cluster.yaml", name, values_of(partition))
    print(f"next: python -m harness doctor --on {file}")
    return Exit.OK


def checked_name(name: str) -> str:
    """The name; UserError where it cannot be one of Python's and of a YAML key as well."""
    if not name.isidentifier() or not name.isascii():
        raise UserError(f"'{name}' is no name: letters, digits and _, not beginning with a digit, e.g. my_table")
    return name


def write(file: Path, skeleton: str, name: str, values: Mapping[str, str | None]) -> None:
    """Writes a skeleton: `@key=DEFAULT@` becomes the value of `key`, where that is None or not there the default. UserError where
    there is such a file, OutputError where it cannot be written."""
    known = {"name": name, "title": name.replace("_", " "), "file": str(file), **values}

    def fill(match: re.Match[str]) -> str:
        value = known.get(match[1])
        return (match[2] or "") if value is None else value

    write_new(file, _PLACE.sub(fill, (_SKELETONS / skeleton).read_text(encoding="utf-8")))


def write_new(file: Path, text: str) -> None:
    """Writes a file that is not there yet, and says so; UserError where it is, OutputError where it cannot be written."""
    with output_errors(file, "choose another place with --out FILE"):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file.open("x", encoding="utf-8") as stream:
                stream.write(text)
        except FileExistsError:
            raise UserError(
                f"{file} is there already and is left as it is; choose another name, or --out FILE"
            ) from None
    print(f"written: {file}")
