"""`data new | prepare | verify | show | synthesize`: datasets on disk."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import options
from harness.cli.group import action, command_group
from harness.errors import Exit, MissingError


@command_group("data", "verify camvid --data ~/datasets")
def command() -> None:
    pass


@action(command, "new", "write a dataset's file, guessed from a folder of images and label maps", "~/photos")
@click.argument("folder", metavar="FOLDER", type=options.PathType("dir"))
@click.option(
    "--out", type=options.PathType(), metavar="FILE", help="where to (datasets/FOLDER.yaml); nothing is overwritten"
)
def new(folder: Path, out: Path | None) -> Exit:
    import re

    from harness.cli.new import write_new
    from harness.data.declaration import declaration
    from harness.data.guess import as_yaml, guess
    from harness.yamlfile import parse

    found = guess(folder)
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", folder.resolve().name).strip("_") or "my_data"
    file = out or Path("datasets", f"{name}.yaml")
    text = as_yaml(found, file)
    declaration(parse(text, str(file)))  # what is written can be read
    write_new(file, text)
    counts = ", ".join(f"{split} {len(ids)}" for split, ids in found.layout.ids.items())
    print(f"images: {counts}; classes: {len(found.values)}")
    for line in found.unknown:
        print(f" ? {line}")
    print(f"next: python -m harness test {file}")
    return Exit.OK


@action(
    command,
    "prepare",
    "bring a download below the data folder, converted",
    "lip --from ~/downloads --data ~/datasets",
)
@options.dataset
@click.option(
    "--from",
    "source",
    required=True,
    type=options.PathType(),
    metavar="DOWNLOAD",
    help="the download that `list datasets DATASET` names: an archive, or the folder with its archives or files",
)
@options.folders_and_device
def prepare(name: str, source: Path, data: Path | None, results: Path, device: str) -> Exit:
    from harness.cli.progress import Counter
    from harness.data import catalogue

    dataset = catalogue.find(name)
    if data is None:
        raise MissingError(
            f"no data folder is set; --data DIR or HARNESS_DATA says where {dataset.title} is to go: "
            f"python -m harness data prepare {name} --from {source} --data ~/datasets"
        )
    from harness.data.prepare import prepare

    with Counter() as counter:
        root = prepare(name, source, data, counter)
    print(f"prepared: {root.path} (layout '{root.layout.name}'); next: python -m harness data verify {name}")
    return Exit.OK


@action(command, "verify", "read every file and list everything that is wrong", "ade20k --data ~/datasets")
@options.dataset
@click.option("--accept", is_flag=True, help="take the present contents as right from now on")
@options.folders_and_device
def verify(name: str, accept: bool, data: Path | None, results: Path, device: str) -> Exit:
    from harness.cli.progress import Counter
    from harness.data.verify import verify
    from harness.store.store import Store

    with Counter() as counter:
        findings = verify(name, data, Store(results).cache, accept=accept, progress=counter)
    print(findings.text())
    return Exit.OK if findings.ok else Exit.FAILED


@action(command, "show", "write a contact sheet of images with their labels", "camvid --split val --out camvid.png")
@options.dataset
@click.option("--split", default="train", help="which split (train)")
@click.option("--out", type=options.PathType(), metavar="FILE", help="where to (results/DATASET_SPLIT.png)")
@click.option("--images", type=options.PositiveInt(), default=12, metavar="N", help="how many (12)")
@options.folders_and_device
def show(name: str, split: str, out: Path | None, images: int, data: Path | None, results: Path, device: str) -> Exit:
    from harness.data.files import locate, pairs
    from harness.data.selection import choose, read_scenes
    from harness.jobs.kinds import Data
    from harness.store.store import Store
    from reports.figures import predictions, style

    root = locate(Data(name=name), data_dir=data, cache=Store(results).cache)
    scenes = read_scenes(root, choose(pairs(root, split), images))
    with style.styled():
        sheet = predictions.contact_sheet(scenes, root.dataset.classes, root.dataset.palette)
        print(f"written: {predictions.write(sheet, out or results / f'{root.dataset.name}_{split}.png')}")
    return Exit.OK


@action(command, "synthesize", "write small scenes in a dataset's own layout", "cityscapes --out /tmp/scenes")
@options.dataset
@click.option(
    "--out", required=True, type=options.PathType("dir"), metavar="DIR", help="a data folder: DIR/DATASET is written"
)
@click.option("--layout", help="which of the dataset's layouts (its first)")
@options.folders_and_device
def synthesize(name: str, out: Path, layout: str | None, data: Path | None, results: Path, device: str) -> Exit:
    from harness.data.synthetic import synthesize

    print(f"written: {synthesize(name, out, layout=layout)}")
    return Exit.OK
