"""A job and its measurements, as JSON, so that it can run in another process or on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


class Measurement(NamedTuple):  # a store holds millions: made and read twice as fast as a dataclass
    """One number. `convention` says how it was counted, where there is more than one way."""

    name: str
    value: float
    unit: str = ""
    convention: str = ""


@dataclass(frozen=True)
class Job:
    """One schedulable unit. `key` says when two jobs give the same number; `needs` are keys of jobs that come first."""

    kind: str
    config: Mapping[str, Any]
    key: str
    identity: str  # see harness.jobs.key.identity: the same job whatever the code, data and weights
    parts: Mapping[str, Any]  # what the key was made of, for `why`
    needs: tuple[str, ...] = ()

    @property
    def data_digests(self) -> dict[str, str]:
        """{dataset: digest of its files}, of the data that the key was made of; a key may hold that digest alone."""
        data = self.parts.get("data") or {}
        return {
            name: str(facts.get("files", "") if isinstance(facts, Mapping) else facts) for name, facts in data.items()
        }

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "config": dict(self.config), "parts": dict(self.parts), "needs": list(self.needs)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Job:
        return cls(**{**record, "needs": tuple(record["needs"])})
