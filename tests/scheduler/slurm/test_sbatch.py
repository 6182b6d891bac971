"""What is handed to Slurm, as text; what comes back; and that nothing a person wrote reaches a shell unquoted."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
import submitit
from hypothesis import given
from hypothesis import strategies as st

from harness import ROOT
from harness.errors import UserError
from harness.scheduler.code_snapshot import snapshot
from harness.scheduler.slurm.causes import Retries, TaskState, cause_of
from harness.scheduler.slurm.cluster_file import Cluster
from harness.scheduler.slurm.controller import Controller, _expanded
from harness.scheduler.slurm.sbatch import Shape, batches, hand_over, parameters
from tests.support.fake_slurm import job

GOLDEN = ROOT / "tests/fixtures/sbatch/distributed.sh"
TYPED = GOLDEN.with_name("typed_gpus.sh")
CLUSTER = Cluster(
    title="x",
    partition="gpu",
    account="vision",
    nodes=2,
    gpus=8,
    cpus=12,
    constraint="a40|a100",
    setup=('source "$HOME/env"',),
    environment={"ODD": "it's $HOME `x`\n"},
    options={"mail-user": "a b@example.org"},
)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Commands of Slurm that print what the test says and write down what they were called with."""

    def make(**said: str) -> Path:
        for name, text in said.items():
            path = tmp_path / "bin" / name
            path.parent.mkdir(exist_ok=True)
            (tmp_path / f"{name}.txt").write_text(text)
            path.write_text(
                f'#!/bin/sh\nprintf "%s\\n" "$@" > "{tmp_path}/{name}.called"\ncat "{tmp_path}/{name}.txt"\n'
            )
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
        return tmp_path

    return make


def script(cluster: Cluster, shape: Shape, code: Path, where: Path, count: int = 3) -> str:
    """The text that submitit hands to sbatch for an array."""
    given = parameters(cluster, shape, "h20260101-000000-000000-abcd-0", code, "aftercorr:7")
    hand_over(
        where, print, [[str(i) for i in range(count)]], given, cluster.model_copy(update={"python": "/opt/python"})
    )
    (text,) = where.glob("*_submission.sh")
    return text.read_text()


def test_the_text_is_the_golden_one(tools, tmp_path: Path):
    tools(sbatch="Submitted batch job 42\n", srun="")
    text = script(CLUSTER, Shape(True, False, 64, 4000), Path("/shared/it's $code"), tmp_path / "where")
    text = text.replace(str(tmp_path), "/shared")
    assert text == GOLDEN.read_text(), "sbatch's text changed; if it was meant to, copy it to golden/distributed.sh"


def test_the_text_with_typed_gpus_is_the_golden_one(tools, tmp_path: Path):
    """One kind of GPU for a job on one of them; nothing else asks for GPUs."""
    tools(sbatch="Submitted batch job 42\n", srun="")
    cluster = Cluster.model_validate({"title": "x", "partition": "gpu", "gres": "gpu:h100:4,lscratch:100"})
    text = script(cluster, Shape(False, False, 64, 4000), Path("/shared/code"), tmp_path / "where")
    assert text.replace(str(tmp_path), "/shared") == TYPED.read_text(), "copy it to golden/typed_gpus.sh if meant"
    whole = parameters(cluster, Shape(True, False, 64, 4000), "n", Path("/c"), None)
    assert whole["additional_parameters"]["gres"] == "gpu:h100:4,lscratch:100"
    assert (whole["ntasks_per_node"], "gpus_per_node" in whole) == (4, False)


@pytest.mark.parametrize("odd", ["a b", "it's", 'say "x"', "$HOME", "`id`", "a;b", "a&b", "a|b", "~x", "*"])
def test_odd_paths_reach_bash_as_they_are(tools, tmp_path: Path, odd: str):
    tools(sbatch="Submitted batch job 42\n", srun="")
    code = tmp_path / odd
    code.mkdir()
    cluster = CLUSTER.model_copy(update={"environment": {"ODD": odd + "\n$x"}, "setup": ()})
    text = script(cluster, Shape(False, False, 8, 100), code, tmp_path / f"{odd} where")
    body = text[: text.index("\n# command")] + '\npwd; printf "%s" "$ODD"\n'
    done = subprocess.run(["bash", "-c", body], capture_output=True, text=True, check=True)
    assert done.stdout == f"{code}\n{odd}\n$x"
    flags = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert all(len(shlex.split(line.removeprefix("#SBATCH "))) == 1 for line in flags)


