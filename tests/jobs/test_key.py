"""What changes a key and what does not: source digests, import closures, and the words of `why`."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import ROOT
from harness.errors import UserError
from harness.jobs.key import Code, changes, digest, identity, imported_names, package_versions, source_digest
from harness.jobs.kinds import KINDS, LatencyConfig, Model
from harness.plan.planner import Planner
from harness.table import recipes
from harness.table.load import load

SOURCE = '''"""What this module is for."""

import math


def area(radius, *, scale=1.0):
    """The area of a circle."""
    name = f"r={radius:.2f} {'x' + 'y'}"
    if radius < 0:
        raise ValueError(name)
    return math.pi * radius**2 * scale
'''

NESTED, PLAIN = "14b45490c37f6179", "d986e158fa52cf95"

SAME = {
    "a remark": ("import math", "import math  # π"),
    "a line of remarks": ("import math", "# first\nimport math\n# second"),
    "blank lines": ("import math\n", "import math\n\n\n\n"),
    "blanks between tokens": ("math.pi * radius**2", "math.pi  *  radius ** 2"),
    "line breaks inside brackets": ("ValueError(name)", "ValueError(\n            name\n        )"),
    "another docstring": ("The area of a circle.", "Circles,\n    and their area."),
    "another module docstring": ("What this module is for.", "Something else."),
    "no docstring": ('    """The area of a circle."""\n', ""),
    "a backslash": ("math.pi * radius**2", "math.pi * \\\n        radius**2"),
    "no line break at the end": ("* scale\n", "* scale"),
}
OTHER = {
    "a constant": ("scale=1.0", "scale=2.0"),
    "a name": ("radius**2", "radius**3"),
    "a text": ("{'x' + 'y'}", "{'x' + 'z'}"),
    "a format": (":.2f}", ":.3f}"),
    "a blank inside a text": ('f"r=', 'f"r ='),
    "an operator": ("radius < 0", "radius <= 0"),
    "the block a line belongs to": ("    return math", "        return math"),
    "an import": ("import math", "import cmath as math"),
    "a docstring that is used": ('    """The area of a circle."""\n', '    x = """The area of a circle."""\n'),
}


@pytest.mark.parametrize("edit", SAME.values(), ids=SAME.keys())
def test_what_does_nothing_does_not_count(edit: tuple[str, str]):
    changed = SOURCE.replace(*edit)
    assert changed != SOURCE
    assert source_digest(changed) == source_digest(SOURCE)


@pytest.mark.parametrize("edit", OTHER.values(), ids=OTHER.keys())
def test_what_does_something_counts(edit: tuple[str, str]):
    changed = SOURCE.replace(*edit)
    assert changed != SOURCE
    assert source_digest(changed) != source_digest(SOURCE)


def test_digests_are_the_same_on_every_python():
    """Written down, so that another version of Python that tokenises f-strings otherwise is noticed."""
    nested = 'x = f"{a!r:>{width}} {f\'{b}\'}" f\'c\'\ny = rf"""\n{x}\n  two"""\n'
    assert source_digest(nested)[:16] == NESTED
    assert source_digest(SOURCE)[:16] == PLAIN


@given(st.integers(0, 8), st.text("#abc é", max_size=12))
def test_remarks_anywhere_change_nothing(line: int, remark: str):
    lines = SOURCE.split("\n")
    lines.insert(line, f"# {remark}") if line != 1 else None
    assert source_digest("\n".join(lines)) == source_digest(SOURCE)


# ------------------------------------------------------------------------------------------------------ import closure


def test_all_forms_of_import_are_seen():
    text = """
import harness.store.store
import torch, methods.fcn as f
from methods.contexts import ppm, aspp
from . import layers
from .contexts.ocr import OCR
RUNNER = "harness.tasks.complexity.fvcore_trace:count"
def late():
    from harness.data.files import pairs
