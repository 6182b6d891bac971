"""Every write is stopped at each of its steps: the old file or the new one is there, and no temporary one."""

from __future__ import annotations

import ast
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import ROOT, files
from harness.errors import OutputError
from harness.store import curve, features
from harness.training import checkpoint
from methods import weights

ERRORS = {
    "full disk": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "full quota": OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    "refused": PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
    "interrupted": KeyboardInterrupt(),
    "bug": RuntimeError("in the middle"),
}


class Disk:
    """Counts the steps of a write (open, write, flush, fsync, rename) and raises `error` at the one numbered `at`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: BaseException, at: int = -1) -> None:
        self.error, self.at, self.steps = error, at, 0
        monkeypatch.setattr(files, "open", self.open, raising=False)
        for name in ("fsync", "replace", "rename"):
            monkeypatch.setattr(files.os, name, self.counted(getattr(os, name)))

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            self.step()
            return function(*arguments, **options)

        return step

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise self.error

    def open(self, *arguments: Any, **options: Any) -> Any:
        self.step()
        return File(open(*arguments, **options), self)


class File:
    """A file whose writes leave half of their content before they fail."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self.file, self.disk = file, disk

    def write(self, content: Any) -> int:
        if self.disk.steps + 1 == self.disk.at:
            self.file.write(bytes(content)[: len(content) // 2])
        self.disk.step()
        return self.file.write(content)

    def flush(self) -> None:
        self.disk.step()
        self.file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> File:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()


def _features(path: Path, value: float) -> None:
    one = np.full((1, 1), value, np.float32)
    empty = np.zeros((1, 3), np.int32)
    names = np.array(["a"])
    features.write(
        features.Features(names, names, one, one, np.zeros(1, np.uint8), empty, np.ones(1, int)), path.parent
    )


WRITERS: dict[str, tuple[str, Callable[[Path, float], Any]]] = {
    "text": ("a.md", lambda path, value: files.write_text(path, f"{value} " * 1000)),
    "bytes": ("a.bin", lambda path, value: files.write_bytes(path, bytes([int(value)]) * 1000, durable=False)),
    "json": ("a.json", lambda path, value: files.write_json(path, {"value": value})),
    "features": (features.FILE, _features),
    "weights": ("a.pth", lambda path, value: weights.write({"w": torch.full((4,), value)}, path)),
    "safetensors": ("a.safetensors", lambda path, value: weights.write({"w": torch.full((4,), value)}, path)),
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("replaced", [True, False])
def test_the_old_file_or_the_new_one(tmp_path: Path, writer: str, error: str, replaced: bool) -> None:
    name, write = WRITERS[writer]
    path = tmp_path / "folder" / name
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, ERRORS[error])
        write(path, 2)
    new = path.read_bytes()
    assert disk.steps >= 4
    write(path, 1)
    old = path.read_bytes()
    assert old != new
    for at in range(1, disk.steps + 1):
        path.write_bytes(old) if replaced else path.unlink(missing_ok=True)
        expected = OutputError if isinstance(ERRORS[error], OSError) else type(ERRORS[error])
        with pytest.MonkeyPatch.context() as patch:
            broken = Disk(patch, ERRORS[error], at)
            try:
                write(path, 2)
            except expected:
                assert [p.name for p in path.parent.iterdir()] == ([name] if path.exists() else [])
                assert (path.read_bytes() if path.exists() else None) in (old if replaced else None, new)
            else:  # only a folder that cannot be synchronised is no error: the new name is there
                assert broken.steps == disk.steps
                assert path.read_bytes() == new
    write(path, 2)
    assert path.read_bytes() == new


@pytest.mark.parametrize("error", ["full disk", "refused"])
def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path, error: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, ERRORS[error])
        checkpoint.save(tmp_path / "whole", {"x": torch.zeros(5)}, 2)
    checkpoint.save(tmp_path, {"x": torch.ones(5)}, 1)
    for at in range(1, disk.steps):  # the last step puts the new name on the disk
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, ERRORS[error], at)
            with pytest.raises(OutputError, match="the checkpoint of iteration 1 is kept"):
                checkpoint.save(tmp_path, {"x": torch.zeros(5)}, 2)
        assert len(list(tmp_path.glob("*.pt"))) == 1
        assert not list(tmp_path.glob(".*"))
        assert checkpoint.load(tmp_path)["x"].tolist() == [1.0] * 5


def test_a_killed_process_leaves_nothing_for_ever(tmp_path: Path) -> None:
    """Nobody can remove a temporary file after SIGKILL but the next process that has the job."""
    files.temporary_path(tmp_path / "checkpoint-00000003").write_bytes(b"half")
    files.temporary_path(tmp_path / "final-00000003").write_bytes(b"half")
    checkpoint.save(tmp_path, {"x": torch.ones(5)}, 4)
    assert [saved.iteration for saved in checkpoint.listing(tmp_path)] == [4]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("replace", [True, False])
