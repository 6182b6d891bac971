"""Where table, recipe and profile files lie. Nothing here reads them, so listing stays quick."""

from __future__ import annotations

from pathlib import Path

from harness import ROOT


def files(shelf: str, near: Path | None = None) -> dict[str, Path]:
    """The YAML files of a shelf (`recipes`, `profiles`) by stem: those beside the table first, then the checkout's."""
    found: dict[str, Path] = {}
    for folder in ([near / shelf] if near is not None else []) + [ROOT / "tables" / shelf]:
        for file in sorted(folder.glob("*.yaml")):
            found.setdefault(file.stem, file)
    return found


def table_files() -> list[Path]:
    """The checkout's tables."""
    return sorted((ROOT / "tables").glob("*.yaml"))
