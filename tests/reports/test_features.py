"""Figures from the inside of models: what is computed of tokens and features, the file they lie in, what is drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import MissingError
from harness.store import features as arrays
from harness.store.features import Features
from reports.figures import class_tokens, features, style, umap
from reports.figures.separability import separability
from reports.figures.table import draw
from reports.site.build import build as build_site
from reports.write import write
from tests.reports.test_write import words
from tests.support.report_bench import Make


def made(
    classes: int = 4, per_class: int = 6, seed: int = 0, *, names: str = "class {}", embedded: bool = True
) -> Features:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes, dtype=np.uint8), per_class)
    count = len(labels)
    return Features(
        classes=np.array([names.format(k) for k in range(classes)]),
        images=np.array(["a", "b"]),
        tokens=rng.normal(size=(classes, 8)).astype(np.float32),
        features=rng.normal(size=(count, 8)).astype(np.float32) + labels[:, None],
        labels=labels,
        places=np.stack([np.arange(count) % 2, np.arange(count), np.arange(count)], axis=1).astype(np.int32),
        counts=rng.integers(1, 1000, classes),
        embedding=rng.normal(size=(count, 2)).astype(np.float32) if embedded else np.empty((0, 2), np.float32),
        settings={"split": "val", "per_class": per_class, "asked": list(range(classes))},
        numbers={"ratio": 0.625, "silhouette": -0.25},
    )


# ----------------------------------------------------------------------------------------------------------- numbers


def test_dependencies_are_the_attention_of_tokens_to_each_other():
    torch = pytest.importorskip("torch")
    matrix = np.random.default_rng(0).normal(size=(5, 16))
    t = torch.from_numpy(matrix)[None]
    expected = torch.nn.functional.scaled_dot_product_attention(t, t, torch.eye(5, dtype=t.dtype)[None])[0]
    np.testing.assert_allclose(class_tokens.dependencies(matrix), expected.numpy(), rtol=1e-10)


def test_the_diagonal_of_orthogonal_and_of_equal_tokens():
    assert class_tokens.diagonal(class_tokens.dependencies(1000 * np.eye(4))) == (pytest.approx(1), 4)
    assert class_tokens.diagonal(class_tokens.dependencies(np.zeros((4, 8)))) == (pytest.approx(0.25), 4)
    long = np.array([[1.0, 0], [10, 0]])  # the longer of two parallel tokens is what both depend on
    assert class_tokens.diagonal(class_tokens.dependencies(long))[1] == 1


def brute(features: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Ratio and silhouette by their definitions, pixel by pixel."""
    n = range(len(labels))
    distance = [[float(np.linalg.norm(features[i] - features[j])) for j in n] for i in n]
    classes = sorted({k for k in labels.tolist() if (labels == k).sum() > 1})
    inside_, across, silhouettes = [], [], []
    for a in classes:
        own = [i for i in n if labels[i] == a]
        inside_.append(np.mean([distance[i][j] for i in own for j in own if i != j]))
        others = {b: [i for i in n if labels[i] == b] for b in classes if b != a}
        across += [np.mean([distance[i][j] for i in own for j in other]) for other in others.values()]
        for i in own:
            within = np.mean([distance[i][j] for j in own if j != i])
            nearest = min(np.mean([distance[i][j] for j in other]) for other in others.values())
            silhouettes.append((nearest - within) / max(within, nearest))
    return float(np.mean(inside_) / np.mean(across)), float(np.mean(silhouettes))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=8, max_size=24), st.integers(0, 2**16))
def test_separability_by_its_definition(labels: list[int], seed: int):
    pytest.importorskip("sklearn")
    features = np.random.default_rng(seed).normal(size=(len(labels), 5)) + 3
    found = separability(features, np.array(labels))
    if sum(labels.count(k) > 1 for k in set(labels)) < 2:
        assert np.isnan(found).all()
    else:
        assert found == pytest.approx(brute(features, np.array(labels)), rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_separability_of_more_pixels_than_a_block():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 6, 530)
    features = rng.normal(size=(530, 12)) + 0.7 * labels[:, None] + 50
    assert separability(features, labels) == pytest.approx(brute(features, labels), rel=1e-3, abs=1e-4)


