"""Reports as a person makes them: one of 10 000 measurements, all tables and the site, a site of a million; verdicts' errors."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from harness import ROOT
from harness.environment import Device
from harness.jobs.job import Measurement
from harness.plan.planner import Planner
from harness.store.store import Result, Store
from harness.table import recipes
from harness.table.load import load
from harness.table.paths import table_files
from reports import verdict

TABLE = ROOT / "tables" / "idrnet_table2.yaml"  # 32 trainings and 32 evaluations under one seed
EACH = 160
CPU_SECONDS = 0.3
ENVIRONMENT = {"commit": "0" * 40, "dirty": False, "packages": {"torch": "2.15.0"}, "device": "cpu: any", "threads": 1}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder in which every job of Table 2 (smoke) has finished with 160 measurements."""
    store = Store(tmp_path_factory.mktemp("results"))
    planner = Planner(recipes.profile("smoke"), (0,), cache=store.cache, device=Device("cpu", "any", 1))
    plan = planner.plan([load(TABLE)])
    draw = random.Random(0)
    for job in plan.jobs.values():
        names = ["miou", "aacc", "macc", "fwiou"] if job.kind == "evaluate" else ["final_loss", "train_seconds"]
        names += [f"iou/class number {i}" for i in range(EACH - len(names))]
        store.finish(job, [Measurement(name, draw.uniform(0, 100), "%") for name in names], ENVIRONMENT, started=1.79e9)
    assert len(plan.jobs) * EACH >= 10_000
    return store.root


def filled(root: Path, seeds: int, each: int) -> int:
    """Writes a smoke result of `each` measurements for every job of every table; how many measurements that makes."""
    store = Store(root)
    store.prepare()
    planner = Planner(recipes.profile("smoke"), tuple(range(seeds)), cache=store.cache, device=Device("cpu", "any", 1))
    plan = planner.plan([load(path) for path in table_files()])
    draw = random.Random(0)
    for job in plan.jobs.values():
        scores = {"evaluate": ["miou", "macc"], "train": ["final_loss", "train_throughput"]}
        names = scores.get(job.kind, ["parameters", "flops", "latency", "peak_memory"])
        names = names + [f"iou/class number {i}" for i in range(each - len(names))]
        measured = tuple(Measurement(name, draw.uniform(0, 100), "%") for name in names)
        folder = store.folder(job)
        folder.mkdir(parents=True)
        # as Store.finish, without waiting for the disk each time
        record = Result(job, measured, ENVIRONMENT, 1.79e9, 1.0).to_json()
        (folder / "result.json").write_text(json.dumps(record), encoding="utf-8")
    return len(plan.jobs) * each


def cpu(command: list[str], rounds: int = 5) -> float:
    """CPU seconds of a whole process and its children, least of several rounds; byte code is kept, as it usually is."""
    best = float("inf")
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(rounds):
        before = os.times()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=environ)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        best = min(best, used)
    return best


def test_report_of_ten_thousand_measurements(results: Path, benchmark) -> None:
    pytest.importorskip("tabulate", reason="pandas.DataFrame.to_markdown needs tabulate")
    common = [str(TABLE), "--profile", "smoke", "--results", str(results)]
    report = [sys.executable, "-m", "harness", "report", *common, "--no-figures"]
    as_csv = [sys.executable, "-m", "harness", "report", *common, "--format", "csv"]
    code = "import sys; import harness; print(harness.results(sys.argv[1]).to_markdown())"
    peer = [sys.executable, "-c", code, str(results)]
    subprocess.run(peer, cwd=ROOT, check=True, capture_output=True)  # its compacted copy exists from here on
    ours, lines, pandas = cpu(report), cpu(as_csv), cpu(peer, rounds=3)
    benchmark.pedantic(lambda: subprocess.run(report, cwd=ROOT, check=True, capture_output=True), rounds=3)
    document = (results / "reports" / "idrnet_table2.smoke.md").read_text(encoding="utf-8")
    assert "32 of 32 cells measured" in document
    benchmark.extra_info.update(report=ours, csv=lines, pandas_to_markdown=pandas)
    print(f"report of 10 240 measurements: {ours:.2f} s CPU (CSV {lines:.2f}), pandas to_markdown {pandas:.2f}")
    assert ours <= CPU_SECONDS
    assert ours < pandas


