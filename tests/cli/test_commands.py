"""The commands as a person runs them: each a process of its own, on a copy of the checkout that a test may change."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from harness import ROOT
from harness.cli.group import COMMANDS
from harness.cli.main import GROUP, main
from tests.support.checkout import Checkout
from tests.support.waiting import PATIENCE

TABLE = "tables/idrnet_table2.yaml"
PART = ("--profile", "smoke", "--rows", "fcn", "--rows", "fcn_i*", "--columns", "city*")


@pytest.fixture(scope="module")
def smoked(copied: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, str]:
    """Two cells of IDRNet's Table 2 under the smoke profile, and what the run said."""
    checkout = Checkout(copied, tmp_path_factory.mktemp("smoke") / "results")
    return checkout, checkout("run", TABLE, *PART, "--no-figures", "--summary", checkout.results / "rows.json")


# ------------------------------------------------------------------------------------------------------- one real run


@pytest.mark.slow
def test_a_run_plans_measures_and_reports(smoked: tuple[Checkout, str]):
    checkout, said = smoked
    assert "4 distinct jobs (2 trainings, 2 tests); 0 already measured, 4 to run" in said
    assert "not comparable with the paper" in said
    assert len(re.findall(r"✓ fcn(_idrnet)? / cityscapes · (train|test)", said)) == 4
    assert "2 of 2 cells measured" in said
    report = Path(re.search(r"^report: (.*)$", said, re.M)[1])
    assert report.is_relative_to(checkout.results)
    assert "75.16" in report.read_text()
    assert (len(checkout.json("train")), len(checkout.json("evaluate"))) == (2, 2)
    rows = json.loads((checkout.results / "rows.json").read_text())["rows"]
    assert (rows["runnable"], rows["measured"], rows["failing"], rows["unfinished"]) == (2, 2, 0, 0)


@pytest.mark.slow
def test_a_second_run_measures_nothing_again(smoked: tuple[Checkout, str]):
    checkout, _ = smoked
    before = {p: p.stat().st_mtime_ns for p in (*checkout.json("train"), *checkout.json("evaluate"))}
    said = checkout("run", TABLE, *PART, "--no-figures")
    assert "4 already measured, 0 to run" in said
    assert {p: p.stat().st_mtime_ns for p in (*checkout.json("train"), *checkout.json("evaluate"))} == before


@pytest.mark.slow
def test_status_and_plan_and_report_agree(smoked: tuple[Checkout, str]):
    checkout, _ = smoked
    assert "2 measured" in checkout("status", TABLE, *PART)
    assert "30 not run" in checkout("status", TABLE, "--profile", "smoke", code=1)
    plan = checkout("plan", TABLE, "--profile", "smoke")
    assert "4 already measured, 60 to run" in plan
    assert re.search(r"estimated time: \d.* on \d+ slots?, from stored durations", plan)
    assert "4 to run" in checkout("plan", "idrnet_table2", *PART, "--repetitions", "2")  # by its bare name
    assert "4 to run" in checkout("plan", TABLE, *PART, "--seeds", "2")  # the same by its other name
    rows = {
        (r["row"], r["column"]): r
        for r in csv.DictReader(checkout("report", TABLE, *PART, "--format", "csv").splitlines())
    }
    assert set(rows) == {("fcn", "cityscapes"), ("fcn_idrnet", "cityscapes")}
    cell = rows["fcn", "cityscapes"]
    assert (cell["published"], cell["unit"], cell["n"], cell["profile"]) == ("75.16", "%", "1", "smoke")
    assert 0 <= float(cell["measured"]) <= 100
    assert "FCN+IDRNet" in checkout("report", TABLE, *PART, "--format", "text")


@pytest.mark.slow
def test_smoke_numbers_are_no_numbers_of_the_paper_profile(smoked: tuple[Checkout, str]):
    checkout, _ = smoked
    said = checkout("status", TABLE, "--columns", "cityscapes", code=1)
    assert "8 blocked" in said
    assert "nothing" in checkout("run", TABLE, *PART[2:], code=3)


