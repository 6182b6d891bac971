"""Checkpoints that survive a kill at any instant: each is named by its own digest when it is whole on the disk.

A folder holds at most two of `checkpoint-ITERATION-SHA256.pt` while a training runs (the newest and the one before it), and
one `final-ITERATION-SHA256.pt` with the weights alone once it has ended. The digest is part of the name, so the name and
the content appear in one rename, and a file that was cut short or altered since is recognised before it is read.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import DataError, UserError
from harness.files import atomic_file, remove_temporary_files
from harness.spec import flatten
from harness.torch_file import refusal

log = logging.getLogger("harness.training")

MAX_CHECKPOINTS = 2
_NAME = re.compile(r"(checkpoint|final)-(\d{8})-([0-9a-f]{64})\.pt")
_CORRUPT = ".corrupt"


@dataclass(frozen=True, order=True)
class Checkpoint:
    """One checkpoint file, ordered by iteration."""

    iteration: int
    digest: str
    path: Path
    final: bool

    def intact(self) -> bool:
        """Whether the content still has the digest that the name promises."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.digest

    def read(self) -> dict[str, Any]:
        """The state that was saved. DataError for a file of the right digest that this harness never wrote."""
        try:
            reason = refusal(self.path)
            state = None if reason else torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if reason or not isinstance(state, dict) or (self.final and not isinstance(state.get("model"), dict)):
            reason = reason or "it holds something else"
            raise DataError(f"{self.path} is no checkpoint of a training ({reason:.300}); delete its folder")
        return state


class _HashingWriter(io.RawIOBase):
    """Writes to `file` and hashes the content. Keeps a write's error, which torch.save reports only as a broken archive."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.hash = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                self.file.write(data)
                self.hash.update(data)
            except OSError as error:
                self.error = error
        return len(data)


def listing(folder: Path) -> list[Checkpoint]:
    """The checkpoints of `folder`, oldest first; nothing is read."""
    checkpoints = []
    for path in Path(folder).glob("*.pt"):
        match = _NAME.fullmatch(path.name)
        if match:
            checkpoints.append(Checkpoint(int(match[2]), match[3], path, match[1] == "final"))
    return sorted(checkpoints, key=lambda checkpoint: (checkpoint.iteration, checkpoint.final, checkpoint.digest))


def save(folder: Path, state: Mapping[str, Any], iteration: int) -> Path:
    """Writes a checkpoint and drops all but the newest two. Raises OutputError; those already there then stay."""
    return _write(Path(folder), "checkpoint", state, iteration)


def save_final(folder: Path, state: Mapping[str, Any], iteration: int) -> Path:
    """Writes what is kept of a finished training (`state["model"]`: the weights) and drops its checkpoints."""
    return _write(Path(folder), "final", state, iteration)


class Writer:
    """Writes checkpoints in a thread, one at a time, from a copy: the training goes on meanwhile.

    On a GPU the copy is queued behind the step and read when it is there; the host does not wait for it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[Path] | None = None

    def save(self, state: Mapping[str, Any], iteration: int, *, final: bool = False) -> None:
        """Begins to write a checkpoint, after the one before. Raises that one's OutputError."""
        self.wait()
        copied = host_copy(state)
        ready = torch.cuda.Event() if torch.cuda.is_initialized() else None
        if ready is not None:
            ready.record()

        def write() -> Path:
            if ready is not None:
                ready.synchronize()
            return (save_final if final else save)(self.folder, copied, iteration)

        self._pending = self._thread.submit(write)

    def check(self) -> None:
        """Raises OutputError where the last checkpoint could not be written; does not wait for it."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Until the last checkpoint is on the disk. Raises OutputError where it could not be written."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Lets a checkpoint that is being written come to its end; an error of it is not the first one any more."""
        self._thread.shutdown()


