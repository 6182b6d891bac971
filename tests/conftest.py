"""What every test of the core may use."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import ROOT

# Processes that tests start import this checkout, also where another one is installed; and each of them is one of many.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
os.environ.setdefault("OMP_NUM_THREADS", "1")
from harness.store.store import Store
from tests.support.checkout import Checkout, copy_of_checkout

# Started in the background of a script, this process ignores Ctrl-C, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

with contextlib.suppress(ImportError):  # the tests on a GPU do without it
    from hypothesis import HealthCheck, settings

    # on a busy machine drawing an example may take as long as it likes, too
    settings.register_profile(
        "repeatable", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests on a real Slurm first: they wait more than they compute, and overlap with the others. Then slow ones, so that none
    is left alone at the end. Those that take minutes only where `-m` names them."""
    for name in ("all_rows", "kills"):
        if name not in config.option.markexpr:
            items[:] = [item for item in items if item.get_closest_marker(name) is None]
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("slurm", "slow")])


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees only the data and results folders that it names itself."""
    for name in ("HARNESS_DATA", "HARNESS_RESULTS", "HARNESS_TENSORBOARD", "HARNESS_LOGGERS", "HARNESS_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HARNESS_DEVICE", "cpu")  # of what is compared bit for bit; tests of GPUs name theirs
    monkeypatch.setenv("HF_HUB_CACHE", os.devnull)  # no weights are downloaded, or found where others were


@pytest.fixture(autouse=True)
def _no_settings_of_another_test() -> Iterator[None]:
    """A recipe's `deterministic` holds for its process; in a test's process for that test alone."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].use_deterministic_algorithms(False)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes `text` to a file of that name in the test's own folder."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty results folder of the test's own."""
    made = Store(tmp_path / "results")
    made.prepare()
    return made


@pytest.fixture(scope="session")
def tables() -> Path:
    """The folder of the shipped table files."""
    return ROOT / "tables"


@pytest.fixture(scope="session")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture
def checkout(copied: Path, tmp_path: Path) -> Checkout:
    return Checkout(copied, tmp_path / "results")
