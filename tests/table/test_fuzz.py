"""Two thousand damaged table, recipe and profile files: each is planned or told what is wrong, never a traceback."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness import ROOT
from harness.cli.main import main
from harness.errors import Exit

TABLES = ROOT / "tables"
# (file to damage, table to plan, profile)
TARGETS = [
    ("idrnet_table2.yaml", "idrnet_table2.yaml", "paper"),
    ("idrnet_table5.yaml", "idrnet_table5.yaml", "smoke"),
    ("camvid.yaml", "camvid.yaml", "short"),
    ("recipes/idrnet.yaml", "idrnet_table2.yaml", "smoke"),
    ("recipes/camvid.yaml", "camvid.yaml", "paper"),
    ("profiles/smoke.yaml", "camvid.yaml", "smoke"),
]
VALUES = [
    *(
        "",
        "null",
        "~",
        "true",
        "no",
        "0",
        "-1",
        "1",
        "3.70",
        "1e999",
        ".nan",
        "999999999999999999999999",
        "text",
        "é ü 漢",
    ),
    *("[]", "{}", "[[]]", "[1, 2]", "[[1, 3]]", "[[1, 3, 64, 64]]", "[[1, 8, 4, 4], [1, 8, 2, 2]]", "{name: fcn}"),
    *(
        "{name: [fcn]}",
        "{a: {b: {c: 1}}}",
        "'quoted'",
        '"\\ud800"',
        "*anchor",
        "&anchor x",
        "!!set {x}",
        "!!python/none x",
    ),
    *("fcn", "idrnet", "pspnet", "ppm", "miou", "flops", "latency", "train_throughput", "mmcv-hooks", "idrnet/ade20k"),
    *(
        "camvid/scratch",
        "idrnet/resnet50",
        "~nobody/x.py:y",
        "no/such.py:x",
        ".py:",
        "|",
        ">",
        "#",
        "- x",
        "{",
        "]",
        '"',
    ),
]
MUTATION = st.tuples(
    st.sampled_from(["delete", "double", "swap", "value", "key", "character", "indent", "join", "cut"]),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.sampled_from(VALUES),
    st.characters(exclude_categories=["Cs"]),
)


def mutate(text: str, mutations: list[tuple[str, int, int, str, str]]) -> str:
    """`text` with each mutation applied in turn."""
    for what, a, b, value, character in mutations:
        lines = text.split("\n")
        i, j = a % len(lines), b % len(lines)
        if what == "delete":
            del lines[i]
        elif what == "double":
            lines.insert(j, lines[i])
        elif what == "swap":
            lines[i], lines[j] = lines[j], lines[i]
        elif what == "indent":
            lines[i] = " " * (b % 9) + lines[i].lstrip()
        elif what == "join" and i + 1 < len(lines):
            lines[i : i + 2] = [lines[i] + lines[i + 1].strip()]
        elif what in ("value", "key"):
            places = list(
                re.finditer(r"(?<=: )[^,{}\[\]]+|(?<=: )[{\[].*[}\]]" if what == "value" else r"[\w.]+(?=:)", lines[i])
            )
            if places:
                place = places[b % len(places)]
                lines[i] = lines[i][: place.start()] + value + lines[i][place.end() :]
        elif what == "cut":
            lines = lines[: max(1, i)]
        elif what == "character" and lines[i]:
            k = b % len(lines[i])
            lines[i] = lines[i][:k] + character + lines[i][k + 1 :]
        text = "\n".join(lines)
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.slow
@settings(max_examples=2000, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(TARGETS), st.lists(MUTATION, min_size=1, max_size=4))
@example(TARGETS[0], [])
@example(TARGETS[1], [])
@example(TARGETS[4], [])
def test_no_damaged_file_ends_in_a_traceback(folder: Path, target: tuple[str, str, str], mutations: list):
    damaged, table, profile = target
    for name in {damaged, table}:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        text = (TABLES / name).read_text(encoding="utf-8")
        path.write_text(mutate(text, mutations) if name == damaged else text, encoding="utf-8")
    for shelf in ("recipes", "profiles"):  # damage of an earlier example must not be seen by this one
        for path in (folder / shelf).glob("*.yaml"):
            if f"{shelf}/{path.name}" != damaged:
                path.unlink()
    out, err = io.StringIO(), io.StringIO()
    arguments = [
        "plan",
        str(folder / table),
        "--profile",
        profile,
        "--results",
        str(folder / "results"),
        "--device",
        "cpu",
    ]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    assert code in (Exit.OK, Exit.INPUT, Exit.MISSING, Exit.NOTHING)
    assert (code == Exit.OK) == (not err.getvalue()) or code == Exit.NOTHING
    if code == Exit.INPUT:
        assert str(folder) in err.getvalue() or "unknown" in err.getvalue() or "profile" in err.getvalue()
    if not mutations:
        assert code == Exit.OK
