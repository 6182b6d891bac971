"""Mutants of table, recipe, profile, paper and cluster files: every command says what is wrong, never a traceback.

HARNESS_MUTANTS=0:10000 runs the mutants of these numbers (10 000 in about 15 minutes); by default three of each file. A failure
names the number of its mutant: HARNESS_MUTANTS=4711:4712 repeats that one.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import ROOT
from harness.cli.main import main
from harness.errors import Exit, UserError
from harness.scheduler.slurm import cluster_file, sbatch
from harness.scheduler.slurm.controller import Partition
from harness.table import load, paths, recipes
from reports.audit import paper
from tests.support.mutants import mutant

FIRST, _, LAST = os.environ.get("HARNESS_MUTANTS", "0:57").partition(":")
SECONDS = 10.0  # of the processor, for one mutant and all that is done with it
CLUSTER = "slurm/clusters/preemptible.yaml"
# (file to damage, table that uses it)
TARGETS = [
    *((f"tables/{name}.yaml", f"tables/{name}.yaml") for name in ("camvid", "idrnet_table2", "idrnet_table5")),
    *((f"tables/{name}.yaml", f"tables/{name}.yaml") for name in ("hfgd_table2", "hfgd_table9", "ecenet_table4")),
    *((f"tables/{name}.yaml", f"tables/{name}.yaml") for name in ("idrnet_released", "ecenet_table6", "idrnet_table4")),
    ("tables/recipes/camvid.yaml", "tables/camvid.yaml"),
    ("tables/recipes/idrnet.yaml", "tables/idrnet_table4.yaml"),
    ("tables/recipes/ecenet.yaml", "tables/ecenet_table6.yaml"),
    ("tables/profiles/smoke.yaml", "tables/camvid.yaml"),
    ("tables/profiles/short.yaml", "tables/ecenet_table6.yaml"),
    ("tables/papers/idrnet.yaml", "tables/idrnet_table4.yaml"),
    ("tables/papers/names.yaml", "tables/ecenet_table6.yaml"),
    (CLUSTER, "tables/ecenet_table6.yaml"),
    ("slurm/clusters/a100x8.yaml", "tables/camvid.yaml"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tables of its own, which the commands take for the checkout's."""
    monkeypatch.setattr(paths, "SHIPPED", tmp_path)
    monkeypatch.setattr(paper.papers, "__defaults__", (tmp_path / "tables/papers",))
    monkeypatch.setattr(paper.spellings, "__defaults__", (tmp_path / "tables/papers",))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()  # without which some commands warn that nothing is measured there
    return tmp_path


def _write(folder: Path, name: str, content: bytes | None = None) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((ROOT / name).read_bytes() if content is None else content)
    return path


def _commands(damaged: str, table: str, profile: str) -> Iterator[list[str]]:
    """What a person may do with the file."""
    request = [table, "--profile", profile, "--device", "cpu", "--results", "results"]
    on = ["--on", damaged] if damaged.startswith("slurm") else []
    yield ["plan", *request[: 3 if on else None], *on, *(["--results", "results"] if on else [])]
    yield ["status", *request]
    for kind in ("csv", "text", "latex"):
        yield ["report", *request, "--format", kind]
    yield ["report", *request, "--no-figures"]
    yield ["audit", table]
    yield ["list"]


