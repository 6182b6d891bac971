"""What the site's pages say: cards of papers, differences, downloads, findings at their cells, and how wide pages are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import OutputError
from harness.recipes.profile import ModelChanges, Profile, Synthetic
from reports.audit.corpus import Finding
from reports.audit.systems import place
from reports.meanings import MEANINGS
from reports.site import findings_view, front, names, outcomes, profiles
from reports.table_report import counts
from reports.verdict import AS_ONE_RUN, FITTED, INCONCLUSIVE, INFERRED, NOT_REPRODUCED, REPRODUCED
from tests.reports.test_site import CHROMIUM, Page, browse, cell, made
from tests.support.report_bench import PAPER, TABLE, Make

SMOKE = Profile(name="smoke", about="a check", comparable=False, synthetic=Synthetic())


def test_outcomes_stand_in_one_order_and_none_is_missing(make: Make) -> None:
    assert set(outcomes.ORDER) == set(MEANINGS)
    bench = make()
    bench.measure("aspp", "params", 42.2)
    bench.measure("aspp", "flops", 1.0)
    bench.measure("ppm", "flops", 1.0)
    found = outcomes.counts(bench.report())  # most of them are "not run"
    assert [*found] == [o for o in outcomes.ORDER if o in found]
    assert next(iter(counts(bench.report()))) != next(iter(found))
    assert set(outcomes.runnable(found)) | set(outcomes.folded(found)) == set(found)
    assert set(outcomes.folded(found)) == {"cited", "awaits"}


def test_a_card_counts_the_papers_rows_and_never_ours(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "params", 23.073792)
    bench.measure("other", "params", 1.0)  # a row of ours: not reproduced
    entry = front.summary(bench.report(), 0)
    assert NOT_REPRODUCED not in entry["counts"]
    assert entry["measured"] == 1
    assert entry["extra"] == len(TABLE["columns"])
    (card,) = front.cards([entry], {}, comparable=True)
    assert card["sentence"].startswith("1 of 1 measured count of parameters and FLOPs print")
    page = Page(made(bench) / "index.html")
    assert f"1 of {len(TABLE['columns']) * 5} cells measured in 1 table." in page.text
    assert f"{len(TABLE['columns'])} cells of our own rows" in page.text
    cells = (bench.store.reports / "site" / "cells.html").read_text(encoding="utf-8")
    assert cells.count('data-paper="ours"') == len(TABLE["columns"])


def test_measured_tables_come_first_and_the_others_are_folded(make: Make) -> None:
    bench = make()
    before = (made(bench) / "index.html").read_text(encoding="utf-8")
    assert "1 table without a measurement" in before
    bench.measure("ppm", "params", 23.073792)
    after = (made(bench) / "index.html").read_text(encoding="utf-8")
    assert "without a measurement" not in after
    assert after.index("1 of 12 measured") < after.index("nothing here runs")


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({}, ""),
        ({"count ": 4}, "No count has been measured."),
        ({"count ": 4, "score ": 2}, "No count has been measured. None of the 2 scores has been measured yet."),
        ({f"count {REPRODUCED}": 1, f"count {FITTED}": 2, f"count {INFERRED}": 3, f"count {NOT_REPRODUCED}": 1},
         "1 of 7 measured counts of parameters and FLOPs print the published digits; 3 more on partly inferred modules; "
         "2 on modules fitted to do so, which is no evidence; 1 differs."),
        ({f"score {REPRODUCED}": 2, f"score {AS_ONE_RUN}": 1, f"score {INCONCLUSIVE}": 4, "score ": 5},
         "3 of 7 judged scores agree, 4 are inconclusive, 5 not measured yet."),
        ({f"score {REPRODUCED}": 1, f"score {NOT_REPRODUCED}": 1},
         "1 of 2 judged scores agree within the margin, 1 is not reproduced."),
    ],
)  # fmt: skip
def test_a_sentence_says_what_is_reproduced(evidence: dict[str, int], words: str) -> None:
    assert front.sentence(evidence, comparable=True) == words


def test_a_profile_that_judges_nothing_claims_nothing() -> None:
    assert front.sentence({"count not comparable": 3, "score ": 9}, comparable=False) == (
        "3 cells measured under a profile that judges nothing."
    )


def test_a_table_shows_differences_where_they_say_something(make: Make) -> None:
    bench = make(seeds=2)
    bench.measure("ppm", "params", 23.073792)  # prints the digits
    bench.measure("aspp", "params", 42.31)
    bench.measure("ppm", "time", 2000.0)  # another machine
    bench.measure("ppm", "score", 43.0, 43.1)
    text = (made(bench) / "tables" / "pspnet_table5.html").read_text(encoding="utf-8")
    assert re.findall(r'<small class="difference">([^<]*)</small>', text) == ["+0.41", "+0.10"]
    assert text.count('class="unmeasured"') == 24 - 4
    bench = make(profile=SMOKE)
    bench.measure("ppm", "score", 3.0)
    text = (made(bench) / "tables" / "pspnet_table5.html").read_text(encoding="utf-8")
    assert 'class="difference"' not in text
    assert 'class="sortable paper muted"' in text


def test_numbers_that_do_not_compare_are_muted_wherever_they_stand(make: Make) -> None:
    for profile, muted in ((PAPER, False), (SMOKE, True)):
        bench = make(profile=profile)
        bench.measure("ppm", "score", 3.0)
        folder = made(bench)
        (board,) = (folder / "boards").iterdir()
        for page in ("tables/pspnet_table5.html", "cells.html", board.relative_to(folder)):
            text = (folder / page).read_text(encoding="utf-8")
            (before,) = re.findall(r"<table([^>]*)>(?:(?!<table).)*<b>3\.00</b>", text, flags=re.DOTALL)
            assert ("muted" in before) == muted, page
        text = (folder / "cells" / names.file_name("pspnet_table5", "ppm", "score")).read_text(encoding="utf-8")
        assert ('<div class="muted"><span>Measured</span><b>3.00</b>' in text) == muted


def test_a_table_says_which_backbone_was_measured_in_place_of_the_papers(make: Make) -> None:
    profile = SMOKE.model_copy(update={"model": ModelChanges(backbone="resnet34")})
    text = Page(made(make(profile=profile)) / "tables" / "pspnet_table5.html").text
    assert (
        "Profile smoke measures on backbone resnet34 in place of resnet18; row headers print what the paper says"
        in text
    )
    assert "in place of" not in Page(made(make()) / "tables" / "pspnet_table5.html").text


def test_a_table_can_be_taken_along(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "params", 23.073792)
    folder = made(bench)
    page = Page(folder / "tables" / "pspnet_table5.html")
    for ending, start in (("csv", "paper,"), ("tex", "%"), ("md", "# ")):
        assert f"pspnet_table5.{ending}" in page.links
        text = (folder / "tables" / f"pspnet_table5.{ending}").read_text(encoding="utf-8")
        assert "23.07" in text
        assert text.startswith(start) or ending == "csv"


def test_a_source_leads_to_the_paper_and_a_strange_one_nowhere(make: Make) -> None:
    page = Page(made(make()) / "tables" / "pspnet_table5.html")
    assert "https://arxiv.org/abs/1612.01105" in page.links
    published = {**TABLE["published"], "source": {"arxiv": 'x" onclick="y', "doi": "javascript:alert(1)", "table": 5}}
    page = Page(made(make(published=published)) / "tables" / "pspnet_table5.html")
    assert not [link for link in page.links if "arxiv.org" in link or "doi.org" in link or "javascript" in link]
    assert 'arXiv x" onclick="y' in page.text


def test_findings_lead_to_the_cells_that_they_name(make: Make) -> None:
    bench = make()
    where = place(bench.table, "ppm", "score")
    finding = Finding(
        "two values", where, f"42.64 here, 43.19 in {place(bench.table, 'aspp', 'score')}", ("pspnet_table5",)
    )
    folder = made(bench, finding)
    pages = [f"cells/{names.file_name('pspnet_table5', row, 'score')}" for row in ("ppm", "aspp")]
    audit = Page(folder / "audit.html")
    assert [link for link in audit.links if link.startswith("cells/")] == pages
    for row in ("ppm", "aspp"):
        assert "42.64 here" in cell(folder, row, "score").text
    assert "42.64 here" not in cell(folder, "ppm", "params").text
    # "Table 5" is no part of "Table 51", and what no page is about leads nowhere
    parts = findings_view.Places(bench.plan.cells).parts("pspnet, Table 51, and pspnet, Table 5")
    assert parts == [("pspnet, Table 51, and ", ""), ("pspnet, Table 5", "tables/pspnet_table5.html")]


def test_the_navigation_says_where_one_is(make: Make) -> None:
    folder = made(make())
    for name, current in (
        ("index", "Papers"),
        ("cells", "Cells"),
        ("audit", "Audit"),
        ("tables/pspnet_table5", "Papers"),
    ):
        text = (folder / f"{name}.html").read_text(encoding="utf-8")
        kind = "true" if "/" in name else "page"
        assert re.findall(r'aria-current="(\w+)">([^<]*)<', text) == [(kind, current)]


def test_pages_under_several_profiles_lead_to_each_other(make: Make) -> None:
    paper = made(make())
    pages = {path.relative_to(paper).as_posix() for path in paper.rglob("*.html")}
    assert not any("site." in link for page in pages for link in Page(paper / page).links)
    smoke = made(make(profile=SMOKE, select_columns=["params"]), name="site.smoke")
    (paper.parent / "site.notes").mkdir()
    fast = made(make(profile=PAPER.model_copy(update={"name": "fast"})), name="site.fast")
    shared = {path.relative_to(smoke).as_posix() for path in smoke.rglob("*.html")}
    assert {"index.html", "tables/pspnet_table5.html", "audit.html"} < shared < pages
    for folder, others in ((paper, (fast, smoke)), (smoke, (paper, fast)), (fast, (paper, smoke))):
        for page in shared if folder == smoke else pages:
            read = Page(folder / page)
            up = "../" * (page.count("/") + 1)
            expected = [f"{up}{other.name}/{page}" for other in others if (other / page).exists()]
            assert [link for link in read.links if link.startswith(f"{up}site")] == expected, (folder.name, page)
            assert len(expected) == (2 if page in shared else 1)
    assert "Profile smoke · paper · fast" in Page(smoke / "tables" / "pspnet_table5.html").text
    assert paper == made(make())  # written again: the others' pages stay as they are
    assert "Profile smoke · paper · fast" in Page(smoke / "tables" / "pspnet_table5.html").text


def test_a_site_that_cannot_be_changed_keeps_its_links(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = made(make())
    before = (paper / "index.html").read_text(encoding="utf-8")

    def refuse(*_: object, **__: object) -> None:
        raise OutputError("read-only")

    monkeypatch.setattr(profiles, "write_text", refuse)
    smoke = made(make(profile=SMOKE), name="site.smoke")
    assert "../site/index.html" in Page(smoke / "index.html").links
    assert (paper / "index.html").read_text(encoding="utf-8") == before


def test_a_site_elsewhere_has_no_profiles_beside_it(make: Make) -> None:
    made(make())
    assert "Profile smoke ·" not in Page(made(make(profile=SMOKE), name="mine") / "index.html").text


# -------------------------------------------------------------------------------------------------------- a browser


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_in_a_browser_no_page_is_wider_than_a_phone(make: Make, tmp_path: Path) -> None:
    """Each page in a frame of 390 pixels tells the page around it how wide it wants to be."""
    columns = {**TABLE["columns"]} | {f"c{i}": {"label": f"Column {i}", "metric": "parameters"} for i in range(12)}
    bench = make(columns=columns, seeds=2, notes=["x" * 300, "https://example.org/" + "y" * 200])
    bench.measure("ppm", "score", 42.1, 42.9, **{"iou/sky": 90.5})
    bench.measure("ppm", "params", 23.073792)
    where = place(bench.table, "ppm", "score")
    folder = made(bench, Finding("fact", where, "z" * 200, ("pspnet_table5",)))
    script = folder / "assets" / "site.js"
    tells = (
        'addEventListener("load", () => parent.postMessage([document.documentElement.scrollWidth, innerWidth], "*"));'
    )
    script.write_text(script.read_text(encoding="utf-8") + tells, encoding="utf-8")
    cell_page = f"cells/{names.file_name('pspnet_table5', 'ppm', 'score')}"
    shown = [path.name for path in folder.glob("*.html")] + [
        "tables/pspnet_table5.html",
        "boards/camvid--val.html",
        cell_page,
    ]
    frames = "".join(f'<iframe src="{(folder / page).as_uri()}" width="390" height="800"></iframe>' for page in shown)
    listens = 'addEventListener("message", (e) => document.body.append(` width ${e.data[0]} of ${e.data[1]};`));'
    around = tmp_path / "around.html"
    around.write_text(f"<!doctype html><body><script>{listens}</script>{frames}</body>", encoding="utf-8")
    found = re.findall(r"width (\d+) of (\d+);", browse(around.as_uri(), tmp_path / "p", "--virtual-time-budget=2000"))
    assert len(found) == len(shown)
    assert all(int(wide) <= int(screen) == 390 for wide, screen in found), found