@pytest.mark.slow
def test_why_names_what_changed_and_nothing_else_is_lost(smoked: tuple[Checkout, str]):
    checkout, _ = smoked
    cell = "idrnet_table2/fcn_idrnet/cityscapes"
    assert "measured on" in checkout("why", cell, "--profile", "smoke")
    changed = checkout.root / "methods/idrnet/relations.py"
    text = changed.read_text()
    try:
        changed.write_text(text + "\n# a remark\n")
        assert "measured on" in checkout("why", cell, "--profile", "smoke")
        changed.write_text(text + "\nADDED = 1\n")
        said = checkout("why", cell, "--profile", "smoke")
        assert "not measured: its key differs from the newest measurement" in said
        assert re.search(r"code +methods/idrnet/relations\.py changed", said)
        assert "same    config, packages, data" in said
        assert "measured on" in checkout("why", "idrnet_table2/fcn/cityscapes", "--profile", "smoke")
        assert "stale: measured before a change: code methods/idrnet/relations.py changed" in checkout(
            "status", TABLE, *PART, code=1
        )
        assert "2 already measured, 2 to run" in checkout("plan", TABLE, *PART)
    finally:
        changed.write_text(text)
    assert "2 measured" in checkout("status", TABLE, *PART)


@pytest.mark.slow
def test_looking_never_imports_torch(smoked: tuple[Checkout, str], tmp_path: Path):
    checkout, _ = smoked
    commands = [
        ["list"],
        ["plan", TABLE, "tables/idrnet_table5.yaml", "tables/camvid.yaml"],
        ["status", TABLE, *PART],
        ["why", "idrnet_table2/fcn/cityscapes", "--profile", "smoke"],
        *(["report", TABLE, *PART, "--format", f] for f in ("csv", "text", "markdown")),
    ]
    code = (
        "import sys\nfrom harness.cli.main import main\n"
        f"for command in {commands!r}:\n"
        "    main(command)\n    bad = [m for m in ('torch', 'timm', 'cv2') if m in sys.modules]\n"
        "    if bad: sys.exit(f'{command} imports {bad}')\n"
    )
    environ = {**os.environ, "HARNESS_RESULTS": str(checkout.results)}
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout.root, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ----------------------------------------------------------------------------------------------------- looking around


def help_pages() -> list[tuple[str, ...]]:
    """The words of every command, those of groups included, and none for the top."""
    context = click.Context(GROUP)
    pages: list[tuple[str, ...]] = [()]
    for name in GROUP.list_commands(context):
        command = GROUP.get_command(context, name)
        inner = command.list_commands(context) if isinstance(command, click.Group) else ()
        pages += [(name,), *((name, action) for action in inner)]
    return pages


@pytest.mark.parametrize("words", help_pages(), ids=" ".join)
def test_every_help_has_an_example_that_parses(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    assert main([*words, "--help"]) == 0
    page = capsys.readouterr().out
    example = re.search(r"example:\n  python -m harness (.*)", page.replace("\\\n   ", ""))[1]
    context = GROUP.make_context("python -m harness", [word.strip("'") for word in example.split()])
    called = []
    while isinstance(context.command, click.Group):
        name, command, arguments = context.command.resolve_command(context, [*context._protected_args, *context.args])
        called.append(name)
        if arguments == ["--help"]:
            break
        context = command.make_context(name, arguments, parent=context)
    assert tuple(called[: len(words)]) == words
    for path in context.params.get("tables", ()):
        assert (ROOT / path).is_file()
    if not words:
        assert "exit codes:" in page
        assert all(f"\n  {name} " in page for name in COMMANDS)


@pytest.mark.parametrize("words", help_pages(), ids=" ".join)
def test_no_help_is_wider_than_80_columns(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*words, "--help"]) == 0
    page = capsys.readouterr().out
    assert [line for line in page.splitlines() if len(line) > 80] == []
    assert "…" not in page


