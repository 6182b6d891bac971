"""Claims: judged per column, paired over seeds, and never from numbers that mean nothing."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import Problems
from harness.recipes.profile import Profile, Synthetic
from harness.table.schema import Table
from reports import claims
from reports.cell_report import CellReport
from reports.formats import markdown, terminal
from reports.site import table_view
from reports.status import CellStatus
from reports.table_report import TableReport
from reports.verdict import ALPHA
from tests.support.report_bench import PAPER, TABLE, Make

ON_PARAMS = [{"better": "ppm", "than": "aspp", "on": ["params"]}]
SHORT = Profile(name="short", about="a tenth", comparable=False, claims_only=True, synthetic=Synthetic())
SMOKE = Profile(name="smoke", about="a check", comparable=False, synthetic=Synthetic())


def test_pairing_decides_what_the_spread_of_the_rows_would_hide(make: Make) -> None:
    bench = make(seeds=3)
    bench.measure("ppm", "score", 40.0, 42.0, 44.0)
    bench.measure("aspp", "score", 40.5, 42.6, 44.4)
    (judgement,) = claims.judge_claims(bench.report())
    assert judgement.outcome == claims.HOLDS
    part = judgement.parts[0]
    assert part.difference == pytest.approx(0.5)
    assert part.interval is not None
    assert part.interval[0] > 0
    assert part.published == pytest.approx(43.19 - 42.64)


def test_the_opposite_does_not_hold_and_noise_is_undecided(make: Make) -> None:
    for measured, expected in (((39.0, 41.1, 43.0), claims.FAILS), ((38.0, 44.0, 44.5), claims.UNDECIDED)):
        bench = make(seeds=3)
        bench.measure("ppm", "score", 40.0, 42.0, 44.0)
        bench.measure("aspp", "score", *measured)
        assert claims.judge_claims(bench.report())[0].outcome == expected


def test_one_seed_and_equal_differences_are_undecided(make: Make) -> None:
    for seeds in (1, 2):
        bench = make(seeds=seeds)
        bench.measure("ppm", "score", *[40.0, 41.0][:seeds])
        bench.measure("aspp", "score", *[45.0, 46.0][:seeds])
        (judgement,) = claims.judge_claims(bench.report())
        assert judgement.outcome == claims.UNDECIDED
        assert judgement.parts[0].difference == pytest.approx(5.0)


def test_a_printed_gain_is_judged_apart_from_the_direction(make: Make) -> None:
    """A true gain exceeds its own size half of the time: it has to be met, not exceeded."""
    for by, refused in ((0.5, False), (9.0, True)):
        bench = make(seeds=3, claims=[{"better": "aspp", "than": "ppm", "on": ["score"], "by": by}])
        bench.measure("ppm", "score", 40.0, 42.0, 44.0)
        bench.measure("aspp", "score", 40.5, 42.52, 44.48)
        judged = claims.judge_claims(bench.report())[0]
        assert judged.outcome == claims.HOLDS
        assert "the printed gain of " in judged.parts[0].reason
        assert ("not reproduced" in judged.parts[0].reason) is refused
        assert "agrees within ±" in judged.parts[0].reason


def test_fewer_parameters_are_better(make: Make) -> None:
    bench = make(claims=ON_PARAMS)
    bench.measure("ppm", "params", 23.07)
    bench.measure("aspp", "params", 42.21)
    (judgement,) = claims.judge_claims(bench.report())
    assert judgement.outcome == claims.HOLDS
    assert judgement.parts[0].difference == pytest.approx(42.21 - 23.07)


def test_times_are_judged_by_their_quartiles(make: Make) -> None:
    faster = [{"better": "ppm", "than": "aspp", "on": ["time"]}]
    for low, high, expected in ((19.0, 21.0, claims.HOLDS), (9.5, 21.0, claims.UNDECIDED)):
        bench = make(claims=faster)
        bench.measure("ppm", "time", 10.0, latency_q25=9.0, latency_q75=11.0)
        bench.measure("aspp", "time", 20.0, latency_q25=low, latency_q75=high)
        assert claims.judge_claims(bench.report())[0].outcome == expected


def test_smoke_judges_nothing_and_short_judges_claims(make: Make) -> None:
    for profile, expected in ((SMOKE, claims.NOT_JUDGED), (SHORT, claims.HOLDS)):
        bench = make(seeds=3, profile=profile)
        bench.measure("ppm", "score", 40.0, 42.0, 44.0)
        bench.measure("aspp", "score", 40.5, 42.6, 44.4)
        assert claims.judge_claims(bench.report())[0].outcome == expected


def test_what_is_not_measured_is_said(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "score", 40.0)
    (judgement,) = claims.judge_claims(bench.report())
    assert judgement.outcome == claims.UNMEASURED
    assert "aspp" in judgement.parts[0].reason
    assert "ppm" not in judgement.parts[0].reason


def test_a_claim_on_every_column_needs_every_column(make: Make) -> None:
    everywhere = [{"better": "ppm", "than": "aspp", "on": "all"}]
    bench = make(claims=everywhere)
    bench.measure("ppm", "params", 23.07)
    bench.measure("aspp", "params", 42.21)
    assert claims.judge_claims(bench.report())[0].outcome == claims.UNDECIDED
    one = make(claims=everywhere, select_columns=["params"])
    assert (
        claims.judge_claims(one.report())[0].outcome == claims.UNDECIDED
    )  # the selection shows only a part of the claim


def test_a_claim_that_does_not_hold_somewhere_does_not_hold(make: Make) -> None:
    bench = make(claims=[{"better": "aspp", "than": "ppm", "on": ["params", "flops"]}])
    bench.measure("ppm", "params", 23.07)
    bench.measure("aspp", "params", 42.21)
    assert claims.judge_claims(bench.report())[0].outcome == claims.FAILS


def test_nan_decides_nothing(make: Make) -> None:
    bench = make(claims=ON_PARAMS)
    bench.measure("ppm", "params", float("nan"))
    bench.measure("aspp", "params", 42.21)
    assert claims.judge_claims(bench.report())[0].outcome == claims.UNDECIDED


def test_claims_about_rows_that_are_not_selected_are_left_out(make: Make) -> None:
    assert claims.judge_claims(make(select_rows=["ocr"]).report()) == []


def test_wrong_claims_are_accepted_less_than_one_time_in_twenty(make: Make) -> None:
    """Two rows that are equally good: at one of all looks `holds` falls in less than 5 % of simulated tables."""
    report = make(seeds=3).report()
    draw = random.Random(0)
    held = 0
    for _ in range(2000):
        cells = {}
        for row in ("ppm", "aspp"):
            values = tuple(40 + draw.gauss(0, 0.3) for _ in range(3))
            old = report.cells[row, "score"]
            cells[row, "score"] = CellReport(old.cell, CellStatus.MEASURED, values=values, seeds=(1, 2, 3))
        made = type(report)(
            report.table, report.profile, report.repetitions, cells, ("ppm", "aspp"), ("score",), report.recipes
        )
        held += claims.judge_claims(made)[0].outcome == claims.HOLDS
    assert 0.001 < held / 2000 < 0.02  # of the 5 % that all looks up to twenty have together


# ----------------------------------------------------------------------------------------------- monotone ablations

STEPS = [{"monotone": ["ppm", "aspp", "ocr"], "on": ["score"]}]


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ({"better": "ppm"}, "claims[0]: a claim says either better and than, or monotone"),
        ({"better": "ppm", "than": "aspp", "monotone": ["ppm", "aspp", "ocr"]}, "either better and than, or monotone"),
        ({"monotone": ["ppm", "aspp"]}, "claims[0].monotone: Tuple should have at least 3 items"),
        ({"monotone": ["ppm", "aspp", "orc"]}, "claims[0].monotone: unknown row 'orc'. Did you mean 'ocr'?"),
        ({"monotone": ["ppm", "aspp", "ppm"]}, "monotone names each row once"),
        ({"monotone": ["ppm", "aspp", "ocr"], "by": 1.0}, "goes without 'by'"),
    ],
)
def test_a_claim_that_is_none_says_where_and_why(make: Make, claim: dict[str, object], said: str) -> None:
    with pytest.raises(Problems) as error:
        make(claims=[claim])
    assert said in str(error.value)


def test_an_ablation_holds_when_each_step_does(make: Make) -> None:
    for last, expected in (((42.0, 44.1, 46.0), claims.HOLDS), ((41.6, 43.7, 45.2), claims.UNDECIDED)):
        bench = make(seeds=3, claims=STEPS)
        bench.measure("ppm", "score", 40.0, 42.0, 44.0)
        bench.measure("aspp", "score", 41.5, 43.6, 45.4)
        bench.measure("ocr", "score", *last)
        (judgement,) = claims.judge_claims(bench.report())
        assert judgement.outcome == expected
        assert [(part.better, part.than) for part in judgement.parts] == [("aspp", "ppm"), ("ocr", "aspp")]
        assert [part.published for part in judgement.parts] == pytest.approx([43.19 - 42.64, 42.47 - 43.19])


def test_a_step_that_is_not_measured_leaves_an_ablation_open_and_a_refuted_one_ends_it(make: Make) -> None:
    bench = make(seeds=3, claims=STEPS)
    bench.measure("ppm", "score", 40.0, 42.0, 44.0)
    bench.measure("aspp", "score", 41.5, 43.6, 45.4)
    (judgement,) = claims.judge_claims(bench.report())
    assert (judgement.outcome, judgement.parts[1].reason) == (claims.UNDECIDED, "without ocr")
    bench.measure("ocr", "score", 38.0, 40.2, 41.7)
    assert claims.judge_claims(bench.report())[0].outcome == claims.FAILS


def test_every_format_tells_an_ablation_step_by_step(make: Make) -> None:
    bench = make(seeds=3, claims=STEPS)
    for row, first in (("ppm", 40.0), ("aspp", 41.5), ("ocr", 43.0)):
        bench.measure(row, "score", first, first + 2.1, first + 3.9 + first / 100)
    report = bench.report()
    (told,) = table_view.table(report, (), (), ())["claims"]
    assert told["text"] == "each better than the one before: PPM → ASPP → OCR"
    assert [part.partition(":")[0] for part in told["parts"]] == ["mIoU · ASPP", "mIoU · OCR"]
    assert "each better than the one before: PPM → ASPP → OCR" in markdown.render(report)
    assert "claim: each better than the one before: ppm → aspp → ocr: holds" in terminal.render(report)


@pytest.mark.slow
@given(
    st.lists(st.sampled_from([0.0, 0.3, 2.0]), min_size=2, max_size=3).filter(lambda gaps: 0.0 in gaps),
    st.integers(3, 6),
    st.integers(0, 2**32),
)
@settings(max_examples=15, deadline=None)
def test_ablations_are_judged_wrongly_as_rarely_as_stated(gaps: list[float], seeds: int, start: int) -> None:
    """Steps of which at least one gains nothing: `holds` is wrong, at most one time in twenty. With every step at its
    worst for the claim, 0, `does not hold` is wrong as rarely."""
    runs, draw = 400, random.Random(start)
    allowed = ALPHA + 4 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    judged = [outcome(gaps, seeds, draw) for _ in range(runs)]
    assert judged.count(claims.HOLDS) <= allowed * runs
    none = [outcome([0.0] * len(gaps), seeds, draw) for _ in range(runs)]
    assert none.count(claims.FAILS) <= allowed * runs


def outcome(gaps: list[float], seeds: int, draw: random.Random) -> str:
    """Of a monotone claim over rows that lie `gaps` apart in truth and 0.3 apart between seeds."""
    level, cells, names = 40.0, {}, [f"r{i}" for i in range(len(gaps) + 1)]
    spec = {"rows": {name: {"method": "fcn"} for name in names}, "columns": {"score": {"metric": "miou"}}}
    claim = {"monotone": names, "on": "all"}
    made = Table.model_validate({**spec, "id": "t", "path": "t", "paper": "p", "title": "t", "claims": [claim]})
    for name, gap in zip(names, [0.0, *gaps]):
        level += gap
        values = tuple(level + draw.gauss(0, 0.3) for _ in range(seeds))
        cells[name, "score"] = CellReport(
            made.cell(name, "score"), CellStatus.MEASURED, values=values, seeds=tuple(range(seeds))
        )
    return claims.judge_claims(TableReport(made, PAPER, (), cells, tuple(names), ("score",), {}))[0].outcome


@pytest.mark.slow
def test_a_true_claim_over_many_columns_is_not_refused_more_often(make: Make) -> None:
    """Of comparisons that are all ties, one looks refuted at 5 % nearly always when there are many; the claim stays."""
    draw, columns = random.Random(1), tuple(f"c{i}" for i in range(20))
    spec = {
        "rows": {"a": {"method": "fcn"}, "b": {"method": "fcn"}},
        "columns": {c: {"metric": "miou"} for c in columns},
    }
    claim = {"better": "a", "than": "b", "on": "all"}
    made = Table.model_validate({**spec, "id": "t", "path": "t", "paper": "p", "title": "t", "claims": [claim]})
    refused = 0
    for _ in range(300):
        cells = {
            (r, c): CellReport(
                made.cell(r, c),
                CellStatus.MEASURED,
                values=tuple(draw.gauss(40, 0.3) for _ in range(4)),
                seeds=(0, 1, 2, 3),
            )
            for r in "ab"
            for c in columns
        }
        refused += (
            claims.judge_claims(TableReport(made, PAPER, (), cells, ("a", "b"), columns, {}))[0].outcome == claims.FAILS
        )
    assert refused <= 300 * (ALPHA + 4 * math.sqrt(ALPHA * (1 - ALPHA) / 300))


# --------------------------------------------------------------------------------------------------------- rankings


def test_the_order_of_rows_is_compared_with_the_papers(make: Make) -> None:
    rows = {**TABLE["rows"], "ocr": {**TABLE["rows"]["ocr"]}, "aspp": {"label": "ASPP", "method": "deeplabv3"}}
    bench = make(rows={k: v for k, v in rows.items() if k in ("ppm", "aspp", "ocr", "quoted", "later")})
    for row, value in (("ppm", 10.0), ("aspp", 20.0), ("ocr", 30.0)):
        bench.measure(row, "score", value)
    (ranking,) = claims.rankings(bench.report())
    assert (ranking.rows, ranking.interval) == (3, None)
    assert ranking.tau == pytest.approx(-1 / 3)  # published: ocr < ppm < aspp


def test_rows_fitted_to_the_numbers_do_not_count_for_their_order(make: Make) -> None:
    bench = make()
    for row in ("ppm", "aspp", "ocr"):
        bench.measure(row, "params", {"ppm": 23.07, "aspp": 42.21, "ocr": 15.12}[row])
    assert claims.rankings(bench.report()) == []  # two rows are left


@given(st.lists(st.integers(0, 5), min_size=2, max_size=8))
def test_kendall_of_a_ranking_with_itself_is_one(sample: list[int]) -> None:
    found = claims.kendall(sample, sample)
    assert found is None if len(set(sample)) == 1 else found == pytest.approx(1)
    reverse = claims.kendall(sample, [-v for v in sample])
    assert reverse is None if len(set(sample)) == 1 else reverse == pytest.approx(-1)


def test_kendall_is_the_textbooks() -> None:
    assert claims.kendall([1, 2, 3, 4, 5], [3, 1, 2, 5, 4]) == pytest.approx(0.4)
    assert claims.kendall([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / (2 * 3) ** 0.5)


# ----------------------------------------------------------------------------------------------------- printed gains


def with_gain(gain: float) -> dict[str, object]:
    values = {"ppm": {"score": 42.64}, "aspp": {"score": {"value": 43.19, "gain": gain}, "params": 42.21}}
    return {"values": values}


def test_a_printed_gain_finds_its_row_and_its_sign_here(make: Make) -> None:
    bench = make(seeds=2, published=with_gain(0.55))
    bench.measure("ppm", "score", 40.0, 42.0)
    bench.measure("aspp", "score", 39.5, 41.6)
    (gain,) = claims.gains(bench.report())
    assert (gain.row, gain.base, gain.printed) == ("aspp", "ppm", 0.55)
    assert gain.measured == pytest.approx(-0.45)


def test_a_printed_gain_that_no_row_explains_is_found(make: Make) -> None:
    (gain,) = claims.gains(make(published=with_gain(0.56)).report())
    assert (gain.base, gain.measured) == (None, None)


def test_gains_are_not_judged_under_smoke(make: Make) -> None:
    bench = make(profile=SMOKE, published=with_gain(0.55))
    bench.measure("ppm", "score", 40.0)
    bench.measure("aspp", "score", 41.0)
    assert claims.gains(bench.report())[0].measured is None
