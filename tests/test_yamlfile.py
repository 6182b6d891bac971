"""YAML as data that remembers lines and digits, and refuses everything that a plain value is not."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Problems
from harness.yamlfile import Number, dotted, merge, parse, read


def problems(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(Problems) as caught:
        parse(text)
    return [(p.line, p.key, p.message) for p in caught.value.problems]


def test_every_value_keeps_its_line():
    document = parse("a:\n  b: 1\n  c:\n    - x\n    - {d: 2,\n       e: 3}\n")
    lines = {("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1, "d"): 5, ("a", "c", 1, "e"): 6}
    assert {path: document.line(path) for path in lines} == lines


def test_a_path_that_is_not_there_has_its_parents_line():
    document = parse("a: 1\nb:\n  c: 2\n")
    assert document.line(("b", "missing", 3)) == 2
    assert document.line(("missing",)) == 1


@pytest.mark.parametrize("text", ["79.40", "43.6", "1e-3", ".5", "5.", "+2.50", "-0.10"])
def test_a_number_keeps_its_digits(text: str):
    value = parse(f"x: {text}").data["x"]
    assert isinstance(value, Number)
    assert (value.text, float(value)) == (text, float(text))


@given(st.integers(0, 999), st.integers(0, 99999), st.integers(1, 5))
def test_decimals_survive_whatever_they_are(whole: int, fraction: int, digits: int):
    text = f"{whole}.{fraction % 10**digits:0{digits}d}"
    assert parse(f"x: {text}").data["x"].text == text


def test_only_true_and_false_are_booleans():
    text = "a: true\nb: False\nc: on\nd: no\ne: yes\nf: 'true'\ng: ~\nh:\ni: null\n"
    data = parse(text).data
    assert data == {
        "a": True,
        "b": False,
        "c": "on",
        "d": "no",
        "e": "yes",
        "f": "true",
        "g": None,
        "h": None,
        "i": None,
    }


@pytest.mark.parametrize("text", ["٣", "1e999", "-1e999", ".nan", ".inf", "1_000", "0x10", "2020-01-01", "12:30:45"])
def test_what_is_no_plain_number_stays_text(text: str):
    assert parse(f"x: {text}").data["x"] == text


def test_a_long_integer_keeps_its_digits():
    assert parse("x: 123456789012345678901234").data["x"].text == "123456789012345678901234"


def test_keys_are_text():
    assert parse("1: a\ntrue: b\n2.50: c\n").data == {"1": "a", "true": "b", "2.50": "c"}


def test_a_duplicate_key_names_both_lines():
    assert problems("a: 1\nb: 2\na: 3\n") == [(3, "a", "'a' is written twice, first in line 1")]


def test_all_duplicates_are_reported_at_once():
    found = problems("r:\n  a: 1\n  a: 2\ns:\n  b: 1\n  b: 2\n")
    assert [(line, key) for line, key, _ in found] == [(3, "r.a"), (6, "s.b")]


@pytest.mark.parametrize(
    "tag", ["!x", "!!python/object:os.system", "!!set", "!!binary", "!!omap", "!<tag:example,1:y>"]
)
def test_tags_are_refused(tag: str):
    ((line, key, message),) = problems(f"a: 1\nb: {tag} {{x: y}}\n")
    assert (line, key) == (2, "b")
    assert "not allowed" in message


def test_an_alias_is_a_copy():
    assert parse("a: &x {b: 1}\nc: *x\n").data == {"a": {"b": 1}, "c": {"b": 1}}


def test_an_alias_of_itself_is_refused():
    assert "refers to itself" in problems("a: &x [1, *x]\n")[0][2]


def test_aliases_that_explode_are_refused_quickly():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    assert "without end" in problems("\n".join(lines))[0][2]


@pytest.mark.parametrize("depth", [60, 900, 20_000])
def test_deep_nesting_is_refused(depth: int):
    assert problems("a: " + "[" * depth + "]" * depth)


def test_a_key_that_is_no_scalar():
    assert problems("? [a, b]\n: 3\n") == [(1, "", "a key must be a single word or quoted text")]


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1, 2\nb: 3", 2), ("a: 1\n\tb: 2\n", 2), ("a: 'x\n", 2), ("--- 1\n--- 2\n", 2), ("a: *x", 1)],
)
def test_what_is_not_yaml_has_a_line(text: str, line: int):
    ((found, _, message),) = problems(text)
    assert found == line
    assert message.startswith("not YAML: ")


def test_what_is_not_utf8_is_said(tmp_path: Path):
    (tmp_path / "t.yaml").write_bytes(b"title: caf\xe9\n")
    with pytest.raises(Problems, match=r"t\.yaml: cannot be read as UTF-8 text"):
        read(tmp_path / "t.yaml")


def test_no_file_and_a_folder_are_said(tmp_path: Path):
    with pytest.raises(Problems, match="there is no such file"):
        read(tmp_path / "absent.yaml")
    with pytest.raises(Problems, match="is a folder; name the YAML file itself"):
        read(tmp_path)


def test_an_empty_file_is_nothing():
    assert parse("").data is None
    assert parse("# only a remark\n").data is None


@given(st.text(max_size=200))
def test_any_text_is_data_or_problems(text: str):
    with contextlib.suppress(Problems):
        assert parse(text).file == "<text>"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text("abcxyz", min_size=1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_dumped_is_read_back(value: object):
    import yaml

    assert parse(yaml.safe_dump(value)).data == value


@given(st.dictionaries(st.sampled_from("abc"), PLAIN), st.dictionaries(st.sampled_from("abc"), PLAIN))
def test_merge_lays_one_mapping_on_another(base: dict, over: dict):
    merged = merge(base, over)
    assert merged.keys() == base.keys() | over.keys()
    assert merge(merged, over) == merged
    for key, value in over.items():
        if not isinstance(value, dict):
            assert merged[key] == value


def test_dotted_paths_read_like_code():
    assert dotted(("rows", "fcn", "notes", 0)) == "rows.fcn.notes[0]"
    assert dotted(()) == ""


@pytest.mark.parametrize("text", ['a: "x\\0y"', '"x\\0y": 1', 'a: ["b", "\\0"]'])
def test_text_that_no_path_can_hold_is_refused(text: str):
    assert "contains a NUL character" in problems(text)[0][2]


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 20_000, "[" * 60 + "]" * 60])
def test_nesting_is_refused_before_it_overflows_the_stack(text: str):
    assert "nested more than 50 deep" in problems(text)[0][2]
