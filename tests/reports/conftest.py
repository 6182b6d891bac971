"""Fixtures of the reports' tests: `make` builds a table, its plan and an empty store in a temporary folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.environment import Device
from harness.plan.planner import Planner, Selection
from harness.recipes.profile import Profile
from harness.store.store import Store
from harness.table.load import load
from tests.support.report_bench import PAPER, RECIPE, TABLE, Make, ReportBench


@pytest.fixture(scope="session")
def code_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digests of the checkout's code, found once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make(tmp_path: Path, code_cache: Path) -> Make:
    def _make(
        *,
        profile: Profile = PAPER,
        seeds: int = 1,
        select_rows: Sequence[str] = (),
        select_columns: Sequence[str] = (),
        data_dir: Path | None = None,
        **changes: Any,
    ) -> ReportBench:
        (tmp_path / "recipes").mkdir(exist_ok=True)
        (tmp_path / "recipes" / "mini.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
        file = tmp_path / "pspnet_table5.yaml"
        file.write_text(yaml.safe_dump({**TABLE, **changes}, sort_keys=False, allow_unicode=True), encoding="utf-8")
        table = load(file)
        place = {"data_dir": data_dir, "cache": code_cache, "device": Device("cpu", "Test CPU", 2)}
        planner = Planner(profile, tuple(range(seeds)), **place)
        plan = planner.plan([table], Selection(tuple(select_rows), tuple(select_columns)))
        return ReportBench(tmp_path, table, plan, Store(tmp_path / "results"))

    return _make
