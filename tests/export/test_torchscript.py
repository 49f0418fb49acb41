from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from export.bundle import STEP_TORCHSCRIPT, read_bundle
from tests.export.conftest import small_step


@pytest.fixture(scope="module")
def program(small_bundle: Path) -> bytes:
    return read_bundle(small_bundle).read(STEP_TORCHSCRIPT)


def load(program: bytes) -> Any:
    with pytest.warns(DeprecationWarning, match=r"torch\.jit\.load"):
        return torch.jit.load(io.BytesIO(program))


def test_a_loaded_step_takes_its_inputs_by_the_names_of_the_state_spec(program: bytes) -> None:
    step, loaded = small_step(), load(program)
    assert [argument.name for argument in loaded.forward.schema.arguments] == [
        "self",
        *step.input_names,
    ]
    example = step.example()
    by_name = loaded(**dict(zip(reversed(step.input_names), reversed(example), strict=True)))
    assert all(torch.equal(a, b) for a, b in zip(by_name, loaded(*example), strict=True))


@pytest.mark.parametrize("batch", [1, 2, 5, 17])
def test_a_loaded_step_computes_the_networks_step_at_every_batch_size(
    program: bytes, batch: int
) -> None:
    step, loaded = small_step(), load(program)
    random = torch.Generator().manual_seed(batch)
    inputs = [
        torch.randn(batch, *tensor.shape[1:], generator=random).softmax(-1)
        for tensor in step.example()
    ]
    with torch.no_grad():
        for want, got in zip(step(*inputs), loaded(*inputs), strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_the_program_tells_nothing_of_the_machine_it_was_made_on(program: bytes) -> None:
    assert not re.search(rb"/(work|home|root|tmp|usr|opt)/|site-packages|debug_pkl", program)
    assert str(Path(__file__).parents[2]).encode() not in program
