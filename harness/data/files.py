"""A dataset's files: location, pairs of image and label map, and a content digest. Nothing heavy is imported."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.data import catalogue
from harness.data.layout import Dataset, Layout, Pair, Root
from harness.errors import DataError, MissingError
from harness.files import read_json, write_text
from harness.jobs.kinds import SCENES, Data, load

STAGED = "staged.json"
"""In a data folder that is a copy on a node's own disk (harness.data.staging): a dataset is looked for nowhere else."""


def locate(data: Data, *, data_dir: Path | None, cache: Path) -> Root:
    """The folder and layout of `data`; embedded scenes are written to `cache` first where they are not there yet.

    Raises MissingError when the dataset is not there, DataError when it is half there.
    """
    dataset = catalogue.find(data.name)
    synthetic = data.scenes()
    if synthetic is not None:
        return Root(dataset, dataset.layouts[0].of_scenes(), load(SCENES)(dataset, synthetic, cache))
    is_copy = data_dir is not None and (Path(data_dir) / STAGED).is_file()
    if dataset.place and Path(dataset.place).is_dir() and not is_copy:
        return recognise(dataset, Path(dataset.place))
    also = f" (nor at {dataset.place})" if dataset.place else ""
    if data_dir is None:
        raise MissingError(f"dataset '{dataset.name}': no data folder is set{also}. {_help(dataset)}")
    folder = Path(data_dir) / dataset.folder
    if not folder.is_dir():
        raise MissingError(f"dataset '{dataset.name}' is not there: looked at {folder}{also}. {_help(dataset)}")
    return recognise(dataset, folder)


def _help(dataset: Dataset) -> str:
    split = next(iter(dataset.splits))
    layouts = dataset.expects(split).replace("\n", "\n    or ")
    return (
        f"It must contain, e.g. for split '{split}':\n       {layouts}\n"
        f"Get it from {dataset.source}. --data DIR or HARNESS_DATA names the folder that holds one folder per dataset; "
        "--profile smoke needs none."
    )


def recognise(dataset: Dataset, folder: Path) -> Root:
    """The layout in which `folder` holds the dataset; DataError when only half of one is there, MissingError when none is."""
    half: list[str] = []
    for layout in dataset.layouts:
        for path in (folder / layout.top, folder) if layout.top else (folder,):
            matches: list[Path] = []
            absent: list[Path] = []
            for split in dataset.splits:
                for pattern in (layout.image_path(split, "{id}"), layout.label_path(split, "{id}")):
                    base = path / _base(pattern)
                    (matches if base.exists() else absent).append(base)
            if any(_complete(layout, path, split) for split in dataset.splits):
                return Root(dataset, layout, path)
            if matches and absent:
                half.append(f"layout '{layout.name}': {matches[0]} is there, but {absent[0]} is not")
    if half:
        reasons = "; ".join(dict.fromkeys(half))
        raise DataError(f"dataset '{dataset.name}' is only half there. {reasons}. {_help(dataset)}")
    raise MissingError(f"dataset '{dataset.name}': {folder} has none of its known layouts. {_help(dataset)}")


def _complete(layout: Layout, path: Path, split: str) -> bool:
    patterns = (layout.image_path(split, "{id}"), layout.label_path(split, "{id}"))
    has_listing = not layout.listing or (path / layout.listing_path(split)).is_file()
    return has_listing and all(
        _has_file(path / _base(p), _suffix(p)) if "{id}" in p else (path / p).is_file() for p in patterns
    )


def _base(pattern: str) -> str:
    return pattern.partition("{id}")[0].rstrip("/")


def _suffix(pattern: str) -> str:
    return pattern.partition("{id}")[2]


