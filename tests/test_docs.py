"""The documentation: links lead somewhere, every room says what it is, and make and CI do what CONTRIBUTING says."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from harness import ROOT

IGNORED = {".git", ".venv", "results", "build", "node_modules"}
PAGES = sorted(
    p
    for p in ROOT.rglob("*.md")
    if not any(part in IGNORED or part.startswith(".") for part in p.relative_to(ROOT).parts)
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as renderers of Markdown make them."""
    headings = re.findall(r"^#+ +(.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> list[str]:
    """Relative links of a page whose file or heading is not there."""
    broken = []
    for link in LINK.findall(prose(path)):
        target, _, anchor = unquote(link).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_somewhere(page: Path):
    assert broken_links(page) == []


def test_the_check_of_links_sees_broken_ones(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# A heading, here\n[a](#a-heading-here) [b](none.md) [c](#no) `[d](code.md)` [e](https://e.org)\n")
    assert broken_links(page) == ["none.md", "#no"]


ROOMS = sorted(
    {p.parent for p in (ROOT / "harness").glob("*/__init__.py")}
    | {ROOT / folder for folder in ("methods", "reports", "tables", "tests", "slurm", "examples", "benchmarks")}
)


@pytest.mark.parametrize("room", ROOMS, ids=name)
def test_every_room_says_what_it_is(room: Path):
    text = (room / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert 2 <= len(text.splitlines()) <= 25


def test_pages_of_the_documentation_are_in_its_contents():
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {p.relative_to(ROOT / "docs").as_posix() for p in PAGES if p.is_relative_to(ROOT / "docs")}
    assert pages == set(re.findall(r"[\w/\-]+\.md", contents))


GUARANTEES = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def missing_tests(text: str) -> list[str]:
    """The tests that a page names and that are not there."""
    return [
        f"{file}::{function}"
        for file, function in NAMED_TEST.findall(text)
        if not (ROOT / file).is_file()
        or not re.search(rf"^def {function}\(", (ROOT / file).read_text(encoding="utf-8"), flags=re.MULTILINE)
    ]


def test_every_promise_names_tests_that_exist():
    promises = [row for row in GUARANTEES.splitlines() if row.startswith("| ") and row != "| promise | held by |"]
    assert len(promises) > 20
    assert [row for row in promises if not NAMED_TEST.search(row.split(" | ")[-1])] == []
    assert missing_tests(GUARANTEES) == []


def test_the_check_of_promises_sees_a_test_that_is_gone():
    there = "tests/test_docs.py::test_every_promise_names_tests_that_exist"
    assert missing_tests(f"`{there}`") == []
    gone = [f"{there}_not", "tests/test_none.py::test_every_promise_names_tests_that_exist"]
    assert missing_tests(" ".join(f"`{name}`" for name in gone)) == gone


def recipe(target: str) -> str:
    """What `make TARGET` would run, as make prints it, apart from setting up the environment."""
    command = ["make", "--dry-run", "--old-file=.venv/ready", "--no-print-directory", target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("target", "tools"),
    [
        ("lint", ["ruff check", "ruff format --check", "mypy", "codespell"]),
        ("check", ["ruff check", "mypy", "not slow and not slurm"]),
        ("test", ["pytest"]),
        ("docs", ["mkdocs build --strict"]),
    ],
)
def test_make_runs_what_contributing_says(target: str, tools: list[str]):
    commands = recipe(target)
    assert [tool for tool in tools if tool not in commands] == []
    assert f"make {target}" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_hooks_run_what_lint_runs_and_fetch_nothing():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    entries = {hook["entry"].replace(" --force-exclude", "") for hook in repository["hooks"]}
    assert all(hook["language"] == "system" for hook in repository["hooks"])
    lint = recipe("lint")
    assert [entry for entry in entries if entry not in lint] == []
    assert len(entries) == len([line for line in lint.splitlines() if line.startswith(".venv/bin/")])


def test_packages_say_that_they_are_typed():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    for package in ("harness", "methods", "reports"):
        assert (ROOT / package / "py.typed").is_file()
        assert "py.typed" in data[package]


def test_the_citation_is_complete_and_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
