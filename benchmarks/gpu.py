"""Everything that needs a GPU, each part by itself, whatever fails before it: `make gpu`, or on a machine without the checkout's
environment `PYTHONPATH=. python benchmarks/gpu.py`.

    python benchmarks/gpu.py [--parts PART ...] [--list]

Tests first, in the order in which they tell most; then throughput (benchmarks/results/gpu_throughput.csv), mmengine's Runner in
the same call where mmsegmentation is installed (gpu_peers.csv), time and memory of IDRNet's Table 5 (gpu_table5.csv); and where
CamVid is in HARNESS_DATA the gate of profile `fast` (trainings under both profiles, gpu_gate.csv). Outcomes go to
benchmarks/results/gpu_parts.csv, a line per part as soon as it has ended. Exit code 1 where a part failed.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LIMIT = 1800.0  # seconds that one part may take


def parts() -> dict[str, list[str]]:
    """{name: command} in the order in which they run."""
    tests = sorted((ROOT / "tests" / "gpu").glob("test_*.py"))
    commands = {
        file.stem.removeprefix("test_"): [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
        for file in tests
    }
    throughput = str(ROOT / "benchmarks" / "gpu_throughput.py")
    commands["throughput"] = [sys.executable, throughput, str(RESULTS / "gpu_throughput.csv")]
    for name in ("peers", "table5"):
        commands[name] = [sys.executable, str(ROOT / "benchmarks" / f"gpu_{name}.py"), str(RESULTS / f"gpu_{name}.csv")]
    if (Path(os.environ.get("HARNESS_DATA", "")) / "camvid").is_dir():
        commands |= gate()
    return commands


def gate() -> dict[str, list[str]]:
    """Trains what the gate of profile `fast` compares, under both profiles; then writes how it stands."""
    from harness.table.recipes import profile

    found = profile("fast").gate
    assert found is not None
    results = str(ROOT / "results" / "gate")
    cells = [f"tables/{found.table}.yaml", "--columns", found.column, "--repetitions", str(found.repetitions)]
    cells += [part for row in found.rows for part in ("--rows", row)]
    run = [sys.executable, "-m", "harness", "run", *cells, "--device", "cuda", "--results", results, "--no-figures"]
    export = [sys.executable, "-m", "harness", "export", "--results", results, "--out", str(RESULTS / "gpu_gate.csv")]
    plan = [
        sys.executable,
        "-m",
        "harness",
        "plan",
        *cells,
        "--device",
        "cuda",
        "--results",
        results,
        "--profile",
        "fast",
    ]
    names = {f"gate {name}": [*run, "--profile", name] for name in (found.against, "fast")}
    return {**names, "gate export": export, "gate": plan}


def run(command: list[str]) -> tuple[str, float, str]:
    """(outcome, seconds, last line) of a part; its output is shown as it comes."""
    start, last = time.monotonic(), ""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
            if time.monotonic() - start > LIMIT:
                raise TimeoutError
        outcome = "ok" if process.wait(LIMIT) == 0 else f"exit {process.returncode}"
    except (TimeoutError, subprocess.TimeoutExpired):
        process.kill()
        outcome = "too long"
    return outcome, time.monotonic() - start, last[:200]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="*", choices=list(parts()))
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    arguments = parser.parse_args()
    chosen = {name: command for name, command in parts().items() if not arguments.parts or name in arguments.parts}
    if arguments.list:
        print(*(f"{name:<16}{' '.join(command)}" for name, command in chosen.items()), sep="\n")
        return 0
    RESULTS.mkdir(exist_ok=True)
    failed = 0
    with (RESULTS / "gpu_parts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("part", "outcome", "seconds", "last line"))
        for name, command in chosen.items():
            print(f"\n== {name}", flush=True)
            outcome, seconds, last = run(command)
            failed += outcome != "ok"
            writer.writerow((name, outcome, f"{seconds:.1f}", last))
            file.flush()
    print(f"\n{len(chosen) - failed} of {len(chosen)} parts ok; {RESULTS / 'gpu_parts.csv'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
