"""JSON Schemas and the key reference: current, true of every shipped file, and as strict about form as the harness."""

from __future__ import annotations

import copy
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness import ROOT
from harness.cli.main import main
from harness.cli.schema import KINDS, documents, schema, schema_of
from harness.data.declaration import Declaration
from harness.errors import Exit, Problems, UserError
from harness.json_schema import field_comments
from harness.nightly.config import Nightly
from harness.recipes.profile import Profile
from harness.recipes.segmentation import Recipe
from harness.scheduler.slurm.cluster_file import Cluster
from harness.spec import Spec
from harness.table.schema import Table
from harness.yamlfile import Document, read, validate
from reports.audit.paper import Names, Paper

FOLDERS = {  # where files of each kind lie
    "tables": "table",
    "tables/recipes": "recipe",
    "tables/profiles": "profile",
    "tables/papers": "paper",
    "slurm/clusters": "cluster",
    "slurm": "nightly",
    "examples": "table",
    "examples/recipes": "recipe",
}
MODELS = {
    "table": Table,
    "recipe": Recipe,
    "dataset": Declaration,
    "profile": Profile,
    "paper": Paper,
    "names": Names,
    "cluster": Cluster,
    "nightly": Nightly,
}
FILES = {
    path: "names" if path.name == "names.yaml" else kind
    for folder, kind in FOLDERS.items()
    for path in sorted((ROOT / folder).glob("*.yaml"))
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(schema_of(kind))


def errors(kind: str, data: Any) -> list[str]:
    return [f"{'.'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in validator(kind).iter_errors(data)]


# ----------------------------------------------------------------------------------------------- current, and complete


@pytest.mark.parametrize("kind", KINDS)
def test_checked_in_schemas_and_references_are_current(kind: str):
    """If this fails: python -m harness schema --out docs"""
    for path, text in documents([kind]).items():
        assert (ROOT / "docs" / path).read_text(encoding="utf-8") == text, f"docs/{path} is out of date"


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_schemas(kind: str):
    Draft202012Validator.check_schema(schema_of(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_has_a_meaning(kind: str):
    """Said beside the field or above it, in the text of its section, or by the section of its type."""
    (page,) = (text for path, text in documents([kind]).items() if path.endswith(".md"))
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    assert sections
    for section in sections:
        text, _, rows = section.partition("| key |")
        for row in filter(None, rows.splitlines()[2:]):
            key, meaning = row.split("|")[1].strip(), re.split(r"(?<!\\)\|", row)[4].strip()
            assert meaning or key in text, f"{kind} {key} in {text.splitlines()[0]}"


def test_a_comment_beside_or_above_a_field_is_its_description():
    found = field_comments(Recipe)
    assert found["deterministic"].startswith("only algorithms that repeat")  # beside
    assert found["evaluate_every"].startswith("iterations between two tests")  # above, two lines
    assert found["evaluate_every"].endswith("peak memory are not")


# ------------------------------------------------------------------------------------------------------ shipped files


def test_every_shipped_yaml_file_has_a_kind():
    found = {p for folder in ("tables", "slurm", "examples") for p in (ROOT / folder).rglob("*.yaml")}
    assert found == set(FILES)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_shipped_files_fit_their_schema(path: Path):
    assert errors(FILES[path], read(path).data) == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_shipped_files_name_their_schema(path: Path):
    """The first line tells an editor which schema to use, by a path relative to the file."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    target = os.path.relpath(ROOT / f"docs/schema/{FILES[path]}.json", path.parent)
    assert first == f"# yaml-language-server: $schema={target}"


# -------------------------------------------------------------------------------------- as strict as the harness is


def harness_refuses(kind: str, data: Any) -> bool:
    """Whether the model that reads such files refuses `data`."""
    model: type[Spec] = MODELS[kind]
    parts = [data]
    if kind == "table":
        parts = [{**data, "id": "t", "path": "t.yaml"}]
    if kind == "recipe":
        parts = list(data.values())
        if not all(isinstance(entry, dict) for entry in parts):
            return True
        parts = [{k: v for k, v in entry.items() if k != "extends"} for entry in parts]
    try:
        for part in parts:
            validate(Document("t.yaml", part), part, model)
    except Problems:
        return True
    return False


def mappings(data: Any, path: tuple = ()) -> Iterator[tuple[tuple, dict]]:
    if isinstance(data, dict):
        yield path, data
    for key, child in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from mappings(child, (*path, key))


def _unknown_key(node: dict, random: random.Random) -> None:
    node["no_such_key"] = 1


def _list_for_value(node: dict, random: random.Random) -> None:
    node[random.choice(list(node))] = [[[]]]


def _mapping_for_value(node: dict, random: random.Random) -> None:
    node[random.choice(list(node))] = {"no": {"such": "value"}}


def _text_for_value(node: dict, random: random.Random) -> None:
    node[random.choice(list(node))] = "some text"


def _truth_for_value(node: dict, random: random.Random) -> None:
    node[random.choice(list(node))] = True


def _negative_number(node: dict, random: random.Random) -> None:
    node[random.choice(list(node))] = -1


def _missing_key(node: dict, random: random.Random) -> None:
    del node[random.choice(list(node))]


MUTATIONS = (
    _unknown_key,
    _list_for_value,
    _mapping_for_value,
    _text_for_value,
    _truth_for_value,
    _negative_number,
    _missing_key,
)
BASES = {
    "table": ("tables/idrnet_table2.yaml", "tables/idrnet_table5.yaml"),
    "recipe": ("tables/recipes/camvid.yaml",),
    "profile": ("tables/profiles/smoke.yaml",),
    "cluster": ("slurm/clusters/distributed.yaml",),
    "nightly": ("slurm/nightly.yaml",),
    "paper": ("tables/papers/idrnet.yaml",),
}


def mutants(kind: str, mutation: Callable, count: int) -> Iterator[Any]:
    """Damaged files that the harness refuses. Two kinds of rule are no matter of form, and left out: the consistency of a
    claim or a statement between its keys, and, of a recipe, that it is complete (a base that others extend need not be)."""
    draw = random.Random(f"{kind} {mutation.__name__}")
    for base in BASES[kind]:
        original = read(ROOT / base).data
        for _ in range(count):
            data = copy.deepcopy(original)
            places = [(path, node) for path, node in mappings(data) if node]
            path, node = draw.choice(places)
            if mutation is _missing_key and (kind == "recipe" or path[:1] in (("claims",), ("statements",))):
                continue
            mutation(node, draw)
            if data and harness_refuses(kind, data):
                yield data


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__.strip("_"))
@pytest.mark.parametrize("kind", BASES)
def test_what_the_harness_refuses_for_its_form_the_schema_refuses(kind: str, mutation: Callable):
    check = validator(kind)
    accepted = [data for data in mutants(kind, mutation, 40) if check.is_valid(data)]
    assert accepted == []


@pytest.mark.slow
def test_there_are_enough_mutants_of_each_kind_of_file():
    for kind in BASES:
        assert sum(1 for mutation in MUTATIONS for _ in mutants(kind, mutation, 40)) >= 30


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        (
            ("rows", "fcn", "method"),
            ["fcn", {"name": "fcn", "convs": 2}, {"name": "fcn", "options": {}}],
            [3, {}, ["fcn"]],
        ),
        (("rows", "fcn", "method"), [None], [{"name": "fcn", "options": {}, "convs": 2}]),
        (("rows", "fcn", "notes"), ["one note", ["two", "notes"]], [3, {"a": "b"}]),
        (("published", "values", "fcn", "lip"), [48.63, 48, {"value": 48.63, "gain": 1}], [True, None, {"gain": 1}]),
        (("id",), [], ["idrnet_table2"]),
        (("columns", "lip", "test"), [{"flip": True}], [{"flips": True}, {"resize": [0, 5]}]),
    ],
)
def test_values_with_several_forms(path: tuple, good: list, bad: list):
    check = validator("table")
    for value, fits in [(v, True) for v in good] + [(v, False) for v in bad]:
        data = copy.deepcopy(read(ROOT / "tables/idrnet_table2.yaml").data)
        node = data
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value
        assert check.is_valid(data) == fits, value


# -------------------------------------------------------------------------------------------------------- the command


def test_one_schema_is_printed_and_all_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["schema", "profile"]) == Exit.OK
    assert '"title": "Profile"' in capsys.readouterr().out
    assert main(["schema", "--out", str(tmp_path)]) == Exit.OK
    assert {p.stem for p in (tmp_path / "schema").iterdir()} == set(KINDS)
    assert {p.stem for p in (tmp_path / "reference").iterdir()} == set(KINDS)


def test_unknown_kinds_and_no_place_are_errors():
    with pytest.raises(UserError, match="Did you mean 'table'"):
        schema(["tabel"], None)
    with pytest.raises(UserError, match="--out"):
        schema([], None)
