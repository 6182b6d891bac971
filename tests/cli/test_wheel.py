"""The built wheel in an empty folder, with no checkout beside it: the tables that it carries work as they do in one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import harness
from harness import ROOT
from tests.support.checkout import copy_of_checkout
from tests.support.waiting import PATIENCE

COMMIT = "c0ffee" + 34 * "0"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
SCRIPT = """
import sys
from importlib.metadata import entry_points
(script,) = entry_points(group="console_scripts", name="harness")
sys.exit(script.load()())
"""


class Installation:
    """A virtual environment with the wheel and what is installed here besides, and an empty folder to work in."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder = python, folder

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """What the command `harness` prints on both streams, as its script in the environment runs it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "HARNESS_"))}
        command = [str(self.python), "-c", SCRIPT, *arguments]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, cwd=self.folder, env=kept, timeout=PATIENCE, **streams)
        assert done.returncode == code, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    pytest.importorskip("setuptools", minversion="77", reason="the wheel is built by setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_of_checkout(folder / "source")
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(ROOT / name, source)
    (source / "commit.json").write_text(json.dumps({"commit": COMMIT, "dirty": False}))
    built = subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "environment", symlinks=True)
    (packages,) = (folder / "environment").glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    others = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (packages / "others.pth").write_text("\n".join(others))  # what these install, without their own .pth files
    (folder / "empty").mkdir()
    return Installation(folder / "environment" / "bin" / "python", folder / "empty")


@pytest.mark.slow
def test_the_tables_of_a_wheel_work_in_an_empty_folder(installed: Installation, tmp_path: Path):
    assert "Usage:" in installed("--help")
    tables = {f"tables/{file.name}" for file in (ROOT / "tables").glob("*.yaml")}
    assert tables == {line.split()[0] for line in installed("list", "tables").splitlines() if line}
    assert "12 rows × 5 columns" in installed("plan", "idrnet_table5")
    cell = ("tables/idrnet_table5.yaml", "--rows", "ppm", "--columns", "params")
    assert "1 of 1 cell measured" in installed("run", *cell, "--no-figures")
    assert "0 to run" in installed("plan", *cell)
    assert "23.07 23.07 ✓" in installed("report", *cell, "--format", "text")
    report = (installed.folder / "results/reports/idrnet_table5.md").read_text(encoding="utf-8")
    assert f"commit {COMMIT[:7]}" in report
    assert str(installed.folder.parent) not in report
    (result,) = installed.folder.glob("results/jobs/**/result.json")
    (here,) = harness.plan("idrnet_table5", rows="ppm", columns="params", results=tmp_path).jobs
    assert json.loads(result.read_text(encoding="utf-8"))["job"]["key"] == here
    assert [path.name for path in installed.folder.iterdir()] == ["results"]


@pytest.mark.slow
def test_recipes_profiles_and_the_papers_own_words_are_there_too(installed: Installation):
    assert "idrnet/ade20k" in installed("list", "recipes")
    said = installed("audit", "ecenet_table1", code=1)
    assert "ecenet, Sec. 4.1" in said
    said = installed("plan", "tables/nothing.yaml", code=2)
    assert "tables/nothing.yaml: there is no such file. Tables are: camvid" in said
