"""What a file puts between quotation marks stands in the paper, word for word, where the papers' texts are at hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import ROOT
from harness.table.load import load
from harness.table.paths import table_files
from reports.audit import paper

NAMES = ("ecenet", "hfgd", "idrnet")
BETWEEN = 400  # characters that an ellipsis may stand for


def folder() -> Path | None:
    """The texts lie beside the checkout that is at work, or beside that of which it is a copy."""
    link = ROOT / ".git"
    common = Path(link.read_text(encoding="utf-8").partition(": ")[2].strip()) if link.is_file() else link
    places = [ROOT.parent / "shared" / "papers", *(p / "shared" / "papers" for p in common.parents)]
    return next((place for place in places if place.is_dir()), None)


PAPERS = folder()
needs_texts = pytest.mark.skipif(PAPERS is None, reason="the papers' texts are not beside the checkout")


def plain(text: str) -> str:
    """Without what a conversion from PDF adds: doubled formulas, emphasis, backslashes, kinds of quotation marks."""
    text = re.sub(r"(OS=\w)𝑂𝑆\w?OS=\w", r"\1", text)
    text = text.replace("*", "").replace("\\%", "%").replace("“", '"').replace("”", '"').replace("’", "'")
    return " ".join(text.split())


def stands_in(quote: str, text: str) -> bool:
    """All parts of a quote, in order and not far apart."""
    parts = [re.escape(part.strip()) for part in plain(quote).split("…")]
    return re.search(rf".{{0,{BETWEEN}}}?".join(parts), text) is not None


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {name: plain((PAPERS / f"{name}.txt").read_text(encoding="utf-8")) for name in NAMES}


@needs_texts
@pytest.mark.parametrize("name", NAMES)
def test_every_quoted_statement_stands_in_the_paper(name: str, texts: dict[str, str]) -> None:
    quotes = [s.quote for s in paper.papers({name})[name].statements if s.quote is not None]
    assert len(quotes) >= 20
    assert [quote for quote in quotes if not stands_in(quote, texts[name])] == []


@needs_texts
def test_a_changed_word_is_noticed(texts: dict[str, str]) -> None:
    assert stands_in("outperforming previous state-of-the-art by 1% mIOU … in ECCV-2022", texts["hfgd"])
    assert not stands_in("outperforming the previous state-of-the-art by 1% mIOU", texts["hfgd"])
    assert not stands_in("in ECCV-2022 … outperforming previous state-of-the-art", texts["hfgd"])


@needs_texts
@pytest.mark.parametrize("name", NAMES)
def test_what_notes_and_facts_quote_stands_in_the_paper(name: str, texts: dict[str, str]) -> None:
    """Words between “ ” in table files and in the paper's file."""
    said = [f"{fact.value} {fact.where}" for fact in paper.papers({name})[name].facts]
    for table in (table for table in map(load, table_files()) if table.paper == name):
        said += [table.about or "", *table.notes, *(note for row in table.rows.values() for note in row.notes)]
    quotes = [quote for text in said for quote in re.findall(r"“([^”]+)”", " ".join(text.split()))]
    assert [quote for quote in quotes if not stands_in(quote, texts[name])] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_is_a_quote_or_marked_as_none(name: str) -> None:
    for statement in paper.papers({name})[name].statements:
        assert (statement.quote is None) != (statement.paraphrase is None)
        assert statement.says.startswith("“" if statement.quote else "in other words: ")


@pytest.mark.parametrize(
    ("name", "words", "reading"),
    [
        ("hfgd", "its effect is limited", "that attention alone gives less than guidance alone"),
        ("hfgd", "consistently outperforms", "with and without HFGM, which every row of Table 6 has"),
        ("idrnet", "surpasses all the competitors", "also those that Table 7 does not list"),
        ("ecenet", "much less than others", "on every backbone of Table 1"),
    ],
)
def test_words_that_can_be_taken_otherwise_stand_with_what_they_are_taken_to_say(name: str, words: str, reading: str):
    statements = [s for s in paper.papers({name})[name].statements if words in s.says]
    assert f"”, taken to say {reading}" in statements[-1].says
