"""The example of a table from a paper: its commands list, write and, with the page's three edits, plan a table."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from harness import ROOT
from harness.cli.main import main

PAGE = (ROOT / "examples" / "paper.md").read_text(encoding="utf-8")
COMMANDS = [line.split()[3:] for line in PAGE.splitlines() if line.startswith("python -m harness new table --from")]
EDITS = re.findall(r"^\| (?:the line )?`([^`|]+)` \| `([^`]+)`(, and below it `columns:`)? \|$", PAGE, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_page_write_a_table_that_runs_after_its_edits(folder: Path, capsys):
    listing, writing = COMMANDS
    assert main(listing) == 2
    assert capsys.readouterr().out.split()[0] == "tab:scenes"
    assert main(writing) == 0
    assert "paper.tex:15: '31.5/31.9'" in capsys.readouterr().err
    assert main(["plan", "examples/scenes.yaml", "--profile", "smoke"]) == 5
    assert "6 cells with nothing to run" in capsys.readouterr().out

    file = folder / "examples" / "scenes.yaml"
    text = file.read_text(encoding="utf-8")
    assert len(EDITS) == 3
    for old, new, above in EDITS:
        assert old in text
        replacement = (new + f"\n{old}" * bool(above)).replace("\\", r"\\")
        text = re.sub(rf"{re.escape(old)}(?=[,}}\n])", replacement, text)
    file.write_text(text, encoding="utf-8")
    assert main(["plan", "examples/scenes.yaml", "--profile", "smoke"]) == 0
    assert "6 cells" in capsys.readouterr().out
