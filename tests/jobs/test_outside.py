"""Methods outside the checkout: their helper modules can be imported and are in the key, and no name means two things."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness import ROOT
from harness.errors import UserError
from harness.jobs.key import Code, changes
from harness.jobs.kinds import ComplexityConfig, Model
from harness.plan.keys import KeyParts
from methods import registry

METHOD = """
import math
{imports}
from methods.registry import register

@register("mine")
def mine(backbone, num_classes):
    return {value}
"""
FILES = {  # a folder that is no package, with one helper of each kind
    "mine.py": METHOD.format(
        imports="import {name}_plain\nfrom .{name}_relative import width", value="{name}_plain.plain + width()"
    ),
    "{name}_plain.py": "from {name}_package.inner import deep\nplain = 1 + deep\n",
    "{name}_relative.py": "def width():\n    from {name}_late import late\n    return late\n",
    "{name}_late.py": "late = 10\n",
    "{name}_package/__init__.py": "from .inner import deep\n",
    "{name}_package/inner.py": "from . import innermost\nimport {name}_sibling\ndeep = innermost.x + {name}_sibling.y\n",
    "{name}_package/innermost.py": "x = 100\n",
    "{name}_sibling.py": "y = 1000\n",
    "{name}_unused.py": "import {name}_plain\n",
    "{name}_bare/module.py": "",
}


def written(folder: Path, name: str) -> Path:
    """The folder of a method whose helpers' names begin with `name`: tests share one process, and so its modules."""
    for path, text in FILES.items():
        file = folder / path.format(name=name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("{name}", name))
    return folder / "mine.py"


def code_of(file: Path) -> dict[str, str]:
    """The code of the key of a job that builds `file:mine`."""
    model = Model(name=f"{file}:mine", num_classes=2)
    config = ComplexityConfig(model=model, input=((1, 3, 8, 8),), convention="mmcv-hooks")
    parts, _ = KeyParts(Code(), None, file.parent).of("complexity", config)
    return {module: digest for module, digest in parts["code"].items() if module.startswith("external_method_")}


def test_helpers_of_all_kinds_are_imported_and_in_the_key(tmp_path: Path):
    file = written(tmp_path, "all")
    assert registry.build(f"{file}:mine", "backbone", 2) == 1 + 100 + 1000 + 10
    below = {module.partition(".")[2] for module in code_of(file)}
    assert below == {
        "mine",
        "all_plain",
        "all_relative",
        "all_late",
        "all_package",
        "all_package.inner",
        "all_package.innermost",
        "all_sibling",
    }


@pytest.mark.slow
@pytest.mark.parametrize("helper", [name for name in FILES if "unused" not in name and "bare" not in name])
def test_an_edited_helper_is_another_key_and_why_names_it(tmp_path: Path, helper: str):
    file = written(tmp_path, "edited")
    before, path = code_of(file), tmp_path / helper.format(name="edited")
    path.write_text(path.read_text() + "ADDED = 1\n")
    place = helper.format(name="edited").replace("/__init__", "")
    assert changes({"code": before}, {"code": code_of(file)}) == [f"code    {place} changed"]
    path.unlink()
    if helper != "mine.py":
        assert code_of(file) != before


def test_what_no_import_reaches_does_not_count_and_cannot_be_imported(tmp_path: Path):
    file = written(tmp_path, "apart")
    before = code_of(file)
    (tmp_path / "apart_unused.py").write_text("ADDED = 1\n")
    (tmp_path / "torch.py").write_text("raise AssertionError('in the way')\n")
    assert code_of(file) == before
    registry.build(f"{file}:mine", "backbone", 2)
    with pytest.raises(ModuleNotFoundError):
        __import__("apart_unused")


def test_a_method_in_a_package_imports_from_the_packages_around_it(tmp_path: Path):
    text = METHOD.format(
        imports="from .near import a\nfrom ..far import b\nfrom own_tree.inner.near import a as c", value="a + b + c"
    )
    for name, content in {
        "own_tree/__init__.py": "",
        "own_tree/far.py": "b = 20\n",
        "own_tree/inner/__init__.py": "from .mine import mine\n",
        "own_tree/inner/near.py": "a = 1\n",
        "own_tree/inner/mine.py": text,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    file = tmp_path / "own_tree/inner/mine.py"
    assert registry.build(f"{file}:mine", "backbone", 2) == 22
    below = {module.partition(".")[2] for module in code_of(file)}
    assert below == {"own_tree.inner.mine", "own_tree.inner.near", "own_tree.inner", "own_tree.far"}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("statistics", "the standard library's 'statistics'"),
        ("click", "the installed 'click' ("),
        ("reports", "this project's package 'reports'"),
    ],
)
def test_a_helper_that_has_the_name_of_something_else_is_an_error(tmp_path: Path, name: str, other: str):
    file = tmp_path / "mine.py"
    file.write_text(METHOD.format(imports=f"from {name} import what", value="1"))
    code_of(file)  # something else, and nothing beside it
    (tmp_path / f"{name}.py").write_text("what = 1\n")
    for use in (lambda: code_of(file), lambda: registry.build(f"{file}:mine", "backbone", 2)):
        with pytest.raises(UserError) as caught:
            use()
        assert str(caught.value).startswith(f"{file}:3: '{name}' may mean {tmp_path / name}.py beside it or {other}")
        assert "rename" in str(caught.value)


