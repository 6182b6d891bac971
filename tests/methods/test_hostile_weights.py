"""Files that are no weights: refused with a clear error, wherever weights are read; nothing runs and nothing grows."""

from __future__ import annotations

import hashlib
import re
import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.errors import DataError, UserError
from harness.jobs.kinds import Model
from harness.training import checkpoint
from methods.backbones._common import load_file
from methods.released.importer import import_foreign
from methods.weights import read
from tests.support.hostile_weights import WEIGHTS, Grows, saved, write

MODEL = Model(name="fcn", backbone="resnet18", num_classes=2)
GROWTH = 512 << 10  # KiB that the largest memory so far may grow by


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_hostile_file_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, (_, _, words) = write(tmp_path, name), WEIGHTS[name]
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as error:
        read(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH
    text = str(error.value)
    assert text.startswith(f"{file} ")
    assert re.search(words, text), text
    assert len(text) < len(str(file)) + 500
    with pytest.raises(UserError, match="backbone 'resnet18': "):
        load_file(nn.Linear(2, 2), file, "resnet18")
    with pytest.raises(UserError, match=re.escape(str(file))):
        import_foreign(file, "sssegmentation", MODEL, tmp_path / "out")
    assert not list((tmp_path / "empty").iterdir()), "nothing ran"


@pytest.mark.parametrize("name", [1, ("a", 2), None])
def test_names_that_are_no_texts_do_not_fit(name: object, tmp_path: Path) -> None:
    torch.save({name: torch.ones(2)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"x\.pth does not fit; nothing was loaded:\n  missing weight"):
        load_file(nn.Linear(2, 2), tmp_path / "x.pth", "resnet18")


@pytest.mark.parametrize("bias", [torch.tensor(1.0), torch.ones(0), torch.ones(2, 2)])
def test_a_classifier_of_no_vector_says_no_classes(bias: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"auxiliary_decoder.4.bias": bias}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="does not say how many classes it has; give --classes"):
        import_foreign(tmp_path / "x.pth", "sssegmentation", MODEL, tmp_path / "out")


def test_an_error_names_the_first_of_very_many_problems(tmp_path: Path) -> None:
    torch.save(dict.fromkeys(map(str, range(1500)), torch.ones(1)), tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"\n  … and 502 more$") as error:
        load_file(nn.Linear(2, 2), tmp_path / "x.pth", "resnet18")
    assert len(str(error.value).splitlines()) < 1010


def test_tied_weights_and_scalars_are_weights(tmp_path: Path) -> None:
    shared = torch.randn(64, 64)
    torch.save({"a": shared, "b": shared, "steps": torch.tensor(3), "t": shared.t()}, tmp_path / "x.pth")
    torch.save({"a": shared}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read(tmp_path / "x.pth")["t"], shared.t())
    assert torch.equal(read(tmp_path / "legacy.pth")["a"], shared)


@pytest.mark.parametrize("state", [Grows(), {"a": 3}, 3, {"model": 3}])
def test_a_final_state_that_this_harness_never_wrote_is_refused(state: object, tmp_path: Path) -> None:
    """Its name has the right digest, as a file from elsewhere may."""
    content = saved(state)
    (tmp_path / f"final-00000001-{hashlib.sha256(content).hexdigest()}.pt").write_bytes(content)
    with pytest.raises(DataError, match=r"final-.* is no checkpoint of a training \(.+\); delete its folder"):
        checkpoint.load_weights(tmp_path)