def test_all_tables_reports_and_the_site(tmp_path: Path, benchmark) -> None:
    """Every table's Markdown, CSV and figures, and the site with figures, from a store in which all of it is measured."""
    filled(tmp_path, seeds=1, each=EACH)
    common = ["--profile", "smoke", "--results", str(tmp_path)]
    tables = [str(path) for path in table_files()]
    report = [sys.executable, "-m", "harness", "report", *tables, *common]
    site = [sys.executable, "-m", "harness", "site", *common]
    both = benchmark.pedantic(lambda: (cpu(report, rounds=1), cpu(site, rounds=1)), rounds=1)
    folder = tmp_path / "reports"
    print(f"{len(tables)} reports with figures {both[0]:.1f} s CPU, site with figures {both[1]:.1f}")
    assert len(list(folder.glob("*.md"))) == len(tables) >= 32
    assert len(list((folder / "site.smoke" / "tables").glob("*.html"))) == len(tables)
    assert sum(both) <= 60


def test_site_of_a_million_measurements(tmp_path: Path, benchmark) -> None:
    one = filled(tmp_path / "one", seeds=1, each=EACH)
    seeds = -(-1_200_000 // one)  # counts and times are measured once, whatever the number of seeds
    count = filled(tmp_path / "many", seeds=seeds, each=EACH)
    command = [sys.executable, "-m", "harness", "site", "--profile", "smoke", "--no-figures"]
    command += ["--seeds", str(seeds), "--results", str(tmp_path / "many")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    used = benchmark.pedantic(lambda: cpu(command, rounds=1), rounds=1)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"site of {count} measurements ({seeds} seeds): {used:.1f} s CPU, {peak:.0f} MiB (children before: {before / 1024:.0f})"
    )
    index = (tmp_path / "many" / "reports" / "site.smoke" / "index.html").read_text(encoding="utf-8")
    assert count >= 1_000_000
    assert "cells measured" in index
    assert used <= 60
    assert peak <= 1024


def test_error_rates_of_verdicts(benchmark) -> None:
    """How often each verdict falls: equal means (gap 0), on the edge of the margin, and two points apart."""
    draw = random.Random(0)
    runs, margin = 4000, 0.5

    def share(gap: float, sigma: float, n: int, statistic: str) -> Counter[str]:
        words: Counter[str] = Counter()
        for _ in range(runs):
            paper = {
                "mean": lambda: 40.0,
                "single": lambda: draw.gauss(40.0, sigma),
                "best": lambda: max(draw.gauss(40.0, sigma) for _ in range(verdict.BEST_OF)),
            }[statistic]()
            sample = [40 + gap + draw.gauss(0, sigma) for _ in range(n)]
            words[verdict.equivalence(sample, f"{paper:.4f}", margin=margin, statistic=statistic).word] += 1
        return words

    started = time.process_time()
    nominal = f"(nominal: at most {100 * verdict.ALPHA:g} / {100 * verdict.ALPHA:g})"
    print(
        f"\n% of {runs}, margin {margin}      equal: reproduced   edge: reproduced / not {nominal}"
        "   2 apart: not reproduced"
    )
    for statistic in ("mean", "single", "best"):
        for sigma in (0.2, 0.3, 0.5):
            for n in (1, 3, 5, 8):
                equal, edge, apart = (share(gap, sigma, n, statistic) for gap in (0.0, margin, 2.0))
                wrong = edge[verdict.REPRODUCED] / runs, edge[verdict.NOT_REPRODUCED] / runs
                right = equal[verdict.REPRODUCED] / runs, apart[verdict.NOT_REPRODUCED] / runs
                print(
                    f"paper's {statistic:<6} σ {sigma} n {n}   {100 * right[0]:15.1f}"
                    f" {100 * wrong[0]:18.1f} / {100 * wrong[1]:.1f} {100 * right[1]:50.1f}"
                )
                assert max(wrong) <= verdict.ALPHA + 0.012  # three standard errors of 4000 draws
    benchmark.extra_info.update(cpu_seconds=time.process_time() - started)
    benchmark.pedantic(lambda: share(0.0, 0.3, 5, "mean"), rounds=1)