@pytest.mark.parametrize("odd", ["100%", "a\nb", "a\\b"])
def test_paths_that_slurm_cannot_write_to_are_refused(tools, tmp_path: Path, odd: str):
    tools(sbatch="Submitted batch job 42\n", srun="")
    with pytest.raises(UserError, match="choose --results"):
        script(CLUSTER, Shape(False, False, 8, 100), tmp_path, tmp_path / odd)


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True), st.text(max_size=20)))
def test_any_value_of_the_environment_is_one_word(values: dict[str, str]):
    cluster = Cluster(title="x", partition="p", environment=values)
    setup = parameters(cluster, Shape(False, False, 8, 100), "n", Path("/c"), None)["setup"]
    for line, (name, value) in zip(setup, values.items()):
        if "\0" not in value:
            assert shlex.split(line) == ["export", f"{name}={value}"]


def test_a_front_end_inside_a_job_does_not_colour_what_it_submits(tools, tmp_path: Path, monkeypatch):
    root = tools(sbatch="Submitted batch job 42\n", srun="")
    sbatch = root / "bin/sbatch"
    sbatch.write_text(f'#!/bin/sh\nenv > "{root}/environment"\necho Submitted batch job 42\n')
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    script(CLUSTER, Shape(False, False, 8, 100), tmp_path, tmp_path / "where")
    seen = (root / "environment").read_text()
    assert "SLURM_RESTART_COUNT" not in seen
    assert "SLURM_CONF=/etc/slurm.conf" in seen


def test_submitit_is_the_version_whose_text_this_is():
    assert submitit.__version__ >= "1.5"


# ------------------------------------------------------------------------------------------------------------- batches


def test_arrays_keep_within_the_cluster_s_size():
    jobs = [job(f"j{i}") for i in range(25)]
    made = batches(jobs, lambda job: Shape(False, False, 8, 100), 10, {}, ())
    assert [len(batch.jobs) for batch in made] == [10, 10, 5]


def test_jobs_that_ask_for_different_things_are_different_arrays():
    jobs = [job("a"), job("b"), job("c")]
    shapes = {jobs[0].key: 8, jobs[1].key: 16, jobs[2].key: 8}
    made = batches(jobs, lambda job: Shape(False, False, shapes[job.key], 100), 10, {}, ())
    assert [[j.config["model"]["name"] for j in batch.jobs] for batch in made] == [["a", "c"], ["b"]]


def test_what_is_measured_already_is_not_waited_for():
    train = job("t", "train")
    (batch,) = batches([job("e", "evaluate", train)], lambda job: Shape(False, False, 8, 100), 10, {}, {train.key})
    assert batch.after is None
    assert not batch.tasks


# ------------------------------------------------------------------------------------------------------------- answers


def row(task: str, name: str, state: str, reason: str = "None", code: str = "0", node: str = "n1") -> str:
    return f"{task:>40}{name:>60}{state:>30}{reason:>60}{code:>20}{node:>100}\n"


def test_the_queue_is_read_and_strangers_with_our_numbers_are_not(tools):
    text = row("7_0", "ours", "RUNNING") + row("7_1", "ours", "FAILED", "NonZeroExitCode", "35072")
    text += row("8_0", "somebody else's", "FAILED")
    root = tools(squeue=text)
    controller = Controller(_accounts=False)
    states = controller.states(["7", "8"], {"7": "ours", "8": "ours, too"})
    assert states == {
        "7_0": TaskState("RUNNING", "None", 0, 0, "n1"),
        "7_1": TaskState("FAILED", "NonZeroExitCode", 137, 0, "n1"),
    }
    assert "--jobs=7,8" in (root / "squeue.called").read_text()
    assert controller.questions == 1


def test_accounting_is_asked_first_where_there_is_any(tools):
    lines = [
        "7_0|ours|CANCELLED by 0|0:15|n1|None",
        "7_1|ours|OUT_OF_MEMORY|0:125|n2|None",
        "7_[2-4,6%2]|ours|PENDING|0:0|None|Priority",
    ]
    tools(sacct="\n".join(lines), squeue="")
    controller = Controller()
    states = controller.states(["7"], {"7": "ours"})
    assert states["7_0"].state == "CANCELLED"
    assert {task for task, seen in states.items() if seen.live} == {"7_2", "7_3", "7_4", "7_6"}
    assert (states["7_1"].state, states["7_1"].signal, states["7_1"].node) == ("OUT_OF_MEMORY", 125, "n2")
    assert controller.questions == 1


