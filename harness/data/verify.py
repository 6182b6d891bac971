"""Checks every file of a dataset against its declaration and reports all problems at once, each with its file.

`verify` is the command. `ensure_sound` is what a training or an evaluation asks before its first step: it reads the
files that were never checked or have changed since, and records the sound ones under the cache.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.data.annotations.label_maps import LabelReader, read_bytes, read_image
from harness.data.files import locate, manifest, manifest_path, read_manifest, scan
from harness.data.integrity import damage, problems_of_all
from harness.data.layout import Pair, Root
from harness.errors import DataError
from harness.files import read_json, write_text
from harness.jobs.kinds import Data

_MAX_LINES = 50


@dataclass(frozen=True)
class SplitReport:
    """Counts and problems of one split."""

    images: int
    published: int | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Verification:
    """The result of `verify`. `changed_files` are those that differ from the manifest of the last time all was
    well, or the one that no manifest can be made of; `digest` is then unknown."""

    name: str
    layout: str
    path: Path
    digest: str
    splits: dict[str, SplitReport]
    changed_files: tuple[str, ...] = field(default=())

    @property
    def problems(self) -> list[str]:
        return [line for split in self.splits.values() for line in split.problems] + list(self.changed_files)

    @property
    def ok(self) -> bool:
        return not self.problems

    def text(self) -> str:
        """The report as text, one problem per line."""
        lines = [f"{self.name}: layout '{self.layout}' at {self.path}, manifest {self.digest}"]
        for split, split_pairs in self.splits.items():
            published = "" if split_pairs.published is None else f" of {split_pairs.published} published"
            state = (
                _count(split_pairs.problems) if split_pairs.problems else "sound" if split_pairs.images else "not there"
            )
            lines.append(f"  {split}: {split_pairs.images} images{published}, {state}")
            lines += [f"    {problem}" for problem in split_pairs.problems]
        lines += [f"  {line}" for line in self.changed_files]
        lines.append(f"{_count(self.problems)} found" if self.problems else "no problems found")
        return "\n".join(lines)


def verify(
    name: str,
    data_dir: Path | None,
    cache: Path,
    *,
    accept: bool = False,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Verification:
    """Reads every file of every split: counts, pairs, decodability, sizes, label ranges, and contents against the
    manifest of the last sound verification (`accept` takes the present contents as right)."""
    root = locate(Data(name=name), data_dir=data_dir, cache=cache)
    splits = {}
    for split, published in root.dataset.splits.items():
        try:
            complete, problems = scan(root, split)
        except DataError as error:
            complete, problems = [], [str(error)]
        problems = problems + check(root, complete, {}, functools.partial(progress, f"read {split}"))
        if complete and published is not None and len(complete) != published:
            problems.append(
                f"{root.path}: split '{split}' has {len(complete)} complete pairs, published are {published}"
            )
        splits[split] = SplitReport(len(complete), published, tuple(problems))
    try:
        now = manifest(root, cache, lambda done, total: progress("digest", done, total))
    except DataError as error:
        known = any(str(error) in report.problems for report in splits.values())
        return Verification(name, root.layout.name, root.path, "unknown", splits, () if known else (str(error),))
    last = manifest_path(root, cache).with_suffix(".sound")
    changed_files = (
        () if accept or not last.is_file() else tuple(_differences(root, now.files, read_manifest(last).files))
    )
    result = Verification(name, root.layout.name, root.path, now.digest, splits, changed_files)
    if result.ok:
        write_text(last, json.dumps({"files": now.files}))
    return result


def _differences(root: Root, now: dict, last: dict) -> Iterable[str]:
    for name in sorted({*now, *last}):
        if name not in now:
            yield f"{root.path / name}: was there when the dataset was last verified"
        elif name not in last:
            yield f"{root.path / name}: was not there when the dataset was last verified"
        elif now[name][2] != last[name][2]:
            yield f"{root.path / name}: its content differs from when the dataset was last verified"


def check(
    root: Root,
    pairs: list[Pair],
    sound: dict[str, list[int]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Reads pairs; returns every problem found and enters the sound ones' signatures into `sound`."""
    if root.layout.one_file_per_split:
        return root.layout.annotation_module().check(root.layout, pairs, progress)
    reader = LabelReader(root.layout)
    problems = []
    found = problems_of_all(pairs, lambda pair: _problems(pair, reader), lambda pair: pair.image)
    for done, (pair, pair_problems) in enumerate(zip(pairs, found), start=1):
        problems += pair_problems
        if not pair_problems:
            sound[pair.id] = _signature(pair)
        progress(done, len(pairs))
    return problems


def _problems(pair: Pair, reader: LabelReader) -> list[str]:
    sizes, problems = [], []
    for reader_function, path in ((read_image, pair.image), (reader.read, pair.label)):
        try:
            sizes.append(reader_function(path).shape[:2])
            reason = damage(read_bytes(path))
        except DataError as error:
            reason = str(error)
        else:
            reason = reason and f"{path}: {reason}; get the file again"
        problems += [reason] if reason else []
    if len(set(sizes)) == 2:
        image, label = (f"{width}×{height}" for height, width in sizes)
        problems.append(f"{pair.label}: the image has {image} pixels, the label map {label} ({pair.image})")
    return problems


def _signature(pair: Pair) -> list[int]:
    try:
        image, label = os.stat(pair.image), os.stat(pair.label)
    except OSError:  # reading it says why
        return []
    return [image.st_size, image.st_mtime_ns, label.st_size, label.st_mtime_ns]


def ensure_sound(
    root: Root,
    split: str,
    cache: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    part: tuple[int, int] = (0, 1),
    gather: Callable[[str], list[str]] = lambda text: [text],
) -> None:
    """Raises DataError naming every bad file of a split; cheap once all of them have been read. UserError where the
    dataset has no label maps.

    Several processes share the reading: `part` = (k, n) is the k-th of n, and `gather` gives each the texts of all. Each
    raises what any of them found, and the first remembers it.
    """
    root.dataset.check_task()
    complete, missing = scan(root, split)
    record = _record(root, split, cache)
    sound: dict[str, list[int]] = read_json(record, {...: [int]}, cache=True) or {}
    rank_pairs = complete[part[0] :: part[1]]
    unread_pairs = [pair for pair in rank_pairs if sound.get(pair.id) != _signature(pair)]
    new: dict[str, list[int]] = {}
    everyones = [json.loads(text) for text in gather(json.dumps([check(root, unread_pairs, new, progress), new]))]
    problems = missing + [problem for part_result, _ in everyones for problem in part_result]
    signatures = {name: signature for _, part_result in everyones for name, signature in part_result.items()}
    if signatures and part[0] == 0:
        write_text(record, json.dumps({**sound, **signatures}))
    if problems:
        listing = "\n  ".join(problems[:_MAX_LINES])
        more = f"\n  … and {len(problems) - _MAX_LINES} more (python -m harness data verify {root.dataset.name})"
        tail = more if len(problems) > _MAX_LINES else ""
        raise DataError(f"dataset '{root.dataset.name}', split '{split}': {_count(problems)}\n  {listing}{tail}")


def _count(problems: Sequence[str]) -> str:
    return f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"


def _record(root: Root, split: str, cache: Path) -> Path:
    """The file that records a split's sound files: per copy of the dataset and per meaning of its labels."""
    layout = root.layout
    meaning = (sorted(layout.labels.items()), layout.annotations, layout.undeclared)
    facts = repr((str(root.path.resolve()), split, *meaning)).encode()
    return Path(cache) / "sound" / f"{root.dataset.name}-{hashlib.sha256(facts).hexdigest()[:12]}.json"