def _run(arguments: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def _check_cluster(path: Path) -> None:
    """The file against a cluster, and what sbatch would be asked."""
    controller = SimpleNamespace(partitions=lambda: {"compute": Partition(1440, 4, 64, 256_000, 8)})
    with contextlib.suppress(UserError):
        cluster, document = cluster_file.load(path)
        shape = sbatch.Shape(True, False, cluster_file.minutes_for(cluster, 1e7), cluster.memory)
        sbatch.parameters(cluster, shape, "job", Path("/code"), None)
        cluster_file.check(cluster, document, controller)  # type: ignore[arg-type]


def exercise(number: int, folder: Path) -> None:
    """Everything with one mutant; an assertion or a traceback is an error of the harness."""
    chance = random.Random(-number)
    damaged, table = TARGETS[number % len(TARGETS)]
    profile = {"tables/profiles/smoke.yaml": "smoke", "tables/profiles/short.yaml": "short"}.get(damaged)
    profile = profile or chance.choice(("paper", "smoke"))
    for old in (*folder.glob("tables/*.yaml"), *folder.glob("tables/*/*.yaml")):
        old.unlink()
    files = [table, *(str(p.relative_to(ROOT)) for p in ROOT.glob("tables/*/*.yaml"))]
    if "papers/" in damaged:  # what a paper says is of all its tables
        files += [str(p.relative_to(ROOT)) for p in ROOT.glob("tables/*.yaml")]
    for name in files:
        _write(folder, name)
    path = _write(folder, damaged, mutant((ROOT / damaged).read_text(encoding="utf-8"), number // len(TARGETS)))
    if damaged.startswith("slurm"):
        _check_cluster(path)
    sound = True
    for arguments in _commands(damaged, table, profile):
        if not sound and arguments[0] in ("status", "report"):
            continue  # they would read the same files and say the same
        code, out, err = _run(arguments)
        assert code in (Exit.OK, Exit.FAILED, Exit.INPUT, Exit.MISSING, Exit.NOTHING), arguments
        assert code == Exit.MISSING or (code == Exit.INPUT) == bool(err), arguments  # a plan says what is missing
        assert not [c for c in out + err if unicodedata.category(c) == "Cc" and c != "\n"], (arguments, out, err)
        sound &= arguments[0] != "plan" or code in (Exit.OK, Exit.NOTHING, Exit.MISSING)


@pytest.mark.slow
def test_no_mutant_of_a_file_ends_in_a_traceback(folder: Path):
    slowest = (0.0, 0)
    for number in range(int(FIRST), int(LAST)):
        start = time.process_time()
        try:
            exercise(number, folder)
        except (Exception, SystemExit, RecursionError) as error:
            raise AssertionError(f"mutant {number} of {TARGETS[number % len(TARGETS)][0]}") from error
        slowest = max(slowest, (time.process_time() - start, number))
    print(f"mutants {FIRST} to {LAST}; the slowest, {slowest[1]}, took {slowest[0]:.1f} s")
    assert slowest[0] < SECONDS, f"mutant {slowest[1]} took {slowest[0]:.1f} s"


@pytest.mark.parametrize(
    "value", ["{value: 36.9, text: 1.x}", "1e9", "{value: 36.9, gain: .inf}", f"0.{'3' * 40}", "'3'", "{value: inf}"]
)
def test_published_numbers_are_numbers_as_papers_print_them(value: str, folder: Path):
    text = (ROOT / "tables/ecenet_table6.yaml").read_text(encoding="utf-8")
    first = load.load(ROOT / "tables/ecenet_table6.yaml").published.values
    digits = next(v.text for values in first.values() for v in values.values())
    _write(folder, "tables/ecenet_table6.yaml", text.replace(f": {digits}", f": {value}", 1).encode())
    with pytest.raises(UserError, match=r"published\.values\..*number"):
        load.load("tables/ecenet_table6.yaml")


@pytest.mark.slow
def test_unchanged_files_are_planned(folder: Path):
    """What mutants are made of is sound, so that their errors are the mutations'."""
    for damaged, _ in TARGETS:
        _write(folder, damaged, mutant((ROOT / damaged).read_text(encoding="utf-8"), 0))
    for name in {name for name, _ in TARGETS} | {"tables/profiles/paper.yaml", "tables/recipes/hfgd.yaml"}:
        if not (folder / name).exists():
            _write(folder, name)
    for damaged, table in TARGETS:
        if damaged.startswith("slurm"):
            cluster_file.load(folder / damaged)
        else:
            assert load.load(table).rows
    assert recipes.profile("smoke", folder / "tables").name == "smoke"
    assert recipes.recipe("idrnet/ade20k", folder / "tables").dataset == "ade20k"
