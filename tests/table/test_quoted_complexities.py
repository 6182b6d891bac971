"""UPerNet's rows of ECENet's Table 1 print their published digits under the convention that they name."""

from __future__ import annotations

import pytest

from harness import ROOT
from harness.jobs.context import Context
from harness.jobs.kinds import ComplexityConfig, Model
from harness.table.load import load
from harness.table.metrics import scale
from harness.tasks.complexity import measure
from reports import verdict

TABLE = load(ROOT / "tables" / "ecenet_table1.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("row", ["upernet_r101", "upernet_swin_b", "upernet_swin_l"])
def test_a_quoted_row_prints_its_digits_under_its_own_convention(row, tmp_path):
    cells = [TABLE.cell(row, column) for column in ("gflops", "params")]
    spec = TABLE.rows[row].model
    shape = cells[0].shapes
    assert shape is not None
    model = Model(
        name=str(cells[0].method),
        options=dict(cells[0].options),
        num_classes=150,
        backbone=spec.backbone,
        output_stride=spec.output_stride,
    )
    config = ComplexityConfig(model=model, input=shape, convention=cells[0].convention)
    context = Context(folder=tmp_path, cache=tmp_path, data_dir=None, device="cpu", threads=1)
    measured = {m.name: m.value for m in measure.count(config, context)}
    for cell in cells:
        value = measured[cell.metric.name] / scale(cell.metric, cell.convention)
        assert cell.published is not None
        assert verdict.exact(value, cell.published.text, cell.rounding).word == verdict.REPRODUCED, (cell.name, value)