def test_without_scikit_learn_the_ratio_is_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    found = separability(np.array([[0.0], [1], [9], [10]]), np.array([0, 0, 1, 1]))
    assert found.ratio == pytest.approx(1 / 9)
    assert np.isnan(found.silhouette)


def test_separability_knows_compact_classes_from_mixed_ones():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 30)
    points = rng.normal(size=(90, 4))
    apart = separability(points + 100 * labels[:, None], labels)
    assert apart.ratio < 0.05
    assert apart.silhouette > 0.9
    assert separability(points, labels).ratio == pytest.approx(1, abs=0.1)
    assert separability(np.zeros((6, 2)), np.array([0, 0, 1, 1, 2, 2])).silhouette == 0


# -------------------------------------------------------------------------------------------------------------- file


def test_what_is_written_is_read_again(tmp_path: Path):
    one = made()
    path = arrays.write(one, tmp_path / "new")
    assert [p.name for p in path.parent.iterdir()] == [arrays.FILE]
    again = arrays.read(path.parent)
    assert again is not None
    for name in ("classes", "images", "tokens", "features", "labels", "places", "counts", "embedding"):
        assert np.array_equal(getattr(again, name), getattr(one, name)), name
    assert (again.settings, again.numbers) == (one.settings, one.numbers)
    assert again.same_pixels(one)
    assert not again.same_pixels(made(per_class=5))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", b"\x80\x04]\x94."])
def test_a_file_that_is_not_whole_is_none(tmp_path: Path, content: bytes):
    assert arrays.read(tmp_path) is None
    (tmp_path / arrays.FILE).write_bytes(content)
    assert arrays.read(tmp_path) is None


def test_arrays_that_do_not_fit_each_other_are_none(tmp_path: Path):
    from dataclasses import replace

    for wrong in (
        {"tokens": np.zeros((4, 3), np.float32)},
        {"labels": np.full(24, 9, np.uint8)},
        {"counts": np.zeros(2)},
    ):
        arrays.write(replace(made(), **wrong), tmp_path)
        assert arrays.read(tmp_path) is None