def test_h_is_help_and_nothing_at_all_is_help_with_exit_2(capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "-h"]) == 0
    assert "--decide" in capsys.readouterr().out
    assert main([]) == 2
    assert main(["data"]) == 2
    pages = capsys.readouterr()
    assert pages.out == ""
    assert "measure tables and report them" in pages.err
    assert "read every file and list everything that is wrong" in pages.err


def test_what_is_missing_on_the_command_line_is_said_with_what_to_type(capsys: pytest.CaptureFixture[str]):
    assert main(["data", "prepare"]) == 2
    said = capsys.readouterr().err
    assert "Missing argument 'DATASET'" in said
    assert re.search(r"^Known: ade20k, camvid, .*, synthetic$", said, re.M)
    example = "For example: python -m harness data prepare lip --from ~/downloads --data ~/datasets"
    assert said.splitlines()[-1] == example
    assert main(["data", "prepare", "lip"]) == 2
    said = capsys.readouterr().err
    assert "Missing option '--from'" in said
    assert "DOWNLOAD is the download that `list datasets DATASET` names: an archive, or the folder" in said
    assert said.splitlines()[-1] == example
    assert main(["run"]) == 2
    assert re.search(r"^Known: tables/camvid\.yaml, .* in all\)$", capsys.readouterr().err, re.M)


def test_preparing_without_a_data_folder_says_what_to_type(capsys: pytest.CaptureFixture[str]):
    assert main(["data", "prepare", "lip", "--from", "lip.zip"]) == 3
    assert capsys.readouterr().err.endswith("python -m harness data prepare lip --from lip.zip --data ~/datasets\n")
    assert main(["data", "prepare", "lipp", "--from", "lip.zip"]) == 2
    assert "Did you mean 'lip'?" in capsys.readouterr().err


def test_version_is_that_of_the_package_and_the_commit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("harness.environment.commit", lambda: ("0123456789abcdef", True))
    assert main(["--version"]) == 0
    printed = capsys.readouterr().out
    assert re.fullmatch(r"segmentation-harness \d+\.\d+\.\d+ at 0123456789ab with uncommitted changes\n", printed)


def test_help_loads_no_command():
    code = (
        "import sys\nfrom harness.cli.main import main\nassert main(['--help']) == 0\n"
        "light = {'harness', 'harness.cli', 'harness.errors', *(f'harness.cli.{n}' for n in ('main', 'group', 'streams'))}\n"
        "sys.exit(' '.join(m for m in sys.modules if m.split('.')[0] in ('harness', 'pydantic', 'yaml', 'rich')"
        " and m not in light) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "what",
    [
        *("tables", "methods", "contexts", "backbones", "datasets", "recipes", "profiles", "metrics", "conventions"),
        "clusters",
    ],
)
def test_list_names_things_line_by_line(what: str, capsys: pytest.CaptureFixture):
    assert main(["list", what]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 3
    assert all(re.match(r"[\w./-]+  +\S", line) for line in lines), lines
    assert main(["list"]) == 0
    everything = capsys.readouterr().out
    assert all(line.split()[0] in everything for line in lines)


@pytest.mark.slow
def test_doctor_says_what_this_machine_has(checkout: Checkout):
    said = checkout("doctor", "--data", checkout.results / "none")
    assert re.search(r"✓ torch \d", said)
    assert "dataset camvid is not under" in said


def test_output_that_nobody_reads_is_no_error(checkout: Checkout):
    process = checkout.start("list")
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(PATIENCE) == 0


def test_a_terminal_without_our_signs_is_no_error(checkout: Checkout):
    said = checkout("list", "conventions", environ={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert "G = 1024?" in said


def test_a_path_that_no_file_can_have_is_exit_2(capsys: pytest.CaptureFixture[str]):
    assert main(["data", "prepare", "camvid", "--from", f"/tmp/{'n' * 300}"]) == 2
    assert "is longer than a file's name can be" in capsys.readouterr().err
