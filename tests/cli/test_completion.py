"""Completion in the shell: commands, options, tables, their rows and columns, profiles, datasets, clusters, cells."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from harness import ROOT
from harness.cli.main import GROUP

TABLE = "tables/idrnet_table2.yaml"


def complete(*words: str) -> list[str]:
    """The values offered for the last word after these."""
    shell = ShellComplete(GROUP, {}, "harness", "_HARNESS_COMPLETE")
    return [item.value for item in shell.get_completions([*words[:-1]], words[-1])]


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rep"], ["report", "reproduce"]),
        (["data", "ver"], ["verify"]),
        (["plan", "--rep"], ["--repetitions"]),
        (["run", "tables/idrnet_table2"], [TABLE]),
        (["audit", "tables/idrnet_table2"], [TABLE]),
        (["run", TABLE, "--rows", "fcn"], ["fcn", "fcn_idrnet"]),
        (["run", "--profile", "smoke", TABLE, "--columns", "ci"], ["cityscapes"]),
        (["run", TABLE, "--rows", "fcn", "--columns", "l"], ["lip"]),
        (["plan", TABLE, "--profile", "s"], ["short", "smoke"]),
        (["plan", TABLE, "--device", "c"], ["cpu", "cuda"]),
        (["data", "verify", "camv"], ["camvid"]),
        (["run", TABLE, "--on", "slurm/clusters/loc"], ["slurm/clusters/local.yaml"]),
        (["list", "metr"], ["metrics"]),
        (["why", "idrnet_table2"], ["idrnet_table2/"]),
        (["why", "idrnet_table2/fcn/ci"], ["idrnet_table2/fcn/cityscapes"]),
        (["export", "--format", "p"], ["parquet"]),
    ],
    ids=" ".join,
)
def test_what_may_come_next(words: list[str], expected: list[str]):
    assert complete(*words) == expected


def test_rows_of_two_tables_are_those_of_both():
    rows = complete("run", TABLE, "tables/idrnet_table5.yaml", "--rows", "")
    assert set(rows) == {
        *complete("run", TABLE, "--rows", ""),
        *complete("run", "tables/idrnet_table5.yaml", "--rows", ""),
    }
    assert len(rows) > len(complete("run", TABLE, "--rows", ""))


def test_a_bad_file_on_the_command_line_completes_nothing():
    assert complete("run", "absent.yaml", "--rows", "") == []
    assert complete("run", "README.md", "--rows", "") == []


def test_a_table_outside_the_checkout_is_left_to_the_shell():
    shell = ShellComplete(GROUP, {}, "harness", "_HARNESS_COMPLETE")
    assert [item.type for item in shell.get_completions(["run"], "../mine/t")] == ["file"]


@pytest.mark.parametrize(("shell", "line"), [("bash", "complete -o nosort"), ("zsh", "compdef"), ("fish", "complete ")])
def test_the_script_for_a_shell_is_printed(shell: str, line: str):
    environ = {**os.environ, "_HARNESS_COMPLETE": f"{shell}_source"}
    code = "import sys; from harness.cli.main import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert line in done.stdout
    assert "harness" in done.stdout


def test_the_shell_gets_its_words():
    """What bash runs at each press of the key."""
    environ = {**os.environ, "_HARNESS_COMPLETE": "bash_complete", "COMP_WORDS": "harness da", "COMP_CWORD": "1"}
    code = "import sys; from harness.cli.main import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "plain,data\n"), done.stderr
