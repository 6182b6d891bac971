"""What several tests of the scheduler use."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """A folder in which jobs leave word of what they have come to."""
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"
