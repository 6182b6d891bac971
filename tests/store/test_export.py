"""All measurements as one table: it keeps up with the JSON files, and is written or printed whole."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import harness.store.store
from harness import ROOT
from harness.cli.main import main
from harness.files import read_json
from harness.store.export import COLUMNS, frame
from harness.store.store import Store
from tests.store.test_store import finish, job
from tests.support.waiting import PATIENCE


def test_the_frame_is_tidy(store: Store):
    finish(store, job(3, method="pspnet"), 31.5, 40.0, started=5.0)
    measurements = frame(store)
    assert list(measurements["name"]) == ["miou", "macc"]
    row = measurements.iloc[0]
    expected = {
        "kind": "train",
        "method": "pspnet",
        "dataset": "camvid",
        "profile": "smoke",
        "seed": 3,
        "value": 31.5,
        "unit": "%",
        "device": "cpu: test",
        "commit": "abc",
        "started": 5.0,
        "key": job(3, method="pspnet").key,
    }
    assert {name: row[name] for name in expected} == expected
    assert (measurements["value"].dtype, measurements["seed"].dtype) == ("float64", "int64")
    assert not measurements.isna().to_numpy().any()


def test_an_empty_store_has_a_frame_with_all_columns(store: Store):
    measurements = frame(store)
    assert measurements.empty
    assert {"key", "name", "value", "unit", "convention", "method"} <= set(measurements.columns)


def test_the_frame_reads_only_what_is_new(store: Store, monkeypatch: pytest.MonkeyPatch):
    for number in range(5):
        finish(store, job(number), float(number))
    assert len(frame(store)) == 5
    finish(store, job(9), 9.0)
    read: list[Path] = []

    def counting(path: Path):
        read.append(path)
        return read_json(path)

    monkeypatch.setattr(harness.store.store, "read_json", counting)
    assert sorted(frame(store)["value"]) == [0.0, 1.0, 2.0, 3.0, 4.0, 9.0]
    assert [p.parent for p in read] == [store.folder(job(9))]
    read.clear()
    frame(store)
    assert read == []


def test_the_frame_forgets_what_was_deleted_and_sees_what_ran_again(store: Store):
    finish(store, job(0), 1.0)
    finish(store, job(1), 2.0)
    frame(store)
    (store.folder(job(0)) / "result.json").unlink()
    assert list(frame(store)["value"]) == [2.0]
    path = store.folder(job(1)) / "result.json"
    path.unlink()
    finish(store, job(1), 7.0)
    os.utime(path, ns=(1, 1))
    assert list(frame(store)["value"]) == [7.0]


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"no parquet", None])
def test_a_damaged_compaction_is_made_anew(store: Store, damage: bytes | None):
    finish(store, job(), 1.0)
    frame(store)
    path = store.root / "measurements.parquet"
    if damage is None:
        import pandas as pd

        pd.DataFrame({"other": [1]}).to_parquet(path)
    else:
        path.write_bytes(damage)
    assert list(frame(store)["value"]) == [1.0]


WRITER = """
import sys
from pathlib import Path
from tests.store.test_store import Store, finish, job
from harness.store.export import frame
store, own = Store(Path(sys.argv[1])), int(sys.argv[2])
for i in range(40):
    finish(store, job(1000 * own + i), float(i))
    finish(store, job(7), float(own))
    if i % 10 == 0:
        assert not frame(store).empty
"""


@pytest.mark.slow
def test_two_processes_at_once_lose_nothing(store: Store):
    """Both write forty results of their own and fight over one more and over the Parquet file."""
    arguments = [sys.executable, "-c", WRITER, str(store.root)]
    writers = [subprocess.Popen([*arguments, str(own)], cwd=ROOT, stderr=subprocess.PIPE) for own in (1, 2)]
    for writer in writers:
        _, errors = writer.communicate(timeout=PATIENCE)
        assert writer.returncode == 0, errors.decode()
    measurements = frame(store)
    assert set(measurements["seed"]) == {7} | {1000 * own + i for own in (1, 2) for i in range(40)}
    assert len(measurements) == 81
    assert not [p for p in store.root.rglob(".*") if p.is_file()]
    assert all(json.loads(p.read_text())["schema"] == 1 for p in store.root.rglob("result.json"))


def test_a_full_disk_does_not_cost_the_frame(store: Store, monkeypatch: pytest.MonkeyPatch):
    import pandas as pd

    finish(store, job(), 1.0)

    def full(frame, path, **options):
        path.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    assert list(frame(store)["value"]) == [1.0]
    assert not list(store.root.glob("*parquet*"))
    assert not list(store.root.glob(".*parquet*"))


# ------------------------------------------------------------------------------------------- as a file and in a notebook


def test_a_notebook_gets_the_frame_and_importing_the_harness_loads_no_pandas(store: Store):
    finish(store, job(3), 31.5)
    measurements = harness.results(store.root)
    assert list(measurements.columns) == list(COLUMNS)
    assert measurements.query("name == 'miou'")["value"].item() == 31.5
    code = "import sys, harness; sys.exit('pandas' in sys.modules or 'pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_measurements_are_printed_as_csv_oldest_first(store: Store, capsys: pytest.CaptureFixture[str]):
    import pandas as pd

    for number, started in ((1, 20.0), (2, 10.0), (3, 30.0)):
        finish(store, job(number), float(number), 0.5, started=started)
    assert main(["export", "--results", str(store.root)]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(table.columns) == list(COLUMNS)
    assert list(table["seed"]) == [2, 2, 1, 1, 3, 3]
    assert list(table["name"]) == ["miou", "macc"] * 3


@pytest.mark.parametrize(("file_format", "read"), [("csv", "read_csv"), ("parquet", "read_parquet")])
def test_measurements_are_written_to_a_file(
    store: Store, capsys: pytest.CaptureFixture[str], file_format: str, read: str
):
    import pandas as pd

    finish(store, job(), 1.0)
    file = store.root.parent / "new" / f"all.{file_format}"
    assert main(["export", "--format", file_format, "--out", str(file), "--results", str(store.root)]) == 0
    assert capsys.readouterr().out == f"written: {file} (1 measurements)\n"
    assert list(getattr(pd, read)(file)["value"]) == [1.0]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_an_export_says_what_is_wrong(store: Store, capsys: pytest.CaptureFixture[str]):
    results = ["--results", str(store.root)]
    assert main(["export", *results]) == 5
    assert capsys.readouterr().out == ",".join(COLUMNS) + "\n"
    assert main(["export", "--format", "parquet", *results]) == 2
    assert "--out FILE" in capsys.readouterr().err
    assert main(["export", "--format", "excel", *results]) == 2
    assert "invalid choice 'excel'" in capsys.readouterr().err
    (store.root / "file").write_text("")
    assert main(["export", "--out", str(store.root / "file" / "all.csv"), *results]) == 4
    assert "cannot be written" in capsys.readouterr().err
