"""Which weights the trainings of a row started from, as a report prints it."""

import pytest

from reports.formats.details import _weights


@pytest.mark.parametrize(
    ("source", "key_part", "text"),
    [
        (False, {}, "random weights"),
        (True, {}, "pretrained weights"),  # not trained yet
        (True, {"timm": "resnet50c.gluon_in1k", "sha256": "0123456789abcdef"}, "timm's resnet50c.gluon_in1k"),
        (True, {"file": "0123456789abcdef"}, "pretrained weights"),
        ("elsewhere/mine.pth", {}, "the file mine.pth"),
        ("elsewhere/mine.pth", {"file": "0123456789abcdef"}, "the file mine.pth"),
    ],
)
def test_weights_are_named_with_their_digest_where_they_were_used(source, key_part, text):
    assert _weights(source, key_part) == text + (" (SHA-256 0123456789ab…)" if key_part else "")
