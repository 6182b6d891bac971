"""All measurements of a store as one tidy table, for pandas and spreadsheets.

results/measurements.parquet     derived from the store's JSON files, so that only new ones are read; may be deleted
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness.errors import OutputError
from harness.files import atomic_file
from harness.jobs.outside_names import without_folder
from harness.store.store import Result, Store
from harness.text import spreadsheet_cell

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "folder": "str",
    "written": "int64",
    "key": "str",
    "identity": "str",
    "kind": "str",
    "name": "str",
    "value": "float64",
    "unit": "str",
    "convention": "str",
    "method": "str",
    "dataset": "str",
    "profile": "str",
    "seed": "int64",
    "device": "str",
    "commit": "str",
    "started": "float64",
    "seconds": "float64",
}
"""{column: dtype}. `folder`: of the job, below the store; `written`: when its result was, in ns since the epoch; `key` and
`identity`: with and without code, data and weights; `kind`: train, evaluate, complexity or latency; `name`, `value`,
`unit`, `convention`: of the measurement; `seed`: -1 where a job draws nothing; `started`: seconds since the epoch."""


def frame(store: Store) -> pd.DataFrame:
    """All measurements, one row each, with the columns of `COLUMNS`, oldest first.

    Keeps a copy in the store, where that can be written, so that the next call reads only new results.
    """
    import pandas as pd

    path = store.root / "measurements.parquet"
    previous = _stored_frame(path)
    versions = dict(zip(previous["folder"], previous["written"]))
    files = {str(p.parent.relative_to(store.root)): p for p in store.root.glob("jobs/*/*/*/result.json")}
    changed_folders = {folder for folder, file in files.items() if versions.get(folder) != _time_written(file)}
    new = [result for folder in changed_folders if (result := store.result_in(files[folder].parent)) is not None]
    outdated = {folder for folder in versions if folder in changed_folders or folder not in files}
    if not new and not outdated:
        return previous
    rows = pd.DataFrame(list(_rows(new, store.root)), columns=list(COLUMNS)).astype(COLUMNS)
    combined = pd.concat([previous[~previous["folder"].isin(outdated)], rows])
    combined = combined.sort_values(["started", "folder"], kind="stable", ignore_index=True)
    with contextlib.suppress(OutputError):  # the JSON files are the truth; the frame is complete without the copy
        write(combined, path, "parquet")
    return combined


def write(measurements: pd.DataFrame, file: Path, file_format: str) -> None:
    """Writes a frame as `csv` or `parquet`; OutputError where the file cannot be written, which leaves the old one."""
    with atomic_file(file, advice="make room or choose another file with --out") as output:
        if file_format == "parquet":
            measurements.to_parquet(output, index=False, write_page_checksum=True)
        else:
            as_csv(measurements, output)


def as_csv(measurements: pd.DataFrame, output: IO) -> None:
    """Writes a frame as CSV to an open file; see `spreadsheet_cell` for texts that look like formulas."""
    texts = [column for column, dtype in COLUMNS.items() if dtype == "str"]
    measurements.assign(**{c: measurements[c].map(spreadsheet_cell) for c in texts}).to_csv(output, index=False)


def _stored_frame(path: Path) -> pd.DataFrame:
    """The frame stored by the last call; empty where there is none, or it has other columns or is damaged."""
    import pandas as pd

    empty = pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)
    try:
        stored = pd.read_parquet(path, page_checksum_verification=True)
    except Exception:  # whatever a damaged file makes of its reader: derived data, made again from the JSON files
        return empty
    return stored if stored.dtypes.equals(empty.dtypes) else empty


def _rows(results: Iterable[Result], root: Path) -> Iterator[dict[str, Any]]:
    for result in results:
        config = result.job.config
        common = {
            "folder": str(result.folder.relative_to(root)),
            "written": _time_written(result.folder / "result.json"),
            "key": result.job.key,
            "identity": result.job.identity,
            "kind": result.job.kind,
            "method": without_folder((config.get("model") or {}).get("name", "")),
            "dataset": without_folder((config.get("data") or {}).get("name", "")),
            "profile": config.get("profile", ""),
            "seed": config.get("seed", -1),
            "device": result.environment.get("device") or "",
            "commit": result.environment.get("commit") or "",
            "started": result.started,
            "seconds": result.seconds,
        }
        for measurement in result.measurements:
            yield {**common, **measurement._asdict()}


def _time_written(path: Path) -> int:
    """When a result was written, in ns: a job that ran again has the same folder and another time."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return -1
