"""The one place where tests look again and again: at files that a job writes for its own ends (progress, curves, reports), at
/proc, at Slurm's queue. None of them tells anybody that it has changed. Where a test's own code runs in the job, that says by a
pipe what it has come to, and is let go by one (`Gate`)."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 240.0  # seconds until a test gives up; nothing waits for it when all is well


def until(
    ready: Callable[[], T],
    what: str,
    process: subprocess.Popen | None = None,
    *,
    interval: float = 0.02,
    patience: float = PATIENCE,
) -> T:
    """What `ready` gives as soon as it gives something. Fails when `process`, which is to bring it about, has ended before."""
    deadline = time.monotonic() + patience
    while not (found := ready()):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(interval)
    return found


class Gate:
    """Named pipes in a folder by which code in a job waits for its test.

    The job opens `started` to write, which says that it is there, and then `go` to read, which lasts until the gate is open.
    """

    def __init__(self, folder: Path) -> None:
        started, self._go = folder / "started", folder / "go"
        for pipe in (started, self._go):
            os.mkfifo(pipe)
        self._heard = os.open(started, os.O_RDONLY | os.O_NONBLOCK)
        self._ends = [self._heard]

    def wait(self, process: subprocess.Popen) -> None:
        """Until a job is there; fails when `process`, which is to start it, has ended before."""
        ended = os.pidfd_open(process.pid)
        try:
            readable, _, _ = select.select([self._heard, ended], [], [], PATIENCE)
        finally:
            os.close(ended)
        assert self._heard in readable, process.communicate() if readable else "no job came to the gate"

    def open(self) -> None:
        """Lets the job go that is there, and all that come until `close`."""
        self._ends.append(os.open(self._go, os.O_RDWR))  # which waits for nobody
        os.write(self._ends[-1], b"open")  # which nobody takes out: a job may wait for it beside something else

    def close(self) -> None:
        for end in self._ends:
            os.close(end)
