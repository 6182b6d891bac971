"""Generic resources as Slurm writes them: `gpu:h100:4`, `gpu:2,lscratch:100`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_NAME = re.compile(r"[A-Za-z_][\w-]*")
_KIND = re.compile(r"[A-Za-z0-9][\w.-]*")
_COUNT = re.compile(r"[1-9]\d*[KMGT]?", re.IGNORECASE)
_FORM = "expected is NAME, NAME:COUNT or NAME:KIND:COUNT, several with commas, such as gpu:h100:4 or gpu:2,lscratch:100"


@dataclass(frozen=True)
class Resource:
    """One resource of a node. `kind`: of a GPU, its type, or ''; `count`: a number from 1 on, which may end in K, M, G or T."""

    name: str
    kind: str = ""
    count: str = "1"

    def __str__(self) -> str:
        return ":".join(filter(None, (self.name, self.kind, self.count)))


def parse(text: str) -> tuple[Resource, ...]:
    """The resources in a text. ValueError for what is none, for a resource that is named twice, and for half a GPU."""
    resources = tuple(_resource(part) for part in text.split(","))
    names = [resource.name for resource in resources]
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise ValueError(f"names {twice[0]} twice; a job has one kind of each")
    for resource in resources:
        if resource.name == "gpu" and not resource.count.isdigit():
            raise ValueError(f"'{resource}': so many GPUs are on no node; {_FORM}")
    return resources


def _resource(part: str) -> Resource:
    name, *rest = part.split(":")
    kind, count = "", "1"
    if len(rest) == 2:
        kind, count = rest
    elif len(rest) == 1 and (_COUNT.fullmatch(rest[0]) or rest[0] == "0"):
        count = rest[0]
    elif len(rest) == 1:
        kind = rest[0]
    if len(rest) > 2 or not _NAME.fullmatch(name) or (kind == "" and len(rest) == 2) or not _COUNT.fullmatch(count):
        raise ValueError(f"'{part}': {_FORM}")
    if kind and not _KIND.fullmatch(kind):
        raise ValueError(f"'{part}': {_FORM}")
    return Resource(name, kind, count)


def gpu(text: str | None) -> Resource | None:
    """The GPUs among the resources of a node; None where there are none, or where the text is no resources."""
    try:
        return next((resource for resource in parse(text or "") if resource.name == "gpu"), None)
    except ValueError:
        return None


def with_gpus(text: str, count: int) -> str:
    """The resources in a text with so many GPUs, where it has any."""
    return ",".join(str(replace(r, count=str(count)) if r.name == "gpu" else r) for r in parse(text))


def gpu_kinds(node: str) -> dict[str, int]:
    """{kind of GPU: how many} on a node, as sinfo writes it: `gpu:a100:4(S:0-1),gpu:2` as {"a100": 4, "": 2}."""
    kinds: dict[str, int] = {}
    for kind, count in re.findall(r"\bgpu(?::([^:,()]+))?:(\d+)", node):
        kinds[kind] = kinds.get(kind, 0) + int(count)
    return kinds
