"""Methods that fork, or whose words or names are odd: every job ends as it went, with its cause in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import ROOT
from harness.errors import UserError
from harness.files import read_json, write_json
from harness.scheduler.transport import Event
from harness.scheduler.worker import explain
from harness.store.store import Store
from methods.registry import find
from tests.scheduler import test_local
from tests.support.odd_methods import HALF, Mute

METHODS = ROOT / "tests/support/odd_methods.py"
FAIL = {  # context: what the failure says
    "half_letters": r"ValueError: no file caf\udce9",
    "several": "BaseExceptionGroup: several (2 sub-exceptions)",
    "mute": "Mute: its message cannot be made (RuntimeError)",
    "closes_streams": "ValueError: nobody hears this",
}
FINISH = ("prints_half_letters", "forks", "fork_fails")
Company = tuple[Store, dict[str, test_local.Job], dict[str, Event]]


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """All of them, run together."""
    store = Store(tmp_path_factory.mktemp("odd"))
    store.prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_local, "MISBEHAVING", METHODS)
        jobs = {name: test_local.job(name) for name in [*FAIL, *FINISH, "long"]}
    return store, jobs, test_local.run(store, list(jobs.values()))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAIL)
def test_a_failure_is_told_whatever_its_words_are(company: Company, name: str) -> None:
    store, jobs, ended = company
    failure = ended[jobs[name].key].failure
    assert failure is not None
    assert (failure.cause, failure.message) == ("exception", FAIL[name])
    assert store.failure(jobs[name]) == failure
    assert "Traceback" in Path(failure.log).read_text(encoding="utf-8")


def test_a_long_message_is_cut_and_whole_in_the_log(company: Company) -> None:
    _, jobs, ended = company
    failure = ended[jobs["long"].key].failure
    assert failure is not None
    assert failure.message.endswith("x … (in full in the log)")
    assert len(failure.message) < 30_000
    assert len(Path(failure.log).read_text()) > 10_000_000


@pytest.mark.parametrize("name", FINISH)
def test_a_job_finishes_once(company: Company, name: str) -> None:
    store, jobs, ended = company
    assert ended[jobs[name].key].state == "done"
    result = store.result(jobs[name])
    assert result is not None
    assert result.value("parameters").value == 1.0
    assert store.failure(jobs[name]) is None


@pytest.mark.parametrize(("name", "why"), [("forks", ""), ("fork_fails", " with ValueError: in the copy")])
def test_a_copy_of_a_job_is_ended_and_the_log_says_so(company: Company, name: str, why: str) -> None:
    store, jobs, _ = company
    log = (store.folder(jobs[name]) / "log.txt").read_text()
    words = f"a copy of this job's process, made by os.fork, came back into the job{why}; the copy is ended here"
    assert log.count(words) == 1


def test_the_copy_wrote_nothing(company: Company) -> None:
    """Of the two, one counted and one stored."""
    store, jobs, _ = company
    record = read_json(store.folder(jobs["fork_fails"]) / "result.json")
    assert record is not None
    assert not list(store.folder(jobs["fork_fails"]).glob("failure*"))


def test_records_with_half_letters_come_back_the_same(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"name": HALF, "other": "图片é"})
    assert read_json(tmp_path / "x.json") == {"name": HALF, "other": "图片é"}
    assert "图片é" in (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.dumps(explain(Mute(), "log").message)


def test_a_file_whose_name_no_module_can_have_is_refused(tmp_path: Path) -> None:
    text = METHODS.read_text(encoding="utf-8")
    for name in (f"{'n' * 200}.py", "__init__.py"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="the file's name is too long for a module's; at most 150 bytes"):
        find(f"{tmp_path}/{'n' * 200}.py:forks", "context")
    with pytest.raises(UserError, match=r"a package's __init__\.py cannot be named; put it into a file beside that"):
        find(f"{tmp_path}/__init__.py:forks", "context")


@pytest.mark.parametrize(
    "name", ["my method.py", "a.b.py", "图片é.py", "a'b.py", "-x.py", "1.py", "class.py", "a\nb.py"]
)
def test_other_odd_names_are_names(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(METHODS.read_text(encoding="utf-8"), encoding="utf-8")
    assert find(f"{tmp_path / name}:forks", "context").load()