# ----------------------------------------------------------------------------------------------------------- figures


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 2, 19, 60, 150])
@pytest.mark.parametrize("rows", [1, 5])
def test_tokens_of_any_number_of_classes(classes: int, rows: int):
    names = [f"class {k}" for k in range(classes)]
    given_ = {f"Row {i} ${i}": [made(classes, 1, seed).tokens for seed in range(2)] for i in range(rows)}
    with style.styled():
        figure, alternative = class_tokens.figure(given_, names, "mIoU")
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == rows
    assert len({ax.images[0].get_clim() for ax in panels}) == 1  # one scale
    labels = [text.get_text() for text in panels[0].get_yticklabels()]
    assert labels[0] == "class 0"
    assert len(labels) == (classes if classes <= 60 else 50)
    assert f"equal shares would be {1 / classes:.3f}" in alternative
    assert "means over 2 seeds" in alternative


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 11, 59, 150])
def test_every_class_has_a_look_and_frequent_ones_are_named(classes: int):
    features = made(classes, 3)
    with style.styled():
        figure, alternative = umap.figure({"FCN": [features], "Other": [features]}, "mIoU")
    (ax, _) = figure.axes
    looks = [(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in ax.collections]
    assert len(looks) == classes
    assert len(set(looks)) == min(classes, 65)  # 64 of their own, and the grey dots of all others
    frequent = [str(features.classes[k]) for k in np.argsort(-features.counts, kind="stable")[:16]]
    assert [t.get_text() for t in ax.texts] == frequent
    assert "Other: within / between 0.62, silhouette −0.25" in alternative
    assert "15 neighbours" in alternative


def test_names_in_a_map_do_not_cover_each_other():
    taken: list[tuple[float, float, float, float]] = []
    places = [umap._free((0.5, 0.5), 0.1, 0.05, taken) for _ in range(16)]
    assert len(set(places)) == 16
    for i, a in enumerate(taken):
        for b in taken[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_only_rows_that_look_at_the_same_pixels_stand_side_by_side():
    rows = {"A": [made(seed=1)], "B": [made(seed=2)], "C": [made(per_class=5)], "D": [made(embedded=False)]}
    with style.styled():
        figure, alternative = umap.figure(rows, "mIoU")
    assert len(figure.axes) == 2
    assert "not drawn, as they look at other pixels: C" in alternative
    with style.styled():
        assert umap.figure({"D": rows["D"]}, "mIoU") is None


def test_a_class_without_a_pixel_is_said():
    one = made()
    rest = one.labels != 2
    part = {name: getattr(one, name)[rest] for name in ("features", "labels", "places", "embedding")}
    from dataclasses import replace

    with style.styled():
        _, alternative = umap.figure({"A": [replace(one, **part)]}, "mIoU")
    assert "no pixel of: class 2" in alternative


def test_umap_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingError, match=r"pip install -e '\.\[umap\]'"):
        umap.embed(made().features)
    with pytest.raises(ValueError, match="too few"):
        umap.embed(np.zeros((3, 2)))


@pytest.mark.slow
def test_umap_repeats_itself_and_keeps_what_is_apart_apart():
    pytest.importorskip("umap")
    labels = np.repeat([0, 1], 15)
    features = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32) + 30 * labels[:, None]
    first = umap.embed(features)
    assert first.shape == (30, 2)
    assert np.array_equal(first, umap.embed(features))
    assert separability(first, labels).silhouette > 0.5
    assert umap.embed(features[:5]).shape == (5, 2)


# ------------------------------------------------------------------------------------------------------ in the reports


@pytest.mark.slow
def test_a_report_and_the_site_show_what_lies_beside_the_evaluations(make: Make):
    bench = make()
    for i, row in enumerate(("ppm", "aspp")):
        bench.measure(row, "score", 42.0)
        arrays.write(made(seed=i, names="<b>${}$"), bench.store.folder(bench.jobs(row, "score")[0]))
    report = bench.report()
    figures = {figure.name: figure for figure in draw(report)}
    for name in ("tokens.score.svg", "umap.score.svg"):
        told = words(figures[name].svg)
        assert "PPM" in told
        assert "ASPP" in told
        assert "<b>$0$" in told
    assert [f.svg for f in draw(report)] == [f.svg for f in draw(report)]
    text = write(report, bench.store.reports).read_text(encoding="utf-8")
    assert "](pspnet_table5/umap.score.svg)" in text
    page = build_site(bench.plan, bench.store, bench.folder / "site").parent / "tables" / "pspnet_table5.html"
    assert "umap.score.svg" in page.read_text(encoding="utf-8")


def test_nothing_is_drawn_where_no_arrays_are(make: Make):
    bench = make()
    bench.measure("ppm", "score", 42.0)
    assert list(features.figures(bench.report())) == []
    (bench.store.folder(bench.jobs("ppm", "score")[0]) / arrays.FILE).write_bytes(b"half")
    assert list(features.figures(bench.report())) == []


def test_seeds_that_were_asked_about_other_pixels_are_left_out(make: Make):
    bench = make(seeds=2)
    bench.measure("ppm", "score", 42.0, 43.0)
    for job, per_class in zip(bench.jobs("ppm", "score"), (6, 5)):
        arrays.write(made(per_class=per_class), bench.store.folder(job))
    alternatives = [alternative for _, _, alternative in features.figures(bench.report())]
    assert len(alternatives) == 2
    assert not any("seeds" in alternative for alternative in alternatives)
