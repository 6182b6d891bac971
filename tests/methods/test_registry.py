"""Names of methods and contexts: found without importing them, here, in a file of one's own, or in a plug-in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import ROOT
from harness.errors import UserError
from methods import registry

METHOD = '''"""A method of one's own."""
from methods.registry import register, register_context

@register("mine")
def build(backbone, num_classes, *, width: int = 8, depth):
    """Mine, in a line.

    And more.
    """
    return ("mine", backbone, num_classes, width, depth)

@register("free")
def free(backbone, num_classes, **anything):
    return anything

@register_context("pool")
class Pool:
    def __init__(self, in_channels, *, bins=(1, 2)):
        self.bins = bins

@register_context("plain")
class Plain:
    pass
'''


@pytest.fixture
def own(write: Callable[[str, str], Path]) -> Path:
    return write("own.py", METHOD)


def test_every_name_loads_what_it_names():
    assert {"fcn", "pspnet", "deeplabv3", "upernet", "idrnet"} <= set(registry.names())
    for (kind, name), entry in registry.entries().items():
        assert callable(entry.load()), (kind, name)
        assert entry.summary, f"{kind} '{name}' has no docstring to list"


def test_listing_imports_neither_torch_nor_a_method():
    code = (
        "import sys; from methods import registry; names = registry.names() + registry.names('context');"
        "light = ('methods.registry', 'methods.option_types');"
        "assert names; bad = [m for m in sys.modules if m == 'torch' or m.startswith('methods.') and m not in light];"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_file_of_ones_own(own: Path):
    entry = registry.find(f"{own}:mine")
    assert (entry.kind, entry.options, entry.summary) == ("method", {"width": 8, "depth": ...}, "Mine, in a line.")
    assert registry.build(f"{own}:mine", "b", 3, depth=2) == ("mine", "b", 3, 8, 2)
    assert registry.build(f"{own}:pool", [4], kind="context", bins=(3,)).bins == (3,)
    assert registry.find(f"{own}:plain", "context").options == {}


def test_two_files_of_one_name_are_two_methods(write: Callable[[str, str], Path], own: Path):
    other = write("elsewhere/own.py", METHOD.replace('("mine", backbone', '("other", backbone'))
    assert registry.build(f"{own}:mine", "b", 3, depth=2)[0] == "mine"
    assert registry.build(f"{other}:mine", "b", 3, depth=2)[0] == "other"


def test_a_relative_path_is_seen_from_here(own: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(own.parent)
    assert registry.find("own.py:mine").file == own


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("pspnt", "method", r"unknown method 'pspnt'\. Did you mean 'pspnet'\? Available: .*fcn.*list methods"),
        ("pspnet", "context", r"unknown context 'pspnet'\..*list contexts"),
        ("{own}:mien", "method", r"registers no method 'mien'\. Did you mean 'mine'\?"),
        ("{own}:pool", "method", "registers no method 'pool'"),
        ("no/such.py:x", "method", "there is no file .*no/such.py"),
        ("~nobody-here/x.py:y", "method", "there is no file"),
        (f"{'x' * 300}.py:y", "method", "there is no file"),
        (".py:", "method", "there is no file"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(own: Path, name: str, kind: str, message: str):
    with pytest.raises(UserError, match=message):
        registry.find(name.replace("{own}", str(own)), kind)


@pytest.mark.parametrize("content", [b'@register("x")\ndef f(:\n', b'@register("x") # \xff\n', b'@register("x")\n\x00'])
def test_a_file_that_is_no_python_is_an_error_and_no_traceback(tmp_path: Path, content: bytes):
    (tmp_path / "bad.py").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.py.*Python"):
        registry.find(f"{tmp_path / 'bad.py'}:x")


def test_options_are_checked_before_anything_is_built(own: Path):
    mine, free = registry.find(f"{own}:mine"), registry.find(f"{own}:free")
    assert registry.check_options(mine, {"depth": 1}) == []
    wrong = dict(registry.check_options(mine, {"widht": 1}))
    assert "has no option 'widht'. Did you mean 'width'? Options are: depth, width" in wrong["widht"]
    assert wrong["depth"].endswith("needs the option 'depth'")
    assert registry.check_options(free, {"anything": 1}) == []


def test_a_name_registered_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(METHOD)
    monkeypatch.setattr(registry, "_FOLDER", tmp_path)
    registry.entries.cache_clear()
    try:
        with pytest.raises(UserError, match=r"'mine' is registered twice: .*a\.py and .*b\.py"):
            registry.entries()
    finally:
        registry.entries.cache_clear()


def test_a_plug_in_is_found_by_its_entry_point(tmp_path: Path):
    """A package that is installed elsewhere offers its methods under the group `harness.methods`."""
    (tmp_path / "plugged.py").write_text(METHOD)
    (tmp_path / "plugged-1.0.dist-info").mkdir()
    (tmp_path / "plugged-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (tmp_path / "plugged-1.0.dist-info/entry_points.txt").write_text("[harness.methods]\nplugged = plugged\n")
    code = "from methods import registry; print(registry.build('mine', 'b', 3, depth=1)[0], 'torch' in __import__('sys').modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["mine", "False"], done.stderr


TYPED = """from collections.abc import Mapping, Sequence
from typing import Literal, Optional
from harness.spec import Positive
from methods.registry import register

@register("typed")
def typed(
    backbone, num_classes, *, whole: int = 1, number: float = 1.0, flag: bool = False, text: str = "a",
    maybe: int | None = None, optional: Optional[float] = None, implicit: int = None, sizes: Sequence[int] = (1,),
    pair: tuple[int, int] = (1, 2), many: tuple[float, ...] = (1.0,), word: Literal["a", "b"] = "a",
    positive: Positive = 1, quoted: "int | str" = 1, table: Mapping[str, int] | None = None, free=None, own: Thing = None,
): ...
"""


@pytest.mark.parametrize(
    ("option", "good", "bad", "kind"),
    [
        ("whole", [2, -1], ["2", 2.0, True, None, [2]], "a whole number"),
        ("number", [2, 0.5], ["0.5", True, None], "a number"),
        ("flag", [True], [1, "true", None], "true or false"),
        ("text", ["b", ""], [1, None, ["b"]], "a text"),
        ("maybe", [2, None], [2.0, "2"], "a whole number or null"),
        ("optional", [2.0, None], ["2"], "a number or null"),
        ("implicit", [2, None], ["2"], "a whole number"),
        ("sizes", [[1, 2], [], (3,)], [1, ["1"], "12"], "a list of items, each a whole number"),
        ("pair", [[3, 4]], [[3], [3, 4, 5], 3], "a list of 2 items, each a whole number"),
        ("many", [[1.0, 2]], [["a"]], "a list of items, each a number"),
        ("word", ["b"], ["c", 1], "one of a, b"),
        ("positive", [3], [0, -1, 2.0], "a whole number above 0"),
        ("quoted", [1, "a"], [1.5], "a whole number or a text"),
        ("table", [{"a": 1}, None], [[1]], "a mapping or null"),
        ("free", [1, "a", [2]], [], ""),
        ("own", [1, "a"], [], ""),
    ],
)
def test_an_options_type_is_read_from_its_annotation(write, option: str, good: list, bad: list, kind: str):
    entry = registry.find(f"{write('typed.py', TYPED)}:typed")
    for value in good:
        assert registry.check_options(entry, {option: value}) == []
    for value in bad:
        message = f"method 'typed': option '{option}' takes {kind}, not {value!r}"
        assert registry.check_options(entry, {option: value}) == [(option, message)]


def test_every_methods_own_defaults_fit_its_types_and_its_check():
    for entry in registry.entries().values():
        defaults = {name: value for name, value in (entry.options or {}).items() if value is not ...}
        filled = {name: 2 for name, value in (entry.options or {}).items() if value is ...}
        if entry.own_backbone:  # its one option has no default, and names a model of a library
            continue
        assert registry.check_options(entry, {**defaults, **filled}) == [], entry.name
