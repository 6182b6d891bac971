"""What `plan` prints: how much is to be run, and in few lines what cannot run here and why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.cli.main import main


def test_what_cannot_run_here_is_grouped_by_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["idrnet_table2", "--rows", "fcn*", "--data", str(tmp_path), "--results", str(tmp_path / "none")]
    assert main(["plan", *arguments]) == 3
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    start = lines.index("16 jobs cannot run here:")
    assert len(lines) == start + 1 + 5 + 2  # four datasets, the weights, and what to do about either
    for dataset in ("ade20k", "coco_stuff10k", "cityscapes", "lip"):
        (line,) = (line for line in lines if f"dataset '{dataset}'" in line)
        assert re.match(rf"  4 jobs: .* looked at {tmp_path}/{dataset}; get it from \S+", line), line
    (line,) = (line for line in lines if "weights of 'resnet50_v1c'" in line)
    assert line.startswith("  8 jobs: ")
    assert line.endswith("python -m harness weights download resnet50_v1c fetches them")
    assert printed.count("HARNESS_DATA") == printed.count("$HARNESS_WEIGHTS") == 1
    assert "It must contain" not in printed
    assert main(["status", *arguments]) == 1
    status = capsys.readouterr().out
    assert "It must contain" not in status
    assert len(status.splitlines()) == 8 + 1
    assert main(["why", "idrnet_table2/fcn/ade20k", *arguments[3:]]) == 0
    assert "It must contain, e.g. for split 'train':" in capsys.readouterr().out


def test_memory_of_trainings_where_none_is_to_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    part = ["idrnet_table5", "--rows", "ocr", "--columns", "flops", "--gpu-memory", "80"]
    assert main(["plan", *part, "--results", str(tmp_path)]) == 0
    assert "memory: no training is to run, so there is nothing to count" in capsys.readouterr().out.splitlines()


def test_a_terminal_breaks_sentences_between_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    arguments = ["plan", "ecenet_table3", "--data", "data"]
    assert main(arguments) == 3
    piped = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(arguments) == 3
    printed = capsys.readouterr().out
    assert max(map(len, piped.splitlines())) > 80
    assert max(map(len, printed.splitlines())) <= 80
    assert printed.split() == piped.split()
    assert "…" not in printed
