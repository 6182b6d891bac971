"""The switches of float32 products on a GPU, which can be set and read without one."""

import contextlib

import pytest
import torch

from harness.training.precision import Precision
from harness.training.tf32 import fp32_products


def readers() -> dict[str, object]:
    """What everybody who looks at the switches is told: torch itself by its newer names, cuDNN's own context, Inductor."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        pass
    return {
        "matmul": torch.backends.cuda.matmul.allow_tf32,
        "cudnn": torch.backends.cudnn.allow_tf32,
        "matmul fp32_precision": torch.backends.cuda.matmul.fp32_precision == "tf32",
        "conv fp32_precision": torch.backends.cudnn.conv.fp32_precision == "tf32",
        "rnn fp32_precision": torch.backends.cudnn.rnn.fp32_precision == "tf32",
        "float32_matmul_precision": torch.get_float32_matmul_precision() != "highest",
    }


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16", "fp16"])
def test_every_reader_of_the_switches_gets_the_same_answer(name, before):
    with fp32_products(tf32=before):
        Precision(name).apply()
        assert set(readers().values()) == {name == "tf32"}
        Precision("fp32").apply()
        assert set(readers().values()) == {False}


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_a_scope_ends_with_the_switches_as_they_were(name, dtype, before):
    with fp32_products(tf32=before):
        with contextlib.suppress(KeyError), Precision(name).scope():
            assert set(readers().values()) == {name == "tf32"}
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
            raise KeyError
        assert set(readers().values()) == {before}