def test_a_folder_named_as_one_of_ours_does_not_take_its_place(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(METHOD.format(imports="", value="1"))
    (tmp_path / "methods").mkdir()
    code_of(file)
    (tmp_path / "methods/registry.py").write_text("")
    with pytest.raises(UserError, match=r"mine\.py:4: 'methods' may mean .*this project's package 'methods'"):
        code_of(file)


def test_a_method_beside_the_checkout_that_was_copied_takes_the_copy(tmp_path: Path):
    """Jobs on a cluster run on a copy of the checkout, and a method of the checkout's tests stands beside the original."""
    for name in ("tests/__init__.py", "methods/__init__.py", "harness/__init__.py", "harness/jobs/outside.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    file = tmp_path / "tests/mine.py"
    file.write_text(METHOD.format(imports="", value="1"))
    assert code_of(file)


def test_two_helpers_of_one_name_never_stand_for_each_other(tmp_path: Path):
    """Jobs have a process each; where one process builds both, the second is refused."""
    one, two = written(tmp_path / "one", "twin"), written(tmp_path / "two", "twin")
    assert set(code_of(one).values()) == set(code_of(two).values())
    registry.build(f"{one}:mine", "backbone", 2)
    with pytest.raises(UserError, match=r"imports 'twin_\w+' from .*two, and another one of that name is in use"):
        registry.build(f"{two}:mine", "backbone", 2)


def test_a_helper_that_is_no_python_is_named(tmp_path: Path):
    file = written(tmp_path, "bad")
    (tmp_path / "bad_late.py").write_text("def (:\n")
    with pytest.raises(UserError, match=r"bad_late\.py:1: not Python"):
        code_of(file)


def test_a_method_that_failed_to_load_is_not_half_there(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(METHOD.format(imports="raise ImportError('not yet')", value="7"))
    with pytest.raises(ImportError, match="not yet"):
        registry.build(f"{file}:mine", "backbone", 2)
    file.write_text(METHOD.format(imports="", value="7"))
    assert registry.build(f"{file}:mine", "backbone", 2) == 7


def test_a_context_that_an_option_names_by_its_path_counts_with_its_helpers(tmp_path: Path):
    (tmp_path / "pool.py").write_text(
        "import pool_helper\nfrom methods.registry import register_context\n\n"
        "@register_context('pool')\ndef pool(in_channels):\n    return None\n"
    )
    (tmp_path / "pool_helper.py").write_text("x = 1\n")
    names = {e.module for e in registry.dependencies("idrnet", {"context": f"{tmp_path}/pool.py:pool"})}
    assert any(module.endswith(".pool") for module in names)
    model = Model(name="idrnet", options={"context": f"{tmp_path}/pool.py:pool"}, num_classes=2)
    config = ComplexityConfig(model=model, input=((1, 3, 8, 8),), convention="mmcv-hooks")
    parts, _ = KeyParts(Code(), None, tmp_path).of("complexity", config)
    assert {m.partition(".")[2] for m in parts["code"] if "external" in m} == {"pool", "pool_helper"}


def test_the_modules_of_a_plug_in_are_in_the_key(tmp_path: Path):
    """A package that is installed elsewhere: its own modules count, those of others do not."""
    package = tmp_path / "plugged_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "method.py").write_text("import yaml\nfrom .layers import x\nimport plugged_package.more\n")
    (package / "layers.py").write_text("x = 1\n")
    (package / "more.py").write_text("y = 1\n")
    (tmp_path / "beside.py").write_text("")
    closure = Code().closure([], {"plugged_package.method": package / "method.py"})
    assert list(closure) == ["plugged_package.layers", "plugged_package.method", "plugged_package.more"]


def test_a_plain_script_finds_helpers_wherever_it_is_started(tmp_path: Path):
    """Neither the working directory nor the search path decides."""
    (tmp_path / "elsewhere").mkdir()
    file = written(tmp_path / "here", "script")
    (tmp_path / "elsewhere/script_plain.py").write_text("plain = 'wrong'\n")
    program = f"from methods import registry; print(registry.build({str(file)!r} + ':mine', 0, 2))"
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = ['', {str(ROOT)!r}]; {program}"]
    done = subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "1111", done.stderr
