"""Paths of table, recipe and profile files. No file is read here, so that listing is fast."""

from __future__ import annotations

import os
from pathlib import Path

from harness import SHIPPED
from harness.errors import Problem, Problems, nearest


def files(shelf: str, near: Path | None = None) -> dict[str, Path]:
    """The YAML files of a folder (`recipes`, `profiles`) by stem: those beside the table first, then those shipped."""
    by_name: dict[str, Path] = {}
    for folder in ([near / shelf] if near is not None else []) + [SHIPPED / "tables" / shelf]:
        for file in sorted(folder.glob("*.yaml")):
            by_name.setdefault(file.stem, file)
    return by_name


def table_files() -> list[Path]:
    """The tables that come with the harness."""
    return sorted((SHIPPED / "tables").glob("*.yaml"))


def table_file(name: str | os.PathLike[str]) -> Path:
    """The file of a table that is named by its path or by its bare name (`camvid`): one here, or one that is shipped, which
    `tables/camvid.yaml` names, too, where there is no such file.

    Problems where there is neither, with the nearest name.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    known = {file.stem: file for file in table_files()}
    if len(path.parts) == 1:
        here = [Path(f"{path.name}.yaml"), Path("tables") / path.name, Path("tables") / f"{path.name}.yaml"]
        for file in (*here, known.get(path.name.removesuffix(".yaml"))):
            if file is not None and file.is_file():
                return file
    elif path.parts[:-1] == ("tables",) and path.stem in known and not path.exists():
        return known[path.stem]
    if path.exists():  # a folder, or a pipe: what is wrong with it is said where it is read
        return path
    tail = nearest(path.name.removesuffix(".yaml"), known, label="tables are")
    raise Problems([Problem(str(name), 0, "", f"there is no such file.{tail}")])
