"""LaTeX: the paper's columns, verdicts as daggers, and text that prints as itself; compiled where there is a TeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.store.store import Failure
from harness.table.paths import table_files
from reports.formats import latex
from reports.table_report import TableReport
from tests.support.report_bench import TABLE, Make

NASTY = ["100% & more_#1 ^~ {x} $y$ \\input{z}", "<b>|\"'`", "?` !` -- ---", "é ł ñ ő ç Å ï ß", "λ_div × 10⁹ ± ∞ … “q” – —",
         "שלום עולם", "漢字 🙂", "\x01\x1b[31m", "a\u202eb", "x" * 10_000,
         "\\", "%", "{", "}", "a\nb", "²³", "e\u0301\u0302"]  # fmt: skip


def balanced(text: str) -> bool:
    """Whether braces close, escaped ones aside."""
    depth = 0
    for char in re.sub(r"\\[\\{}]", "", text):
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


@given(st.text(max_size=80))
def test_any_text_becomes_ascii_that_cannot_end_a_cell(text: str) -> None:
    made = latex.escape(text)
    assert made.isascii()
    assert balanced(made)
    bare = re.sub(r"\\[\\&%#_{}$~]", "", made)
    assert not re.search(r"[&%#_~\n]", bare)
    assert "\\\\" not in made


def test_the_table_has_the_papers_columns_and_its_verdicts(make: Make) -> None:
    descriptors = {"label": "Module", "backbone": "Backbone"}
    rows = {**TABLE["rows"], "ppm": {**TABLE["rows"]["ppm"], "descriptors": {"backbone": "R50 & co"}}}
    bench = make(rows=rows, descriptors=descriptors)
    bench.measure("ppm", "params", 23.073792)
    bench.measure("ppm", "flops", 309.5)
    bench.measure("aspp", "params", 42.211328)
    made = latex.render(bench.report())
    assert "Module & Backbone & Params (M) & FLOPs (G) & Time (ms) & mIoU (" in made
    assert r"PPM & R50 \& co & 23.07 (23.07) & 309.50$^{\dagger}$ (309.45) & -- (20.0) & -- (42.64) \\" in made
    assert r"42.21$^{\S}$ (42.21)" in made
    assert r"\textit{41.5}" in made  # quoted
    assert r"$^{\dagger}$ not reproduced" in made
    assert made.index("Not in the paper's table, ours") > made.index("Later")
    assert made.count(r"\toprule") == made.count(r"\bottomrule") == 1


def test_every_line_of_a_tabular_has_as_many_cells(make: Make) -> None:
    made = latex.render(make().report())
    body = made.partition(r"\toprule")[2].partition(r"\bottomrule")[0].splitlines()
    lines = [text for text in body if text.endswith(r"\\") and "multicolumn" not in text]
    assert {len(re.findall(r"(?<!\\)&", text)) for text in lines} == {4}


def hostile_sheet(make: Make) -> TableReport:
    rows = {f"r{i}": {"label": label, "group": label, "awaits": label} for i, label in enumerate(NASTY)}
    bench = make(rows={**TABLE["rows"], **rows}, title=" ".join(NASTY[:5]))
    bench.measure("ppm", "flops", float("nan"))
    bench.measure("ocr", "flops", float("inf"))
    bench.fail("aspp", "params", Failure("error", "a & b_c"))
    return bench.report()


def test_hostile_labels_stay_in_their_cells(make: Make) -> None:
    made = latex.document([hostile_sheet(make)])
    assert made.isascii()
    assert balanced(made.partition(r"\begin{document}")[2])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_every_table_and_hostile_labels_compile_in_one_document(make: Make, tmp_path: Path) -> None:
    from harness.environment import Device
    from harness.plan.planner import Planner
    from harness.store.store import Store
    from harness.table import recipes
    from harness.table.load import load
    from reports.table_report import table_reports

    store = Store(tmp_path)
    planner = Planner(recipes.profile("paper"), (0,), cache=store.cache, device=Device("cpu", "any", 1))
    plan = planner.plan([load(path) for path in table_files()])
    made = hostile_sheet(make)
    (tmp_path / "all.tex").write_text(latex.document([*table_reports(plan, store), made]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    said = done.stdout.decode("latin-1")
    assert done.returncode == 0, said[-2000:]
    pages = re.search(r"Output written on all\.pdf \((\d+) pages", said.replace("\n", ""))
    assert pages is not None, said[-2000:]
    assert int(pages[1]) >= len(plan.tables) + 1  # no table is lost
