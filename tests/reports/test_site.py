"""The site: every cell has its page, nothing is dropped, nothing is asked of a network, and it works in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest

from harness.errors import OutputError
from harness.jobs.job import Measurement
from harness.recipes.profile import Profile, Synthetic
from harness.store.store import Failure
from reports.audit.corpus import Finding
from reports.site import confusion, names
from reports.site.build import build
from tests.support.report_bench import ENVIRONMENT, TABLE, Make, ReportBench
from tests.support.waiting import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "link", "input", "img", "br"}
NASTY = [
    "<script>alert(1)</script>",
    "a|b & \"c\" 'd'",
    "x" * 10_000,
    "שלום",
    "a\u202eb\x01\x1b",
    "{{ 7 * 7 }}",
    "../../etc",
]


class Page(HTMLParser):
    """A parsed page: its links and text. Fails on tags that do not close, as a browser would silently mend them."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == [], (path, self._open)
        assert len(set(self.ids)) == len(self.ids), (path, self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if tag == "a" and "href" in given else []
        self.loads += [given[k] or "" for k in ("src", "href") if k in given and tag in ("script", "link", "img")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, tag
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def made(bench: ReportBench, *findings: Finding, figures: bool = False, name: str = "site") -> Path:
    return build(bench.plan, bench.store, bench.store.reports / name, findings, figures=figures).parent


def pages(folder: Path) -> Iterator[tuple[Path, Page]]:
    for path in sorted(folder.rglob("*.html")):
        yield path, Page(path)


def cell(folder: Path, row: str, column: str) -> Page:
    return Page(folder / "cells" / names.file_name("pspnet_table5", row, column))


def test_every_cell_has_a_page_and_every_link_leads_somewhere(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "params", 23.073792)
    folder = made(bench, figures=True)
    assert len(list((folder / "cells").iterdir())) == len(bench.plan.cells) == 24
    for path, page in pages(folder):
        for link in [*page.links, *page.loads]:
            if link.startswith("data:"):
                continue
            parts = urlparse(link)
            if parts.netloc in ("arxiv.org", "doi.org"):  # where a paper can be read; nothing is loaded from there
                assert link in page.links, (path, link)
                continue
            assert not parts.scheme, (path, link)
            assert not parts.netloc, (path, link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), (path, link)
            if parts.fragment and "=" not in parts.fragment:
                assert parts.fragment in Page(target).ids, (path, link)


def test_nothing_is_loaded_from_a_network(make: Make) -> None:
    folder = made(make())
    for path in folder.rglob("*"):
        if path.suffix in (".html", ".css", ".js"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"""(src|<link[^>]*href)=["']?(https?:)?//|url\(|@import|fetch\(|XMLHttp""", text), (
                path
            )


def test_the_matrix_counts_every_cell_once(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "params", 23.073792)
    bench.measure("aspp", "params", 42.211328)
    bench.measure("ppm", "flops", 310.0)
    bench.fail("ocr", "params", Failure("killed", "signal 9"))
    index = Page(made(bench) / "index.html")
    assert "3 of 20 cells measured" in index.text
    links = [unquote(link) for link in index.links if link.startswith("cells.html#")]
    outcomes = {link.rpartition("outcome=")[2].replace("+", " ") for link in links if "outcome=" in link}
    assert {"reproduced", "fitted", "not reproduced", "failed", "cited", "awaits", "not run"} <= outcomes


def test_a_cell_page_tells_values_seeds_keys_runs_and_how_to_repeat(make: Make) -> None:
    bench = make(seeds=2)
    bench.measure("ppm", "score", 42.1, 42.9, **{"iou/sky": 90.5, "iou/car": 51.0})
    for job in bench.jobs("ppm", "score"):
        np.save(bench.store.folder(job) / "confusion.npy", np.arange(12, dtype=np.int64).reshape(4, 3))
    page = cell(made(bench), "ppm", "score")
    for job in bench.jobs("ppm", "score"):
        assert job.key[:16] in page.text
        assert str(job.config["seed"]) in page.text
    for text in (
        "42.64",
        "sky",
        "90.50",
        "Training curves",
        "2 seeds",
        "commit 4e1c2aa0",
        "torch 2.15.0",
        "3 × 3 classes",
    ):
        assert text in page.text, text
    assert "--seeds 2 --rows ppm --columns score" in page.text
    assert "git checkout 4e1c2aa0" in page.text
    assert {"svg", "polyline", "circle", "img"} <= set(page.tags)
    assert "somewhere-private" not in page.text  # the host's name is nobody's business


def test_history_shows_what_changed_and_marks_moves(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "score", 42.6)
    bench.outdate("ppm", "score")
    bench.measure("ppm", "score", 40.0)
    page = cell(made(bench), "ppm", "score")
    assert "History" in page.text
    assert "−2.6" in page.text
    assert "methods/layers.py" in page.text
    text = (bench.store.reports / "site" / "cells" / names.file_name("pspnet_table5", "ppm", "score")).read_text()
    assert text.count('class="alarm"') == 1


def test_hostile_text_is_shown_as_text(make: Make) -> None:
    rows = {f"r{i}": {"label": label, "group": label, "awaits": label, "notes": label} for i, label in enumerate(NASTY)}
    claims = [{"better": "r0", "than": "r1", "on": "all"}]
    bench = make(rows={**TABLE["rows"], **rows}, title=NASTY[0], about=NASTY[5], notes=NASTY, claims=claims)
    bench.measure("ppm", "flops", float("nan"))
    bench.measure("ocr", "flops", float("inf"))
    bench.fail("aspp", "params", Failure("error", NASTY[0]))
    folder = made(bench, Finding("fact", NASTY[0], NASTY[1], ("pspnet_table5",)))
    for path, page in pages(folder):
        assert page.tags.count("script") == 1, path  # ours: no cell here has a training
        raw = path.read_text(encoding="utf-8")
        assert not re.search("[\u202a-\u202e\x00\x01\x1b]", raw), path
    table = Page(folder / "tables" / "pspnet_table5.html")
    assert "<script>alert(1)</script>" in table.text
    assert "{{ 7 * 7 }}" in table.text
    assert "NaN" in cell(folder, "ppm", "flops").text
    assert "∞" in cell(folder, "ocr", "flops").text
    assert max(len(word) for word in table.text.split()) < 400 or "x" * 10_000 in " ".join(table.words)


def test_file_names_are_plain_and_never_the_same() -> None:
    keys = [
        ("a", "b"),
        ("a--b",),
        ("a/b", ""),
        ("a", "b."),
        ("..", "b"),
        ("é", "b"),
        ("è", "b"),
        ("x" * 300, "b"),
        ("x" * 301, "b"),
    ]
    found = [names.file_name(*key) for key in keys]
    assert len({name.lower() for name in found}) == len(keys)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,200}\.html", name) and not name.startswith(".") for name in found)


def test_an_empty_store_makes_a_whole_site(make: Make) -> None:
    folder = made(make())
    assert "0 of 20 cells measured" in Page(folder / "index.html").text
    assert not (folder / "other.html").exists()


def test_jobs_that_no_table_names_are_counted_and_old_results_named(make: Make) -> None:
    bench = make()
    job = bench.jobs("ppm", "params")[0]
    stranger = replace(job, identity="f" * 64, key="e" * 64)
    bench.store.finish(
        stranger, [Measurement("parameters", 1.0), Measurement("flops", 2.0)], ENVIRONMENT, started=1.7e9
    )
    old = bench.store.root / "jobs" / "train" / ("a" * 20) / ("b" * 20)
    old.mkdir(parents=True)
    (old / "result.json").write_text(json.dumps({"schema": 0}), encoding="utf-8")
    torn = bench.store.root / "jobs" / "train" / ("c" * 20) / ("d" * 20)
    torn.mkdir(parents=True)
    (torn / "result.json").write_text('{"sche', encoding="utf-8")
    page = Page(made(bench) / "other.html")
    assert "3 jobs with 2 measurements" in page.text
    assert "2 results cannot be read" in page.text
    assert "Other jobs (3)" in Page(bench.store.reports / "site" / "index.html").text


def test_under_smoke_no_number_stands_as_a_difference(make: Make) -> None:
    bench = make(profile=Profile(name="smoke", about="a check", comparable=False, synthetic=Synthetic()))
    bench.measure("ppm", "score", 3.0)
    folder = made(bench)
    assert "not comparable" in Page(folder / "tables" / "pspnet_table5.html").text
    assert "−39.6" not in cell(folder, "ppm", "score").text
    assert "−39.6" not in Page(folder / "cells.html").text


def test_a_site_is_replaced_whole_or_not_at_all(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make()
    folder = made(bench)
    before = (folder / "index.html").read_text(encoding="utf-8")
    (folder / "leftover.html").write_text("", encoding="utf-8")

    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(OutputError, match="the disk is full"):
            made(bench)
    assert (folder / "index.html").read_text(encoding="utf-8") == before
    assert [p.name for p in folder.parent.iterdir()] == ["site"]
    made(bench)
    assert not (folder / "leftover.html").exists()


def test_confusion_matrices_that_are_none_are_left_out(tmp_path: Path) -> None:
    for array in (np.zeros((2, 5)), np.zeros(3), np.zeros((0, 0)), np.array([["a"]])):
        np.save(tmp_path / "c.npy", array)
        assert confusion.picture(tmp_path / "c.npy") is None
    (tmp_path / "c.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1, 1)}")
    assert confusion.picture(tmp_path / "c.npy") is None
    assert confusion.picture(tmp_path / "absent.npy") is None
    np.save(tmp_path / "c.npy", np.full((3, 3), np.nan))
    found = confusion.picture(tmp_path / "c.npy")
    assert found is not None
    assert found[0].startswith("data:image/png;base64,")


# -------------------------------------------------------------------------------------------------------- a browser


def browse(address: str, profile: Path, *options: str) -> str:
    """The page as it stands once its script has run; with --screenshot among the options, '' and a picture."""
    quiet = [
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", *quiet, f"--user-data-dir={profile}"]
    what = [] if any(option.startswith("--screenshot") for option in options) else ["--dump-dom"]
    done = subprocess.run([*command, *options, *what, address], capture_output=True, timeout=PATIENCE, check=True)
    return done.stdout.decode("utf-8")


def shown(dom: str) -> list[str]:
    """First link text of every row of the list that is not hidden."""
    body = dom.partition('<table id="cells"')[2].partition("</tbody>")[0]
    rows = re.findall(r"<tr([^>]*)>(.*?)</tr>", body.partition("<tbody>")[2], re.DOTALL)
    return [re.findall(r"<a [^>]*>(.*?)</a>", inner)[0] for attributes, inner in rows if "hidden" not in attributes]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_in_a_browser_cells_filter_and_sort_from_a_file(make: Make, tmp_path: Path) -> None:
    bench = make()
    bench.measure("ppm", "params", 23.073792)
    bench.measure("ocr", "params", 9.5)
    address = (made(bench) / "cells.html").as_uri()
    everything = browse(address, tmp_path / "a")
    assert len(shown(everything)) == 24
    assert "24 shown" in everything
    assert shown(browse(f"{address}#outcome=reproduced", tmp_path / "b")) == ["PPM"]
    assert shown(browse(f"{address}#q=params+ocr", tmp_path / "c")) == ["OCR"]
    assert shown(browse(f"{address}#sort=3", tmp_path / "d"))[:2] == ["OCR", "PPM"]
    assert shown(browse(f"{address}#sort=-3", tmp_path / "e"))[:2] == ["PPM", "OCR"]
    assert set(shown(browse(f"{address}#paper=ours", tmp_path / "f"))) == {"ASPP, wider"}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_in_a_browser_light_and_dark_differ(make: Make, tmp_path: Path) -> None:
    from PIL import Image

    address = (made(make()) / "index.html").as_uri()
    shades = []
    for i, options in enumerate(((), ("--blink-settings=preferredColorScheme=0",))):
        picture = tmp_path / f"{i}.png"
        browse(address, tmp_path / f"p{i}", f"--screenshot={picture}", "--window-size=800,600", *options)
        shades.append(np.asarray(Image.open(picture).convert("L")).mean())
    assert shades[0] > 200
    assert shades[1] < 90
