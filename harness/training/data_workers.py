"""How the processes start that prepare a training's batches: deaf to the signals that stop jobs, each on one core.

A scheduler may send its signal to the whole process group. A data worker that died of it would end the training before
it could save: torch gives its workers a handler that dies, and reports the death to the training as an error.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from harness.jobs.context import STOP_SIGNALS

_IGNORED = (*STOP_SIGNALS, signal.SIGINT)


def start_worker(number: int) -> None:
    """Runs first in the data worker with this number (torch's `worker_init_fn`). It ends when its training tells it to, or
    is gone; OpenCV computes in its own thread, since the cores are shared out to the workers."""
    import cv2

    for stop_signal in _IGNORED:
        signal.signal(stop_signal, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)
    cv2.setNumThreads(0)


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Workers that are started within begin with these signals held back, until `start_worker` ignores them; this process
    gets its own afterwards."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