def host_copy(value: Any) -> Any:
    """The same nested mappings, lists and tuples with copies of all tensors in host memory; those of a GPU are still on their
    way, in page-locked memory, when this returns."""
    if isinstance(value, Tensor):
        if value.device.type == "cpu":
            return value.detach().clone()
        copy = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
        return copy.copy_(value.detach(), non_blocking=True)
    if isinstance(value, Mapping):
        return {key: host_copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(host_copy(item) for item in value)
    return value


def _write(folder: Path, kind: str, state: Mapping[str, Any], iteration: int) -> Path:
    iterations = [checkpoint.iteration for checkpoint in listing(folder)]
    advice = (
        f"the checkpoint of iteration {max(iterations)} is kept; " if iterations else "there is no earlier checkpoint; "
    )
    advice += "make room or choose another --results folder, then run the same command again to go on"
    stem = f"{kind}-{iteration:08d}"
    digest = ""

    def place() -> Path:
        return folder / f"{stem}-{digest}.pt"

    with atomic_file(folder / stem, name=place, advice=advice) as file:
        digest = _serialise(state, file)
    _drop_older(folder, place(), keep=1 if kind == "final" else MAX_CHECKPOINTS)
    return place()


def _serialise(state: Mapping[str, Any], file: Any) -> str:
    """Writes the state with torch.save and returns the SHA-256 of the file. Raises the OSError of a failed write."""
    writer = _HashingWriter(file)
    try:
        torch.save(dict(state), writer)
    except RuntimeError:
        if writer.error is None:
            raise
    if writer.error is not None:
        raise writer.error
    return writer.hash.hexdigest()


def _drop_older(folder: Path, newest: Path, keep: int) -> None:
    older = [checkpoint for checkpoint in listing(folder) if checkpoint.path != newest]
    for checkpoint in older[: len(older) - (keep - 1)]:
        checkpoint.path.unlink(missing_ok=True)
    for corrupt in folder.glob(f"*{_CORRUPT}"):
        corrupt.unlink(missing_ok=True)
    for kind in ("checkpoint", "final"):
        remove_temporary_files(folder, kind)  # nobody else writes here: a job is locked while it runs


def load(folder: Path) -> dict[str, Any] | None:
    """The newest intact state in `folder`, or None where there is none; says so when it has to go back to an older one."""
    for checkpoint in reversed(listing(folder)):
        if checkpoint.intact():
            return checkpoint.read()
        log.warning(
            "checkpoint %s is corrupt or cut short (its SHA-256 differs): going back to the one before", checkpoint.path
        )
        checkpoint.path.rename(checkpoint.path.with_suffix(_CORRUPT))  # no longer counted among the kept ones
    return None


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Weights of the finished training in `folder`. Raises DataError when they are corrupt, UserError when it has not ended."""
    finals = [checkpoint for checkpoint in listing(folder) if checkpoint.final]
    # a training that counts as measured is repeated only when its folder is gone
    again = f"Delete the folder {folder} and run the training again (the same command with --retry-failed)"
    if not finals:
        is_measured = (Path(folder) / "result.json").exists()
        how = again if is_measured else "Run the training again, it resumes"
        raise UserError(f"{folder} holds no weights of a finished training. {how}")
    if not finals[-1].intact():
        raise DataError(
            f"{finals[-1].path} is corrupt or cut short: its SHA-256 differs from the one in its name. {again}"
        )
    return finals[-1].read()["model"]


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: their names, kinds, shapes and values, wherever they lie."""
    content_hash = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        content_hash.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        content_hash.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return content_hash.hexdigest()


def check_identity(folder: Path, checkpoint: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Refuses a checkpoint of another training: UserError with every field that differs, saved -> asked for."""
    before, now = flatten(checkpoint), flatten(current)
    differing = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    if not differing:
        return
    lines = "\n".join(f"  {_difference(name, before, now)}" for name in differing)
    processes = f"Start it on {checkpoint['processes']} again, choose" if differing == ["processes"] else "Choose"
    raise UserError(
        f"the checkpoint in {folder} is of another training (saved -> asked for):\n{lines}\n"
        f"{processes} another folder (--results DIR, --folder DIR), or delete the checkpoint to start anew"
    )


def _difference(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if not name.startswith("code."):
        return f"{name}: {before.get(name, 'absent')} -> {now.get(name, 'absent')}"
    change = "changed" if name in before and name in now else "is gone" if name in before else "is new"
    return f"{name.removeprefix('code.').replace('.', '/')}.py {change}"
