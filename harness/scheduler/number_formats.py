"""Which number formats of jobs a GPU lacks: bfloat16 came with Ampere; before it torch imitates it, many times slower."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.errors import MissingError
from harness.jobs.job import Job

_AMPERE = (8, 0)
"""The first compute capability with bfloat16 products."""


def check_number_formats(jobs: Iterable[Job], capability: tuple[int, int], name: str) -> None:
    """MissingError where one of the jobs computes in bfloat16 and a GPU of this compute capability cannot."""
    count = sum("bf16" in _formats(job.config) for job in jobs)
    if count and capability < _AMPERE:
        raise MissingError(
            f"precision bf16 needs a GPU of compute capability 8.0 or higher (Ampere: A100, RTX 30); {name} has "
            f"{'.'.join(map(str, capability))}. Take a profile or recipe with precision fp16 or fp32, or another GPU"
        )


def _formats(config: Mapping[str, Any]) -> set[str]:
    """Of the training, of its own tests, and of a test."""
    recipe, protocol = config.get("recipe") or {}, config.get("protocol") or {}
    own_test = (recipe.get("test") or {}) if recipe.get("evaluate_every") else {}
    return {part["precision"] for part in (recipe, protocol, own_test) if "precision" in part}