def test_the_old_folder_or_the_new_one(tmp_path: Path, error: str, replace: bool) -> None:
    folder = tmp_path / "site"

    def write(content: str) -> None:
        with files.atomic_folder(folder, replace=replace) as aside:
            files.write_text(aside / "index.html", content)

    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, ERRORS[error])
        write("new")
    for at in range(1, disk.steps + 2):
        if replace:
            files.write_text(folder / "index.html", "old")
        elif folder.exists():
            (folder / "index.html").unlink()
            folder.rmdir()
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, ERRORS[error], at)
            try:
                write("new")
            except (OutputError, KeyboardInterrupt, RuntimeError):
                assert [p.name for p in tmp_path.iterdir()] == (["site"] if replace else [])
                if replace:
                    assert (folder / "index.html").read_text() == "old"
                continue
        assert (folder / "index.html").read_text() == "new"
        assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_of_two_processes_the_first_writes_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    with files.atomic_folder(folder) as slow:
        (slow / "by").write_text("slow")
        with files.atomic_folder(folder) as fast:
            (fast / "by").write_text("fast")
    assert (folder / "by").read_text() == "fast"
    assert [p.name for p in tmp_path.iterdir()] == ["scenes"]


def test_a_file_where_the_folder_should_be_stays(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("mine")
    with pytest.raises(OutputError), files.atomic_folder(tmp_path / "site", replace=True):
        pass
    assert (tmp_path / "site").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_long_names_and_many_writers(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)
    files.write_text(path, "whole")
    assert path.read_text() == "whole"
    assert files.temporary_path(path) != files.temporary_path(path)


@pytest.mark.parametrize("at", range(1, 4))
def test_a_curve_that_cannot_be_opened_stays(tmp_path: Path, at: int) -> None:
    first = curve.Curve(tmp_path, 0)
    first.append([{"iteration": 1, "loss": 2.0}])
    first.close()
    with pytest.MonkeyPatch.context() as patch:
        Disk(patch, ERRORS["full disk"], at)
        with pytest.raises(OutputError, match="can be resumed"):
            curve.Curve(tmp_path, 1)
    assert curve.read(tmp_path) == [{"iteration": 1, "loss": 2.0}]
    assert len(list(tmp_path.iterdir())) == 1


def test_an_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=r"the disk is full: .*a\.md could not be written; make room and repeat"
    ) as full:
        _fail(tmp_path / "a.md", "full quota")
    assert full.value.__cause__ is ERRORS["full quota"]
    with pytest.raises(OutputError, match=r"a\.md cannot be written \(Permission denied\); use another"):
        _fail(tmp_path / "a.md", "refused", "use another")


def _fail(path: Path, error: str, advice: str = "") -> None:
    with files.output_errors(path, advice):
        raise ERRORS[error]


# -------------------------------------------------------------------------------------------------- no other way


def renames(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, what) of calls that rename a file, and of imports that make temporary ones."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(alias.name == "tempfile" for alias in node.names):
            yield node.lineno, "tempfile"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of = node.func.value
            on_os = isinstance(of, ast.Name) and of.id == "os"
            # text.replace takes two arguments, Path.replace one
            if node.func.attr == "rename" or (node.func.attr == "replace" and (on_os or len(node.args) == 1)):
                yield node.lineno, f"{ast.unparse(node.func)}()"


ALLOWED = {
    ("harness/scheduler/code_snapshot.py", "place.rename()"): "puts a snapshot that nobody uses aside, to remove it",
    ("harness/data/integrity.py", "tempfile"): "holds what decoders say on the standard error stream, without a name",
    ("harness/training/checkpoint.py", "checkpoint.path.rename()"): "puts a corrupt checkpoint out of the way",
    (
        "harness/store/weights.py",
        "(folder / 'result.json').replace()",
    ): "keeps the result of a training that runs again",
    ("harness/cli/inspection.py", "tempfile"): "a cache for reading where there is no results folder",
    ("harness/cli/compare.py", "tempfile"): "a folder in which a bundle is read",
    ("harness/scheduler/slurm/probe.py", "tempfile"): "whether a node's disk can be written to",
    ("harness/conformance/dataset.py", "tempfile"): "a folder in which an image is written and read back",
    ("methods/released/sssegmentation/idrnet.py", "_names.rename()"): "gives parameters other names",
}


@pytest.mark.slow
def test_nothing_else_writes_aside_and_renames() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), what)
        for room in ("harness", "methods", "reports")
        for path in (ROOT / room).rglob("*.py")
        for _, what in renames(ast.parse(path.read_text(encoding="utf-8")))
        if path.name != "files.py" or path.parent.name != "harness"
    }
    assert found - ALLOWED.keys() == set()


def test_the_check_itself_sees_a_rename() -> None:
    source = "import os, tempfile\naside.replace(path)\nos.replace(a, b)\nfolder.rename(old)\ntext.replace('a', 'b')"
    assert len(list(renames(ast.parse(source)))) == 4