"""
    found = imported_names(text, "methods.build", is_package=False)
    assert {
        "harness.store.store",
        "methods.fcn",
        "methods.contexts.ppm",
        "methods.contexts.aspp",
        "methods.layers",
        "methods.contexts.ocr",
        "harness.tasks.complexity.fvcore_trace",
        "harness.data.files",
    } <= found
    assert not any(name.startswith("torch") for name in found)


def test_imports_for_type_checkers_do_not_count():
    text = "if TYPE_CHECKING:\n    from harness.store.store import Store\nelse:\n    import methods.fcn\n"
    assert imported_names(text, "methods.x", is_package=False) == {"methods.fcn"}


def test_relative_imports_of_a_package_start_in_it():
    assert "methods.idrnet.head" in imported_names("from .head import IDRHead", "methods.idrnet", is_package=True)
    assert "methods.head" in imported_names("from ..head import x", "methods.idrnet.method", is_package=False)


@pytest.fixture
def tree(tmp_path: Path):
    """A small project: a → b → c, d imported by nobody."""
    for name, text in {
        "methods/a.py": "from methods.sub import b\n",
        "methods/sub/__init__.py": "",
        "methods/sub/b.py": "import methods.sub.c\n",
        "methods/sub/c.py": "x = 1\nimport methods.a\n",
        "methods/d.py": "import methods.a\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_closure_follows_imports_and_packages_also_in_circles(tree: Path):
    (tree / "methods/sub/__init__.py").write_text("import methods.d\n")
    assert list(Code(root=tree).closure(["methods.a"])) == [
        "methods.a",
        "methods.d",
        "methods.sub",
        "methods.sub.b",
        "methods.sub.c",
    ]


def test_a_package_that_holds_nothing_counts_for_nothing(tree: Path):
    before = Code(root=tree).closure(["methods.a"])
    assert list(before) == ["methods.a", "methods.sub.b", "methods.sub.c"]
    (tree / "methods/sub/__init__.py").write_text('"""What is in here."""\n\n# a remark\n')
    assert Code(root=tree).closure(["methods.a"]) == before


def test_packages_are_found_at_any_depth_and_only_those_that_define_numbers(tree: Path):
    (tree / "methods/sub/c.py").write_text("import torch, os\ndef late():\n    from timm.models import create_model\n")
    code = Code(root=tree)
    assert code.packages(["methods.a"]) == {"timm"}
    assert code.packages(["methods.d"]) == {"timm"}
    (tree / "methods/a.py").write_text("import numpy\n")
    assert Code(root=tree).packages(["methods.a"]) == set()


def test_a_packages_version_is_read_without_importing_it():
    found = package_versions(["timm", "mmseg", "fvcore"])
    assert found["timm"] == metadata.version("timm")
    assert found["mmseg"] == next(
        (v for v in (installed("onedl-mmsegmentation"), installed("mmsegmentation")) if v), "absent"
    )


def installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def test_only_what_is_reached_counts(tree: Path):
    before = Code(root=tree).closure(["methods.a"])
    (tree / "methods/d.py").write_text("x = 2\n")
    assert Code(root=tree).closure(["methods.a"]) == before
    (tree / "methods/sub/c.py").write_text("x = 2\nimport methods.a\n")
    after = Code(root=tree).closure(["methods.a"])
    assert {name for name in after if after[name] != before[name]} == {"methods.sub.c"}


def test_the_cache_notices_a_changed_file_and_survives_damage(tree: Path):
    cache = tree / "cache"
    code = Code(cache, root=tree)
    first = code.closure(["methods.a"])
    code.save()
    assert Code(cache, root=tree).closure(["methods.a"]) == first
    (tree / "methods/sub/c.py").write_text("x = 1  # the same\nimport methods.a\n")
    assert Code(cache, root=tree).closure(["methods.a"]) == first
    (tree / "methods/sub/c.py").write_text("x = 22\n")
    changed = Code(cache, root=tree).closure(["methods.a"])
    assert changed["methods.sub.c"] != first["methods.sub.c"]
    for damage in ("{", "[]", '"x"'):
        (cache / "code.json").write_text(damage)
        assert Code(cache, root=tree).closure(["methods.a"]) == changed


def test_a_file_that_is_no_python_is_named(tree: Path):
    (tree / "methods/sub/c.py").write_text("def (:\n")
    with pytest.raises(UserError, match=r"c\.py:1: not Python"):
        Code(root=tree).closure(["methods.a"])
    (tree / "methods/sub/c.py").write_bytes(b"x = '\xff'\n")
    with pytest.raises(UserError, match=r"c\.py:1: not Python"):
        Code(root=tree).closure(["methods.a"])


# ----------------------------------------------------------------------------------------------- the keys of real jobs


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for room in ("harness", "methods"):
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def keys(root: Path, table: str = "idrnet_table2", column: str = "ade20k") -> dict[str, str]:
    """{row: key of the job that its cell shows} with the code of the checkout at `root`."""
    planner = Planner(recipes.profile("smoke"), code=Code(root / "cache", root=root))  # unchanged files are read once
    loaded = load(ROOT / f"tables/{table}.yaml")
    return {c.row: c.jobs[0].key for c in planner.plan([loaded]).cells if c.column == column and c.jobs}


def changed_rows(root: Path, file: str, **selection: str) -> set[str]:
    """The rows whose key changes when `file` does."""
    before, path = keys(root, **selection), root / file
    text = path.read_text()
    try:
        path.write_text(text + "\nADDED = 1\n")
        after = keys(root, **selection)
    finally:
        path.write_text(text)
    return {row for row in before if before[row] != after[row]}


AROUND = {"fcn_idrnet", "pspnet_idrnet", "deeplabv3_idrnet", "upernet_idrnet"}


OUTSIDE = {  # what no row of Table 2 is built from
    "table5.py": "the reconstruction that is only counted",
    "mask2former.py": "relations between the classes of queries, of Table 7",
    "mask2former_options.py": "its options",
    "differences.py": "the list of differences between text, release and run, for the documentation",
}


@pytest.mark.parametrize("file", sorted(p.name for p in (ROOT / "methods/idrnet").glob("*.py")))
def test_a_method_changes_only_its_own_keys(copied: Path, file: str):
    assert changed_rows(copied, f"methods/idrnet/{file}") == (set() if file in OUTSIDE else AROUND)


def test_a_context_named_by_an_option_counts(copied: Path):
    """IDRNet builds its context by name: no import leads there."""
    assert {"pspnet", "pspnet_idrnet"} <= changed_rows(copied, "methods/contexts/ppm.py")
    assert {"deeplabv3", "deeplabv3_idrnet", "upernet_idrnet"} <= changed_rows(copied, "methods/contexts/aspp.py")
    assert "fcn" not in changed_rows(copied, "methods/contexts/ppm.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [
        "harness/training/loop.py",
        "methods/backbones/_timm_pyramid.py",
        "methods/backbones/resnet.py",
        "harness/tasks/segmentation/augment.py",
    ],
)
def test_what_all_use_changes_all_keys(copied: Path, file: str):
    assert changed_rows(copied, file) == set(keys(copied))


@pytest.mark.parametrize(
    "file",
    [
        "harness/cli/main.py",
        "harness/errors.py",
        "harness/cli/progress.py",
        "harness/table/schema.py",
        "harness/scheduler/local.py",
        "harness/data/verify.py",
        "methods/registry.py",
        "methods/released/__init__.py",
        "methods/released/sssegmentation/idrnet.py",
    ],
)
def test_what_moves_no_number_changes_no_key(copied: Path, file: str):
    assert changed_rows(copied, file) == set()
    assert changed_rows(copied, file, table="idrnet_table5", column="flops") == set()


@pytest.mark.slow
@pytest.mark.parametrize("counter", ["mmcv_hooks", "fvcore_trace", "tf_profiler", "explicit_attention"])
def test_a_counter_that_is_imported_by_name_counts(copied: Path, counter: str):
    rows = changed_rows(copied, f"harness/tasks/complexity/{counter}.py", table="idrnet_table5", column="flops")
    assert rows == set(keys(copied, table="idrnet_table5", column="flops"))


def test_every_kind_of_job_has_code_in_its_key():
    for kind in KINDS.values():
        module = kind.runner.partition(":")[0]
        assert module in Code().closure([module])


# ---------------------------------------------------------------------------------------------------------------- why


def test_digest_is_canonical():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
    assert digest([1, 2]) != digest([2, 1])


ADE20K = {"files": "1", "label mapping": "1"}
OLD = {
    "config": {"seed": 1, "recipe": {"batch_size": 16, "optimizer": {"lr": 0.1}}},
    "code": {"methods.fcn": "1", "methods.idrnet.head": "2"},
    "packages": {"timm": "1.0"},
    "data": {"ade20k": ADE20K},
}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"config": {**OLD["config"], "seed": 2}}, "config  seed: 1 → 2"),
        (
            {"config": {"seed": 1, "recipe": {"batch_size": 16, "optimizer": {"lr": 0.2}}}},
            "config  recipe.optimizer.lr: 0.1 → 0.2",
        ),
        ({"code": {**OLD["code"], "methods.idrnet.head": "3"}}, "code    methods/idrnet/head.py changed"),
        ({"code": {"methods.fcn": "1"}}, "code    methods/idrnet/head.py is gone"),
        ({"code": {**OLD["code"], "methods.ranks": "1"}}, "code    methods/ranks.py is new"),
        ({"data": {"ade20k": {**ADE20K, "files": "2"}}}, "data    files of ade20k changed"),
        ({"data": {"ade20k": {**ADE20K, "label mapping": "2"}}}, "data    label mapping of ade20k changed"),
        ({"packages": {"timm": "1.1"}}, "package timm: '1.0' → '1.1'"),
        ({"weights": {"resnet50": "1"}}, "weights resnet50 is new"),
    ],
)
def test_why_names_the_part_that_changed(change: dict, line: str):
    assert changes(OLD, {**OLD, **change}) == [line]


def test_nothing_changed_is_no_line():
    assert changes(OLD, OLD) == []


def test_a_field_that_comes_later_leaves_the_identity_and_changes_the_key():
    class LaterModel(Model):
        pooled: bool = False

    class Later(LatencyConfig):
        model: LaterModel
        quiet: bool = False

    said = {"model": {"name": "fcn", "num_classes": 19}, "input": [[1, 3, 64, 64]], "device": "cpu: any, 1 thread"}
    before, after = LatencyConfig.model_validate(said), Later.model_validate(said)
    assert identity("latency", before) == identity("latency", after)
    assert digest(before.model_dump(mode="json")) != digest(after.model_dump(mode="json"))
    for other in ({"quiet": True}, {"model": {**said["model"], "pooled": True}}, {"repeats": 7}):
        assert identity("latency", Later.model_validate({**said, **other})) != identity("latency", before)
    assert identity("latency", before, ["a"]) != identity("latency", before)
