"""Base class and common types of all configuration (YAML files and jobs), and the ignored label."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

IGNORE = 255
"""The training id of pixels that count neither in a loss nor in a score."""

Size = Annotated[tuple[int, int], Field(description="(height, width) in pixels")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


class Spec(BaseModel):
    """Base of all configuration models: immutable; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as {"recipe.optimizer.lr": value}; sequences as lists, so that tuples and JSON lists are the same."""
    if not isinstance(value, Mapping) or (prefix and not value):
        return {prefix: json.loads(json.dumps(value))}
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= flatten(inner, f"{prefix}.{name}" if prefix else str(name))
    return flat