def _walk(folder: Path, suffix: str) -> Iterator[str]:
    """Ids (paths below `folder` without `suffix`) of the files that end in `suffix`, in no particular order.

    Folders that are links are followed. DataError for a link back to a folder that it lies in, a folder that cannot be
    listed, and a name that is not UTF-8.
    """
    start = len(str(folder)) + 1
    real_paths: dict[str, tuple[str, ...]] = {
        str(folder): (os.path.realpath(folder),)
    }  # of each folder and those above
    for directory, inner_folders, files in os.walk(folder, onerror=_not_listed, followlinks=True):
        inner = directory[start:].replace(os.sep, "/")
        above = real_paths.pop(directory)
        _check_name(directory)
        for name in inner_folders:
            path = os.path.join(directory, name)
            real = os.path.join(above[-1], name)
            if os.path.islink(path):
                real = os.path.realpath(path)
                if any(f"{outer}/".startswith(f"{real}/") for outer in above):
                    raise DataError(f"{path}: a link to {real}, in which it lies; remove the link")
            real_paths[path] = (*above, real)
        for name in files:
            if name.endswith(suffix) and not name.startswith("."):
                _check_name(name, directory)
                id = name[: -len(suffix)]
                yield f"{inner}/{id}" if inner else id


def _not_listed(error: OSError) -> None:
    """A folder that is not there has no files; one that cannot be listed may have some."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise DataError(f"{error.filename}: the folder cannot be listed ({error.strerror}); change its permissions")


def _check_name(name: str, folder: str = "") -> None:
    if name.isascii():
        return
    try:
        name.encode()
    except UnicodeEncodeError:  # how the system tells of a byte that is no UTF-8
        shown = os.fsencode(os.path.join(folder, name)).decode(errors="backslashreplace")
        raise DataError(f"{shown}: a name that is not UTF-8; rename it, and what goes with it") from None


def _has_file(folder: Path, suffix: str) -> bool:
    return next(_walk(folder, suffix), None) is not None


def pairs(root: Root, split: str) -> list[Pair]:
    """Images of `split` with their label maps, sorted by id. Raises DataError naming every missing file, UserError where
    the dataset has no label maps."""
    root.dataset.check_task()
    complete, problems = scan(root, split)
    if problems:
        listing = "\n  ".join(problems[:50]) + (f"\n  … and {len(problems) - 50} more" if len(problems) > 50 else "")
        raise DataError(f"dataset '{root.dataset.name}', split '{split}': missing files: {len(problems)}\n  {listing}")
    if not complete:
        raise DataError(f"dataset '{root.dataset.name}', split '{split}': no image under {root.path}")
    return complete


def scan(root: Root, split: str) -> tuple[list[Pair], list[str]]:
    """Complete pairs of `split` sorted by id, and a line per image, label or listed id that lacks its counterpart."""
    root.dataset.check_split(split)
    layout, path = root.layout, root.path
    image, label = layout.image_path(split, "{id}"), layout.label_path(split, "{id}")
    images = set(_walk(path / _base(image), _suffix(image)))
    if layout.one_file_per_split:
        return layout.annotation_module().scan(root, split, images)
    labels = set(_walk(path / _base(label), _suffix(label)))
    ids = images
    problems = []
    if layout.listing:
        listing = path / layout.listing_path(split)
        if not listing.is_file():
            return [], [f"{listing}: the list of the split's images is not there"]
        ids = set(_listed(listing))
        problems += [
            f"{path / image.format(id=id)}: image listed in {listing.name} is not there" for id in ids - images
        ]
    problems += [f"{path / label.format(id=id)}: label map of an image is not there" for id in (ids & images) - labels]
    if not layout.listing:
        problems += [f"{path / image.format(id=id)}: image of a label map is not there" for id in labels - images]
    prefix = f"{path}/"
    complete = sorted(ids & images & labels)
    split_pairs = [Pair(id, prefix + image.replace("{id}", id), prefix + label.replace("{id}", id)) for id in complete]
    return split_pairs, sorted(problems)


def _listed(listing: Path) -> list[str]:
    """The ids in a split's list of images."""
    try:
        return listing.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise DataError(f"{listing}: the list of the split's images cannot be read ({error}); get it again") from error


