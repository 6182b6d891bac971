"""Base and common types of everything that a YAML file or a job may say."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Size = Annotated[tuple[int, int], Field(description="(height, width) in pixels")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


class Spec(BaseModel):
    """A piece of configuration: immutable, and a typo is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
