"""`doctor`: what this machine or a cluster can do, and what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import print_lines
from harness.errors import Exit, MissingError, OutputError, UserError


@register("doctor", "--data ~/datasets")
@options.folders_and_device
@options.cluster
def command(data: Path | None, results: Path, device: str, cluster: str | None) -> Exit:
    target = options.cluster_target(cluster)
    if target is not None:
        from harness.cli.cluster import doctor

        return doctor(target, results, data)
    lines, sound = doctor_lines(data, results, device)
    print_lines(lines)
    return Exit.OK if sound else Exit.MISSING


def doctor_lines(data_dir: Path | None, results: Path, prefer: str) -> tuple[list[str], bool]:
    """A line per check of this machine (✓ there, ✗ needed and absent, – optional and absent); whether a run can work here."""
    from harness import environment
    from harness.store.store import Store

    lines, sound = [], True

    def add(ok: bool | None, text: str) -> None:
        lines.append(f" {'✓' if ok else '✗' if ok is False else '–'} {text}")

    machine = environment.describe("cpu", environment.cpus())
    add(True, f"Python {machine['python']} on {machine['system']}")
    versions = machine["packages"]
    for package in ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "fvcore"):
        add(package in versions, f"{package} {versions.get(package, 'is not installed: make setup')}")
        sound &= package in versions
    for name, package, extra in (("mmsegmentation", "onedl-mmsegmentation", "mmseg"), ("transformers",) * 3):
        version = versions.get(package)
        add(True if version else None, f"{name} {version or f'not installed (optional: pip install -e .[{extra}])'}")
    try:
        import torch

        usable, gpus = torch.cuda.is_available(), environment.gpus()
        says = (
            "available" if usable else f"not available, though the driver lists {gpus[0]}" if gpus else "not available"
        )
        add(usable or not gpus, f"torch imports; CUDA {says}")
    except (ImportError, OSError) as error:
        add(False, f"torch does not import: {error}")
        sound = False
    device = environment.device(prefer)
    add(True, f"jobs run on {device}, {device.slots} at once; {environment.cpus()} CPUs")
    shared = Path("/dev/shm")
    if device.kind == "cuda" and shared.is_dir():
        size = shutil.disk_usage(shared).total / 1e9
        add(size >= 1 or None, f"/dev/shm holds {size:.1f} GB; data workers need about 0.3 GB per GPU")
    commit, dirty = environment.commit()
    add(
        True if commit else None,
        f"commit {commit[:12] or 'unknown (not a git checkout)'}{', with changes' if dirty else ''}",
    )
    try:
        Store(results).prepare()
        free = shutil.disk_usage(results).free / 1e9
        add(True, f"results go to {results}, {free:.0f} GB free")
    except OutputError as error:
        add(False, str(error))
        sound = False
    lines += _dataset_lines(data_dir, results / "cache")
    return lines, sound


def _dataset_lines(data_dir: Path | None, cache: Path) -> Iterator[str]:
    from harness.data import catalogue, files
    from harness.jobs.kinds import Data

    if data_dir is None:
        yield " – no data folder (--data DIR or HARNESS_DATA); --profile smoke needs none"
        return
    for name in catalogue.names():
        try:
            root = files.locate(Data(name=name), data_dir=data_dir, cache=cache)
            yield f" ✓ dataset {name} at {root.path}"
        except MissingError:
            yield f" – dataset {name} is not under {data_dir}"
        except UserError as error:
            yield f" ✗ dataset {name}: {error}"
