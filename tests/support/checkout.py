"""The command line as a person has it: `python -m harness` in a copy of the checkout, with a results folder of its own."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

from harness import ROOT
from harness.cli.main import main
from tests.support.waiting import PATIENCE


def copy_of_checkout(root: Path, *more: str) -> Path:
    """Its packages and tables at `root`, and the folders `more`. Byte code comes along, so that no process compiles everything:
    it names the second in which its source was written, and what a test edits is of another."""
    half_written = shutil.ignore_patterns("*.pyc.*")
    for folder in ("harness", "methods", "reports", "tables", *more):
        shutil.copytree(ROOT / folder, root / folder, ignore=half_written)
    return root


class Checkout:
    """A copy of the checkout, and a results folder."""

    def __init__(self, root: Path, results: Path) -> None:
        self.root, self.results = root, results

    def start(self, *arguments: object, **options) -> subprocess.Popen:
        environ = {**os.environ, "HARNESS_RESULTS": str(self.results), **options.pop("environ", {})}
        command = [sys.executable, "-m", "harness", *map(str, arguments)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        return subprocess.Popen(command, cwd=self.root, env=environ, **options)

    def __call__(self, *arguments: object, code: int | None = 0, **options) -> str:
        """What the command prints on both streams; fails unless it exits with `code` (None: however it exits)."""
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in err, err
        assert code in (None, process.returncode), out + err
        return out + err

    def json(self, kind: str) -> list[Path]:
        return sorted(self.results.glob(f"jobs/{kind}/*/*/result.json"))


class Commands(Checkout):
    """The checkout itself, whose commands run in the test's own process: nothing is loaded twice, and runs share the
    process from which their jobs are forked. For what needs no process of its own and edits no code."""

    def __call__(self, *arguments: object, code: int = 0, **options) -> str:
        environ = {"HARNESS_RESULTS": str(self.results), **options.pop("environ", {})}
        assert not options
        out, err = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, environ), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            ended = main([*map(str, arguments)])
        said = out.getvalue() + err.getvalue()
        assert ended == code, said
        return said
