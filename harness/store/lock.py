"""The lock of a running job: its holder works in the job's folder."""

from __future__ import annotations

import fcntl
from pathlib import Path


def busy(folder: Path) -> bool:
    """Whether a process on any host runs the job: it holds the lock, which is released when it ends; no clock is compared."""
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock: it never started
        return False
    return False
