"""What of a results folder can be deleted without losing a number: it is made again where it is needed.

No measurement, curve or matrix, nothing of a job that runs or can still go on.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from harness.store import weights
from harness.store.lock import busy
from harness.store.store import Result, Store

EMBEDDED = "weights of trainings on embedded scenes (smoke), which take seconds to train again"
SUPERSEDED = "weights of trainings that were measured again since, with other code or data"
LEFT_OVER = "checkpoints of trainings that have ended"
TRAINED_AGAIN = "results kept aside when a training without weights ran again"


@dataclass
class Heap:
    """Files that can go for one reason, and how many bytes they take."""

    files: list[Path] = field(default_factory=list)
    size: int = 0

    def add(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            self.size += path.stat().st_size
            self.files.append(path)


def deletable(store: Store, *, superseded: bool = False) -> dict[str, Heap]:
    """{why: files} of what can go, the largest first. `superseded`: also what only a comparison with old code would want."""
    heaps: dict[str, Heap] = defaultdict(Heap)
    newest: dict[str, Result] = {}
    trainings = [result for result in store.results("train") if not busy(result.folder)]
    for result in trainings:
        other = newest.get(result.job.identity)
        if other is None or result.started > other.started:
            newest[result.job.identity] = result
    for result in trainings:
        reason = EMBEDDED if trains_on_scenes(result) else ""
        if not reason and superseded and newest[result.job.identity] is not result:
            reason = SUPERSEDED
        for path in weights.files(result.folder) if reason else ():
            heaps[reason].add(path)
        for path in result.folder.glob("checkpoint-*.pt"):
            heaps[LEFT_OVER].add(path)
        for path in result.folder.glob("result.json.without_weights"):
            heaps[TRAINED_AGAIN].add(path)
    return dict(sorted(heaps.items(), key=lambda item: -item[1].size))


def trains_on_scenes(result: Result) -> bool:
    """Whether a training's data are embedded scenes."""
    data = result.job.config.get("data") or {}
    return bool(data.get("synthetic")) or data.get("name") == "synthetic"


def delete(heaps: Iterable[Heap]) -> int:
    """Deletes what is still there and returns its bytes; of a training whose weights go, a note says so. OutputError."""
    freed = 0
    for path in [path for heap in heaps for path in heap.files]:
        if weights.FINAL.fullmatch(path.name):
            weights.note_absence(path.parent, "deleted by `clean`, or after a run on embedded scenes")
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            freed += size
    return freed
