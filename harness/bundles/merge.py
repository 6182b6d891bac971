"""Takes the results of a bundle or of another results folder into a store.

The first measurement stands: what a store holds is never replaced. Where both hold a result of one key and their numbers
differ, that is a conflict, and it is said. A failure is taken over only where nothing else is known of the job.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from harness.bundles.contents import job_files, job_folders
from harness.files import DAMAGED, atomic_file, create_json, output_errors, read_json
from harness.store import weights
from harness.store.lock import busy
from harness.store.store import Result, Store, read_result
from harness.table.metrics import METRICS
from harness.text import plural


@dataclass
class Merge:
    """What a merge did: jobs taken over, known before, failed ones taken over, running here, and what it did not take.

    `conflicts` and `damaged` are lines for a person; `weights`: files of weights taken over.
    """

    added: int = 0
    known: int = 0
    failed: int = 0
    weights: int = 0
    manifests: int = 0
    conflicts: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)

    def lines(self, source: str) -> list[str]:
        """The merge in a few lines of text."""
        here = f"{self.known} already here"
        here += f" ({len(self.conflicts)} of them in conflict)" if self.conflicts else ""
        counts = [f"{self.added} results added", here]
        counts += [plural(len(self.damaged), "damaged file")] if self.damaged else []
        counts += [f"{self.weights} with weights"] if self.weights else []
        counts += [f"{self.failed} failures added"] if self.failed else []
        lines = [f"{source}: {', '.join(counts)}"]
        lines += [f"conflict: {text}" for text in self.conflicts]
        lines += [f"damaged: {text}" for text in self.damaged]
        return lines + [f"left out: {text} runs here at this moment" for text in self.running]


def merge(
    source: Path, store: Store, *, with_weights: bool = False, damaged: Collection[str] = (), absence: str = "left out"
) -> Merge:
    """Takes over what the folder `source` holds, laid out like a results folder. OutputError where the store cannot be written.

    `damaged`: files of it that are not what they were, put aside beside their job as `NAME.damaged`. `with_weights`: weights,
    too; `absence`: why the others have none, noted in their folders.
    """
    done = Merge()
    for folder in job_folders(source):
        _merge_job(folder, source, store, done, with_weights, damaged, absence)
    for path in sorted((source / "manifests").glob("*.json")):
        if path.relative_to(source).as_posix() not in damaged:
            done.manifests += _copy(path, store.root / "manifests" / path.name)
    return done


def _merge_job(
    folder: Path, source: Path, store: Store, done: Merge, with_weights: bool, damaged: Collection[str], absence: str
) -> None:
    name = folder.relative_to(source).as_posix()
    target = store.root / name
    if busy(target):
        done.running.append(name)
        return
    files = list(job_files(folder, with_weights=with_weights))
    bad = [path for path in files if path.relative_to(source).as_posix() in damaged]
    end = files[-1]
    if end.name == "failure.json" and end not in bad:
        _take_failure(end, target, store, done)
        return
    result = None if end in bad else _own_result(folder)
    if result is None and end not in bad:
        bad.append(end)
    for path in bad:
        _copy(path, target / f"{path.name}.damaged")
        done.damaged.append(f"{name}/{path.name}, put aside as {path.name}.damaged; the others of the job are kept")
    if result is None:
        return
    here = store.result_in(target)
    if here is not None:
        done.known += 1
        done.conflicts += [f"{name}: {difference}" for difference in differences(here, result)]
        return
    sound = [path for path in files if path not in bad]
    for path in sound:
        _copy(path, target / path.name, replace=True)
        done.weights += path.suffix == ".pt"
    if result.job.kind == "train" and not weights.files(target):
        weights.note_absence(target, absence)
    (target / "failure.json").unlink(missing_ok=True)
    done.added += 1


def _own_result(folder: Path) -> Result | None:
    """The result in a folder, where it can be read and is of the job that the folder is named by."""
    result = read_result(folder)
    DAMAGED.pop(folder / "result.json", None)  # said by the merge, with where it was put
    if result is None:
        return None
    job = result.job
    own = (job.kind, job.identity[:20], job.key[:20]) == folder.parts[-3:]
    return result if own else None


def _take_failure(path: Path, target: Path, store: Store, done: Merge) -> None:
    record = read_json(path)
    if record is None or (target / "result.json").exists():
        return
    with output_errors(target):
        target.mkdir(parents=True, exist_ok=True)
    done.failed += create_json(target / path.name, record)


def differences(first: Result, second: Result) -> list[str]:
    """What two results of one key measured differently, the most important number, in words; nothing where they agree.

    Times and memory differ from one run to the next and are no conflict.
    """
    for name, metric in METRICS.items():
        if metric.portable and metric.kind != "train":
            a, b = first.value(name), second.value(name)
            if a is not None and b is not None and a.value != b.value:
                return [f"{name} is {a.value:.12g} here and {b.value:.12g} there; the one here stands"]
    return []


def _copy(source: Path, target: Path, *, replace: bool = False) -> bool:
    """Copies a file where there is none (or, with `replace`, over what is there); whether it did."""
    if target.exists() and not replace:
        return False
    with source.open("rb") as content, atomic_file(target) as file:
        shutil.copyfileobj(content, file, 1 << 20)
    return True
