"""Paths of table, recipe and profile files. No file is read here, so that listing is fast."""

from __future__ import annotations

from pathlib import Path

from harness import ROOT


def files(shelf: str, near: Path | None = None) -> dict[str, Path]:
    """The YAML files of a folder (`recipes`, `profiles`) by stem: those beside the table first, then the checkout's."""
    by_name: dict[str, Path] = {}
    for folder in ([near / shelf] if near is not None else []) + [ROOT / "tables" / shelf]:
        for file in sorted(folder.glob("*.yaml")):
            by_name.setdefault(file.stem, file)
    return by_name


def table_files() -> list[Path]:
    """The checkout's tables."""
    return sorted((ROOT / "tables").glob("*.yaml"))
