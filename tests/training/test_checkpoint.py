"""What happens to checkpoints when files are cut short, disks are full, or another training is in the folder."""

import errno
import logging
import os
import stat
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness import files
from harness.errors import DataError, Exit, Interrupted, OutputError, UserError
from harness.store import curve
from harness.training import checkpoint, random_state
from tests.support import tiny_training


def stopped_at(folder: Path, iteration: int, **options) -> None:
    asked = iter(range(1, 100))
    with pytest.raises(Interrupted):
        tiny_training.training(folder, **options).run(should_stop=lambda: next(asked) == iteration)


def test_two_are_kept_and_the_end_leaves_only_weights(tmp_path):
    stopped_at(tmp_path, 8)
    assert [saved.iteration for saved in checkpoint.listing(tmp_path)] == [6, 8]
    before = max(saved.path.stat().st_size for saved in checkpoint.listing(tmp_path))
    tiny_training.training(tmp_path).run()
    (final,) = checkpoint.listing(tmp_path)
    assert final.final
    assert final.iteration == 12
    assert final.path.stat().st_size < before
    assert set(os.listdir(tmp_path)) == {final.path.name, curve.FILE}
    assert "optimizer" not in final.read()


@given(cut=st.floats(0, 1, exclude_max=True), flip=st.booleans())
def test_corrupt_newest_falls_back_and_says_so(tmp_path_factory, cut, flip):
    folder = tmp_path_factory.mktemp("corrupt")
    checkpoint.save(folder, {"tally": 1}, 1)
    newest = checkpoint.save(folder, {"tally": 2}, 2)
    content = bytearray(newest.read_bytes())
    place = int(cut * len(content))
    if flip:
        content[place] ^= 1
    newest.write_bytes(content if flip else content[:place])
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("harness.training").addHandler(handler)
    try:
        assert checkpoint.load(folder) == {"tally": 1}
    finally:
        logging.getLogger("harness.training").removeHandler(handler)
    assert len(messages) == 1
    assert str(newest) in messages[0]
    assert "corrupt" in messages[0]


def test_training_goes_on_from_the_previous_one(tmp_path):
    tiny_training.training(tmp_path / "whole").run()
    broken = tmp_path / "broken"
    stopped_at(broken, 8)
    newest = checkpoint.listing(broken)[-1].path
    newest.write_bytes(newest.read_bytes()[:-100])
    tiny_training.training(broken, seed=1).run()
    for name, weight in checkpoint.load_weights(tmp_path / "whole").items():
        assert torch.equal(weight, checkpoint.load_weights(broken)[name])
    assert [record["iteration"] for record in curve.read(broken)] == list(range(1, 13))
    assert not list(broken.glob("*.corrupt"))


def test_corrupt_weights_are_refused(tmp_path):
    tiny_training.training(tmp_path).run()
    (final,) = checkpoint.listing(tmp_path)
    final.path.write_bytes(final.path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"corrupt or cut short.*run the training again"):
        checkpoint.load_weights(tmp_path)


def test_weights_of_an_unfinished_training_are_refused(tmp_path):
    stopped_at(tmp_path, 4)
    with pytest.raises(UserError, match="no weights of a finished training"):
        checkpoint.load_weights(tmp_path)


@pytest.mark.parametrize("room", [0, 1, 3])
def test_full_disk_keeps_the_last_good_one(tmp_path, monkeypatch, room):
    """The disk fills up `room` writes into the third checkpoint; room is made, and the training ends as it would have."""
    stopped_at(tmp_path, 6)
    with monkeypatch.context() as patch:
        fill_disk(patch, after=room)
        with pytest.raises(OutputError, match=r"disk is full.*iteration 6 is kept.*go on") as caught:
            tiny_training.training(tmp_path).run()
    assert caught.value.exit == Exit.OUTPUT
    assert [saved.iteration for saved in checkpoint.listing(tmp_path)] == [3, 6]
    assert not list(tmp_path.glob("*.tmp"))
    tiny_training.training(tmp_path, seed=3).run()
    tiny_training.training(tmp_path / "whole").run()
    for name, weight in checkpoint.load_weights(tmp_path / "whole").items():
        assert torch.equal(weight, checkpoint.load_weights(tmp_path)[name])


def fill_disk(patch, after: int) -> None:
    """Writes of checkpoints fail as on a full disk, from the given one on."""
    real, left = open, [after]

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

    def opened(path, mode="r", *arguments, **options):
        file = real(path, mode, *arguments, **options)
        return Full(file) if "checkpoint" in Path(path).name else file

    patch.setattr(files, "open", opened, raising=False)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_that_is_full(tmp_path, monkeypatch):
    """The same with the kernel's own error, not an imitation: the temporary file is a link to /dev/full."""
    checkpoint.save(tmp_path, {"x": torch.zeros(10)}, 1)
    (tmp_path / "full").symlink_to("/dev/full")
    monkeypatch.setattr(files, "temporary_path", lambda path: tmp_path / "full")
    with pytest.raises(OutputError, match=r"disk is full.*iteration 1 is kept"):
        checkpoint.save(tmp_path, {"x": torch.zeros(1_000_000)}, 2)
    assert checkpoint.load(tmp_path)["x"].shape == (10,)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(OutputError, match="Permission denied"):
        tiny_training.training(tmp_path).run()


def test_a_file_in_the_way_of_the_folder(tmp_path):
    (tmp_path / "job").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        tiny_training.training(tmp_path / "job").run()


def test_checkpoint_of_another_training_is_refused_with_the_difference(tmp_path):
    stopped_at(tmp_path, 4)
    other = tiny_training.training(tmp_path, identity={"model": "tiny", "classes": 21, "recipe": {"lr": (1, 2)}})
    with pytest.raises(UserError) as caught:
        other.run()
    assert "classes: 5 -> 21" in str(caught.value)
    assert "recipe.lr: absent -> [1, 2]" in str(caught.value)
    assert "model" not in str(caught.value).replace("the model", "")
    assert len(checkpoint.listing(tmp_path)) == 2


@given(st.integers(0, 2**40))
def test_random_state_round_trip(seed):
    import random

    import numpy as np

    def draw():
        return random.random(), np.random.rand(), np.random.randn(), torch.rand(3).tolist(), torch.randn(1).item()

    random_state.seed_everything(seed)
    np.random.randn()  # leaves a second normal number in NumPy's generator, which is part of its state
    state = random_state.capture()
    first = draw()
    random_state.seed_everything(seed + 1)
    assert draw() != first
    random_state.restore(state)
    assert draw() == first
