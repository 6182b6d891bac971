"""The environment of a measurement: commit, packages, device, host. Recorded with every job; does not import torch."""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import ROOT, SHIPPED

DEVICE_VARIABLE = "HARNESS_DEVICE"
_COMPUTE = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "fvcore")
_PACKAGES = (*_COMPUTE, "onedl-mmsegmentation", "transformers")


@dataclass(frozen=True)
class Device:
    """What jobs run on. `slots` is how many can run at once: GPUs, or CPUs."""

    kind: str  # cpu | cuda
    name: str
    slots: int

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"

    @property
    def card(self) -> str:
        """How results of jobs that take as long as here begin to describe their device: the model of a GPU, any CPU."""
        return str(self) if self.kind == "cuda" and self.name else self.kind


@functools.cache
def cpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def cpu_name() -> str:
    """The processor's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


@functools.cache
def _cards() -> tuple[tuple[str, str], ...]:
    """(name, driver) of every NVIDIA GPU of this machine, in order."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return ()
    parts = (text.rpartition(",") for text in lines if text.strip())
    return tuple((name.strip(), version.strip()) for name, _, version in parts)


@functools.cache
def gpus() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs this process may use, in order; empty where there are none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1", "NoDevFiles"):
        return ()
    names = tuple(name for name, _ in _cards())
    if visible is None:
        return names
    visible_cards = [v.strip() for v in visible.split(",")]
    return tuple(names[int(v)] if v.isdigit() and int(v) < len(names) else v for v in visible_cards)


def driver() -> str:
    """The version of NVIDIA's driver; '' without GPUs."""
    return _cards()[0][1] if _cards() else ""


def device(prefer: str = "auto", *, otherwise: str = "auto") -> Device:
    """The device of this machine: its GPUs where there are any, else its CPUs.

    `prefer`: auto, cpu, cuda. For `auto` HARNESS_DEVICE is asked, and where it is not set, `otherwise` counts.
    """
    if prefer == "auto":
        prefer = os.environ.get(DEVICE_VARIABLE) or otherwise
    if prefer != "cpu" and gpus():
        return Device("cuda", gpus()[0], len(gpus()))
    return Device("cpu", cpu_name(), cpus())


@functools.cache
def commit() -> tuple[str, bool]:
    """(commit, dirty): the checkout's commit, and whether its tracked files differ from it. ('', False) outside git.

    A copy of the code for queued jobs carries a note of where it came from, and so does an installed wheel, which may lie in
    a repository that is not its own.
    """
    note = SHIPPED / "commit.json"
    try:
        if note.is_file():
            recorded = json.loads(note.read_text(encoding="utf-8"))
            return recorded["commit"], recorded["dirty"]
        run = functools.partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
        head = run(["git", "rev-parse", "HEAD"]).stdout.strip()
        dirty = bool(run(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip())
    except (OSError, subprocess.SubprocessError):
        return "", False
    return head, dirty


@functools.cache
def packages() -> dict[str, str]:
    """Versions of the packages that can move a number."""
    from importlib import metadata  # loads slowly: only where versions are asked for

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def describe(on: str, threads: int) -> dict[str, Any]:
    """The environment of a job, as recorded in its result."""
    head, dirty = commit()
    cards = _cards() if on == "cuda" else ()
    return {
        "commit": head,
        "dirty": dirty,
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": packages(),
        "device": str(device("cuda" if on == "cuda" else "cpu")),
        **({"driver": f"NVIDIA {cards[0][1]}"} if cards else {}),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),  # each on a GPU of its own, where there are any
        "threads": threads,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "host": platform.node(),
    }
