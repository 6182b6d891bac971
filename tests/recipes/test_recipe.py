"""What a recipe file may say of a training, and what a person is told who says something else."""

import pytest

from harness.errors import Problems
from harness.table import recipes


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("optimizer: {name: sgdd}", "optimizer.name: Input should be 'sgd' or 'adamw', not 'sgdd'"),
        (
            "loss: {name: hinge}",
            "loss.name: Input should be 'cross_entropy', 'ohem', 'focal', 'dice' or 'lovasz', not 'hinge'",
        ),
        ("evaluate_every: 0", "evaluate_every: Input should be greater than 0"),
    ],
)
def test_what_is_unknown_is_told_with_its_line_and_what_is_allowed(write, said, told):
    text = "mine:\n  dataset: camvid\n  iterations: 3\n  augmentation: {resize: null, crop: [32, 32]}\n"
    path = write("recipes/own.yaml", f"{text}  {said}\n")
    with pytest.raises(Problems) as refused:
        recipes.recipe("own/mine", near=path.parent.parent)
    assert f"{path}:5: mine.{told}" in str(refused.value)
