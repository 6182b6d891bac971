"""What rooms may never do, held by reading the source: who imports whom, what is never called, how large things get."""

from __future__ import annotations

import ast
import functools
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ROOT

PACKAGES = ("harness", "methods", "reports")
FLOORS = (  # a room uses only what lies on lower floors, and itself
    ("spec", "errors", "environment", "stats"),
    ("recipes", "files", "torch_file", "yamlfile", "json_schema", "text"),
    ("jobs",),
    ("data", "methods", "store"),
    ("training", "table"),
    ("tasks", "plan", "reports.audit", "bundles", "scaffold"),
    ("scheduler", "reports", "conformance"),
    ("nightly",),
    ("cli",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
LIGHT_ROOMS = (
    "cli",
    "bundles",
    "table",
    "recipes",
    "plan",
    "jobs",
    "store",
    "scheduler",
    "nightly",
    "stats",
    "scaffold",
)
HEAVY_MODULES = {  # in a light room, and only imported by what computes
    "harness.scheduler.preload": "loads everything that computes, once, before jobs are forked",
    "harness.store.features": "arrays: numpy",
}
LONG_FILES: dict[str, str] = {}  # {path: why it may be longer than 400 lines}
LONG_FUNCTIONS: dict[str, str] = {}  # {path:function: why it may be longer than 60 lines}


@functools.cache
def sources(*folders: str) -> dict[str, ast.Module]:
    """{path: syntax tree} of the Python files under these folders of the checkout."""
    found = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=name)
    assert found
    return found


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(module, line) of every import at any depth; `from a import b` counts as `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def offenders(room: str, *forbidden: str) -> list[str]:
    return [
        f"{path}:{line} imports {module}"
        for path, tree in sources(room).items()
        for module, line in imports(tree)
        if any(module == f or module.startswith(f"{f}.") for f in forbidden)
    ]


# ------------------------------------------------------------------------------------------------------ who imports whom


def room(module: str) -> str:
    """`harness.table.schema` stands in `table`, `methods.fcn` in `methods`; "" for the packages' own faces."""
    package, *inner = module.split(".")
    if package == "reports" and inner[:1] == ["audit"]:
        return "reports.audit"
    if package in ("methods", "reports"):
        return package
    return inner[0] if package == "harness" and inner and inner[0] != "__main__" else ""


def arrows() -> Iterator[tuple[str, str, str]]:
    """(module, line, imported module) of every import between rooms, at any depth of functions, also for typing alone."""
    known = set(FLOOR)
    for path, tree in sources(*PACKAGES).items():
        module = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for imported, line in imports(tree):
            here, there = room(module), room(imported)
            if here and there in known and here != there:
                yield module, f"{path}:{line}", imported


def test_every_room_has_its_floor():
    found = {room(path.removesuffix(".py").replace("/", ".")) for path in sources(*PACKAGES)} - {"", "__init__"}
    assert found == set(FLOOR)


def test_no_room_uses_what_lies_above_or_beside_it():
    found = [
        f"{where} ({room(module)}, floor {FLOOR[room(module)]}) imports {imported} ({FLOOR[room(imported)]})"
        for module, where, imported in arrows()
        if FLOOR[room(imported)] >= FLOOR[room(module)]
    ]
    assert found == []


def test_methods_know_nothing_of_the_machine():
    assert offenders("methods", "reports", *(f"harness.{name}" for name in ("scheduler", "store", "cli", "plan"))) == []


def test_reports_never_import_torch():
    heavy = ("torch", "torchvision", "timm", "cv2", "harness.training", "harness.tasks")
    assert offenders("reports", *heavy) == []


def test_reports_import_in_no_circle():
    trees = {path.removesuffix(".py").replace("/", "."): tree for path, tree in sources("reports").items()}
    graph = {name: {module for module, _ in imports(tree)} & trees.keys() for name, tree in trees.items()}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the modules


def test_the_machine_imports_no_method():
    from methods import registry

    assert offenders("harness", *{entry.module for entry in registry.entries().values()}) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT_ROOMS)
def test_a_light_room_loads_nothing_heavy(name: str):
    """All of a room's modules in a fresh interpreter, so also through whatever is imported on the way."""
    paths = [path for path in sources("harness") if path.startswith(f"harness/{name}/")]
    modules = [path.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for path in paths]
    light = [module for module in modules if module not in HEAVY_MODULES]
    heavy = "('torch', 'torchvision', 'timm', 'cv2', 'pandas', 'matplotlib', 'numpy', 'scipy')"
    code = f"import sys, {', '.join(light)}; sys.exit(' '.join(m for m in {heavy} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{name} imports {done.stderr}"


@pytest.mark.slow
def test_reports_load_without_torch():
    names = [path.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for path in sources("reports")]
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# -------------------------------------------------------------------------------------------------- names of methods


def docstrings(tree: ast.Module) -> set[int]:
    """ids of the nodes that are docstrings."""
    nodes = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, nodes) and node.body and isinstance(node.body[0], ast.Expr)
    }


def words(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(word, line) of identifiers, attributes, arguments, and of the words inside text that is no docstring."""
    silent = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield node.arg, node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield from ((word, node.lineno) for word in re.findall(r"\w+", node.value))


@pytest.mark.slow
def test_the_machine_names_no_method():
    from methods import registry

    registered = {name for _, name in registry.entries() if "/" not in name}
    assert {"fcn", "idrnet", "ppm"} <= registered
    found = [
        f"{path}:{line}: {word}"
        for path, t in sources("harness").items()
        for word, line in words(t)
        if word in registered
    ]
    assert found == []


# --------------------------------------------------------------------------------------------------------------- size


@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "benchmarks"])
def test_files_and_functions_stay_readable(folder: str):
    long = []
    for path, tree in sources(folder).items():
        lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
        if lines > 400 and path not in LONG_FILES:
            long.append(f"{path}: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                if length > 60 and f"{path}:{node.name}" not in LONG_FUNCTIONS:
                    long.append(f"{path}:{node.lineno}: {node.name} has {length} lines")
    assert long == []


def test_exceptions_to_size_are_still_needed():
    for path in LONG_FILES:
        assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) > 400
    for name in LONG_FUNCTIONS:
        path, _, function = name.partition(":")
        nodes = [n for n in ast.walk(sources(path.partition("/")[0])[path]) if getattr(n, "name", "") == function]
        assert max(n.end_lineno - n.lineno + 1 for n in nodes) > 60


# ------------------------------------------------------------------------------------------------- what is never done


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def dangers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for module, line in imports(tree):
        if module.partition(".")[0] in ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"):
            yield line, f"imports {module}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, given = dotted(node.func), {k.arg: getattr(k.value, "value", "?") for k in node.keywords}
        if name in ("eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "torch.hub.load"):
            yield node.lineno, f"calls {name}"
        if name.endswith("read_pickle") or given.get("allow_pickle") or given.get("shell"):
            yield node.lineno, f"calls {name}({given})"
        if name == "torch.load" and given.get("weights_only") is not True:
            yield node.lineno, "torch.load without weights_only=True"


@pytest.mark.slow
@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "benchmarks"])
def test_nothing_that_is_read_is_run(folder: str):
    """No pickles, no code in YAML, no eval: a file of results or a checkpoint is data."""
    found = [f"{path}:{line}: {what}" for path, tree in sources(folder).items() for line, what in dangers(tree)]
    assert found == []


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("import pickle", True),
        ("from joblib import dump", True),
        ("eval('1')", True),
        ("model.eval()", False),
        ("yaml.load(x)", True),
        ("yaml.safe_load(x)", False),
        ("torch.load(p)", True),
        ("torch.load(p, weights_only=False)", True),
        ("torch.load(p, weights_only=True)", False),
        ("np.load(p, allow_pickle=True)", True),
        ("subprocess.run('x', shell=True)", True),
    ],
)
def test_the_check_itself_sees_what_it_should(code: str, seen: bool):
    assert bool(list(dangers(ast.parse(code)))) == seen


def texts() -> Iterator[Path]:
    kinds = {".py", ".yaml", ".toml", ".md", ".sh", ".cfg", ""}
    for entry in sorted(ROOT.iterdir()):
        if entry.name in (".git", ".venv", "results", "build") or entry.name.endswith((".egg-info", "_cache")):
            continue
        inside = [entry] if entry.is_file() else [p for p in sorted(entry.rglob("*")) if p.is_file()]
        yield from (
            p for p in inside if p.suffix in kinds and "__pycache__" not in p.parts and ".hypothesis" not in p.parts
        )


def test_no_file_names_a_machine():
    pattern = re.compile(r"(?<![\w.])/(?:work|root|home)/\w|(?:pypi|pythonhosted|anaconda)\.org")
    found = []
    for path in texts():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if pattern.search(line) and path != Path(__file__):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_every_dependency_says_why():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    project = tomllib.loads("\n".join(lines))["project"]
    declared = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    assert declared
    for dependency in declared:
        (line,) = (line for line in lines if line.strip().startswith(f'"{dependency}",'))
        assert re.search(r'",\s+# \w', line), f"{dependency} has no comment on why"


def test_every_imported_package_is_declared():
    """What the rooms import at any depth is a dependency or the standard library."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[<>=\[ ]", d)[0] for d in project["dependencies"]}
    renamed = {"opencv-python-headless": "cv2", "pyyaml": "yaml", "pillow": "PIL"}
    allowed = {renamed.get(d, d) for d in declared} | set(PACKAGES) | set(sys.stdlib_module_names)
    optional = {"pylatexenc", "lxml", "mmseg", "mmcv", "mmengine", "transformers", "umap", "sklearn", "wandb", "mlflow"}
    found = {
        (path, module.partition(".")[0])
        for path, tree in sources(*PACKAGES).items()
        for module, _ in imports(tree)
        if module.partition(".")[0] not in allowed | optional
    }
    assert found == set()
