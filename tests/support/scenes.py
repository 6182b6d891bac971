"""Small synthetic copies of datasets, written the way `locate` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.files import locate
from harness.data.layout import Root
from harness.jobs.kinds import Data
from harness.recipes.profile import Synthetic

SCENES = Synthetic(train_images=5, test_images=3, size=(48, 64))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def synthetic_root(cache: Path) -> Callable[[str], Root]:
    """A dataset's synthetic copy; shared between tests, so do not write to it."""
    return lambda name: locate(Data(name=name, synthetic=SCENES), data_dir=None, cache=cache)


@pytest.fixture
def own_root(tmp_path: Path) -> Callable[[str], Root]:
    """A dataset's synthetic copy that the test may damage."""
    return lambda name: locate(Data(name=name, synthetic=SCENES), data_dir=None, cache=tmp_path)