def digest(data: Data, *, data_dir: Path | None, cache: Path) -> str:
    """A digest of what the dataset holds: of every file's content, or of the parameters of embedded scenes.

    Contents are read once; later calls compare size and modification time (kept under `cache`/manifests).
    """
    dataset = catalogue.find(data.name)
    synthetic = data.scenes()
    if synthetic is not None:
        facts = {
            "scenes": synthetic.model_dump(mode="json"),
            "classes": dataset.classes,
            "splits": list(dataset.splits),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    return manifest(locate(data, data_dir=data_dir, cache=cache), cache).digest


@dataclass(frozen=True)
class Manifest:
    """Content digests of a dataset's files: {path below the root: (size, modification time in ns, sha-256)}."""

    files: dict[str, tuple[int, int, str]]

    @property
    def digest(self) -> str:
        whole = hashlib.sha256()
        for name, (_, _, content) in sorted(self.files.items()):
            whole.update(f"{name}\0{content}\n".encode())
        return whole.hexdigest()[:32]


def manifest(root: Root, cache: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Manifest:
    """The manifest of all files that the layout's splits use; reads only files that changed since the last time."""
    kept_at = manifest_path(root, cache)
    previous = read_manifest(kept_at).files if kept_at.is_file() else {}
    files: dict[str, tuple[int, int, str]] = {}
    stale: list[tuple[str, int, int]] = []
    prefix = f"{root.path}/"
    for name in used_files(root):
        status = _status(prefix + name)
        entry = previous.get(name)
        if entry is not None and entry[:2] == (status.st_size, status.st_mtime_ns):
            files[name] = entry
        else:
            stale.append((name, status.st_size, status.st_mtime_ns))
    if stale:
        from concurrent.futures import ThreadPoolExecutor  # loads slowly: only where something is read

        with ThreadPoolExecutor() as pool:
            contents = pool.map(_sha256, (prefix + name for name, _, _ in stale))
            for done, ((name, size, modified), content) in enumerate(zip(stale, contents), start=1):
                files[name] = (size, modified, content)
                progress(done, len(stale))
    result = Manifest(files)
    if stale or len(files) != len(previous):
        write_text(kept_at, json.dumps({"root": str(root.path), "files": files}))
    return result


def counts(root: Root, names: Iterable[str]) -> dict[str, int]:
    """Complete pairs per split among files of a manifest (`names` below the root); of detection data, images."""
    files = set(names)
    numbers = {}
    for split in root.dataset.splits:
        image, label = root.layout.image_path(split, "{id}"), root.layout.label_path(split, "{id}")
        ids = _ids(files, image)
        if not root.layout.one_file_per_split:
            ids &= _ids(files, label)
        listing = root.path / root.layout.listing_path(split) if root.layout.listing else None
        if listing is not None:
            ids &= set(_listed(listing)) if listing.is_file() else set()
        numbers[split] = len(ids)
    return numbers


def _ids(files: Iterable[str], pattern: str) -> set[str]:
    """The ids of the files that a pattern with `{id}` names."""
    start, _, end = pattern.partition("{id}")
    return {name[len(start) : len(name) - len(end)] for name in files if name.startswith(start) and name.endswith(end)}


def manifest_path(root: Root, cache: Path) -> Path:
    """Where the manifest of this copy of the dataset is kept."""
    place = hashlib.sha256(str(root.path.resolve()).encode()).hexdigest()[:12]
    return Path(cache) / "manifests" / f"{root.dataset.name}-{root.layout.name}-{place}.json"


def read_manifest(path: Path) -> Manifest:
    """A manifest as it was written; an unreadable one counts as empty (its digests are then made again)."""
    record = read_json(path, {"files": {...: [(int, str)]}, ...: object}, cache=True)
    try:
        entries = record["files"].items() if record is not None else ()
        return Manifest({name: (int(size), int(time), str(sha)) for name, (size, time, sha) in entries})
    except ValueError:
        return Manifest({})


def used_files(root: Root) -> list[str]:
    """The files that the layout's splits use, below the root, sorted."""
    names: set[str] = set()
    for split in root.dataset.splits:
        for pattern in (root.layout.image_path(split, "{id}"), root.layout.label_path(split, "{id}")):
            if "{id}" in pattern:
                ids = _walk(root.path / _base(pattern), _suffix(pattern))
                names |= {pattern.replace("{id}", id) for id in ids}
            elif (root.path / pattern).is_file():
                names.add(pattern)
        if root.layout.listing and (root.path / root.layout.listing_path(split)).is_file():
            names.add(root.layout.listing_path(split))
    return sorted(names)


def _status(path: str) -> os.stat_result:
    """Size and time of a file. DataError for a link to nothing or in a circle, and for what is no file: a pipe would be
    read for ever."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); is it a link? Get the file again"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: is no file but a folder, a pipe or a device; get the file again")
    return status


def _sha256(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
