"""The lock of a running job: who holds it works in the job's folder."""

from __future__ import annotations

import fcntl
from pathlib import Path


def busy(folder: Path) -> bool:
    """Whether a process has the job, wherever it runs: told by its lock, which ends with it, not by anybody's clock."""
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock: it never started
        return False
    return False
