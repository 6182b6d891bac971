"""Datasets on a node's own disk: found by the node's variables, and compared with what the job was planned with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.data.synthetic import synthesize
from harness.errors import UserError
from harness.jobs.job import Job
from harness.jobs.key import Code
from harness.jobs.kinds import Data, EvaluateConfig, Model
from harness.plan.keys import KeyParts
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import TestProtocol
from harness.scheduler.worker import Request, _check_declaration


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A job that was planned with the data in `shared`, to run on a node that has a copy of them in `local`."""
    synthesize("camvid", tmp_path / "shared", scenes=Synthetic(train_images=1, test_images=1, size=(16, 24)))
    shutil.copytree(tmp_path / "shared", tmp_path / "local")
    monkeypatch.setenv("NODE_DISK", str(tmp_path))
    model = Model(name="fcn", num_classes=11, backbone="resnet18")
    config = EvaluateConfig(model=model, data=Data(name="camvid"), protocol=TestProtocol(), profile="own", seed=0)
    parts, reasons = KeyParts(Code(), tmp_path / "shared", tmp_path / "cache").of("evaluate", config)
    assert reasons == []
    job = Job("evaluate", config.model_dump(mode="json"), "k" * 64, "i" * 64, parts)
    return Request(job, str(tmp_path / "results"), "$NODE_DISK/local", "cpu", 1, data_copied=True)


def test_a_copy_on_the_node_is_used_where_it_is_the_same(request_of: Request, tmp_path: Path):
    context = request_of.context(tmp_path, [])
    assert context.data_dir == tmp_path / "local"
    _check_declaration(request_of, context)


def test_another_copy_is_refused_with_what_to_do(request_of: Request, tmp_path: Path):
    image = next(path for path in (tmp_path / "local").rglob("*.png"))
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"the copy of dataset 'camvid' at .*local.* is not what .*rsync -a --delete"):
        _check_declaration(request_of, request_of.context(tmp_path, []))


def test_a_request_with_a_copy_survives_its_file(request_of: Request, tmp_path: Path):
    request_of.write(tmp_path)
    assert Request.read(tmp_path) == request_of