def test_what_accounting_does_not_know_yet_the_queue_knows(tools):
    """It hears of jobs some time after the controller does."""
    root = tools(sacct="7_0|ours|RUNNING|0:0|n1|None", squeue=row("8", "new", "PENDING", "Priority"))
    states = Controller().states(["7", "8"], {"7": "ours", "8": "new"})
    assert {task: seen.state for task, seen in states.items()} == {"7_0": "RUNNING", "8": "PENDING"}
    assert "--jobs=8" in (root / "squeue.called").read_text()


def ranges(tasks: list[int]) -> str:
    """As Slurm writes the waiting tasks of an array: runs of neighbours as ranges."""
    runs: list[list[int]] = []
    for i in tasks:
        if runs and runs[-1][-1] == i - 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


@given(st.sets(st.integers(0, 300), min_size=1), st.sampled_from(["", "%4"]))
def test_waiting_tasks_are_all_seen(tasks: set[int], limit: str):
    """One that is not seen would count as lost, and be submitted again beside the first."""
    assert _expanded(f"7_[{ranges(sorted(tasks))}{limit}]") == [f"7_{i}" for i in sorted(tasks)]


@pytest.mark.parametrize(
    ("text", "tasks"), [("7_[4-20:16]", [4, 20]), ("7_[0-8:4%2]", [0, 4, 8]), ("7_[1]", [1]), ("7_[0-2]%3", [0, 1, 2])]
)
def test_waiting_tasks_in_steps(text: str, tasks: list[int]):
    assert _expanded(text) == [f"7_{i}" for i in tasks]


def test_long_lists_of_tasks_are_asked_for_whole(tools):
    """sacct writes at most 64 characters of them unless told otherwise."""
    root = tools(sacct="7_0|ours|RUNNING|0:0|n1|None")
    (root / "bin/sacct").write_text(f'#!/bin/sh\necho "$SLURM_BITSTR_LEN" > "{root}/length"\n')
    Controller().states(["7"], {"7": "ours"})
    assert (root / "length").read_text() == "0\n"


def test_where_accounting_is_off_the_queue_is_asked_and_accounting_no_more(tools):
    root = tools(sacct="", squeue=row("7", "ours", "PENDING", "Priority"))
    (root / "bin/sacct").write_text("#!/bin/sh\necho Slurm accounting storage is disabled >&2\nexit 1\n")
    controller = Controller()
    for _ in range(3):
        assert controller.states(["7"], {"7": "ours"}) == {"7": TaskState("PENDING", "Priority", 0, 0, "n1")}
    assert controller.questions == 4


def test_no_answer_is_no_answer(tools):
    root = tools(squeue="")
    (root / "bin/squeue").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    assert Controller().states(["7"], {"7": "ours"}) is None


def test_accounting_loses_the_signal_and_srun_tells_it():
    """sacct prints exit code 137 as 9:0."""
    seen = TaskState("FAILED", exit_code=9)
    assert cause_of(seen, has_started=True, has_saved=False, log="srun: error: n1: task 0: Killed\n") == (
        "killed",
        "killed: Killed",
    )
    assert cause_of(seen, has_started=True, has_saved=False, log="")[0] == "failed"


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0", "out of memory"),
        ("slurmstepd: error: StepId=7.0 exceeded memory limit (1 > 0), being killed", "out of memory"),
        ("srun: error: n1: task 0: Killed", "killed"),
    ],
)
def test_the_log_tells_memory_from_murder(log: str, cause: str):
    assert cause_of(TaskState("FAILED", "", 137), has_started=True, has_saved=False, log=log)[0] == cause


def test_every_cause_has_its_bound():
    retries = Retries()
    assert not retries.can_retry("exception", {})
    assert not retries.can_retry("cancelled", {})
    assert retries.can_retry("node failure", {"node failure": 4})
    assert not retries.can_retry("node failure", {"node failure": 5})


# ------------------------------------------------------------------------------------------------------------ snapshot


def test_a_snapshot_is_the_code_and_is_made_once(tmp_path: Path):
    for name in ("harness/__init__.py", "harness/a.py", "methods/b.py"):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text(f"# {name}\n")
    first = snapshot(tmp_path / "shelf", root=tmp_path / "here")
    assert (first / "harness/a.py").read_text() == "# harness/a.py\n"
    assert snapshot(tmp_path / "shelf", root=tmp_path / "here") == first
    (tmp_path / "here/harness/a.py").write_text("# changed\n")
    second = snapshot(tmp_path / "shelf", root=tmp_path / "here")
    assert second != first
    assert (first / "harness/a.py").read_text() == "# harness/a.py\n"
