"""The context in which a job runs: device, folders, progress reports, request to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Ask a job to save and stop."""
RANK_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
"""torchrun's variables that say which process of how many this is, in all and on its machine."""


@dataclass(frozen=True)
class Progress:
    """Progress of a running job; `text` for the terminal, e.g. `loss 1.92 (main 1.71, auxiliary 0.21)`."""

    done: int
    total: int
    rate: float = 0.0  # items (images, timed passes) per second
    text: str = ""
    left: float | None = None  # seconds until it is done, where the job itself can tell


@dataclass(frozen=True)
class Context:
    """Where one job runs. Everything it writes goes under `folder`, which survives an interruption."""

    folder: Path
    cache: Path  # shared between jobs: synthetic scenes, manifests; written atomically
    data_dir: Path | None  # one folder per dataset, or None where none was given
    device: str  # "cpu" or "cuda"
    threads: int
    needs: Mapping[str, Path] = field(default_factory=dict)  # folders of the jobs this one needs, by kind
    needed_by: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # configurations of jobs that need it, by kind
    parts: Mapping[str, Any] = field(default_factory=dict)  # what the job's key was made of
    progress: Callable[[Progress], None] = lambda progress: None
    should_stop: Callable[[], bool] = lambda: False  # asked between steps; then save and raise Interrupted
