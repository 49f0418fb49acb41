"""The fused step against the eager one. Runs where triton is installed: on a GPU as it is, else in
Triton's interpreter, e.g. in an environment with this project's torch for the CPU and
`pip install triton`:

    TRITON_INTERPRET=1 python -m pytest tests/model/test_fused_ntm.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.families import Activation
from model.neural_turing_machine import NeuralTuringMachine
from model.state import flatten, unflatten

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read as triton is imported
pytest.importorskip("triton", reason="triton is not installed: it comes with torch for CUDA")

from model.fused_ntm import FusedNTM  # noqa: E402

# A sigmoid's exp(-x) is infinite for x far below 0, as on a GPU; numpy, the interpreter's, says so.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")

SLOTS, BATCH, ROWS = 13, 3, 5
CHANGES: list[dict[str, Any]] = [
    {},
    {"read_heads": 1, "write_heads": 1, "sharpening": "softmax", "shift_range": 2},
]


def network_of(**changes: Any) -> NeuralTuringMachine:
    torch.manual_seed(1)
    sizes: dict[str, Any] = {"controller_size": 19, "read_heads": 2, "write_heads": 3, **changes}
    return NeuralTuringMachine(5, 4, 7, 6, **sizes).eval().requires_grad_(False).to(DEVICE)


def arrays_of(network: NeuralTuringMachine) -> list[Tensor]:
    """Slots with states of their own, 0 the initial one, all others NaN but 1 and 2."""
    arrays = [
        row.repeat(SLOTS, *[1] * (row.dim() - 1)) for row in flatten(network.initial_state(1))
    ]
    for array in arrays:
        array[3:] = float("nan")
        array[1:3] *= 0.5 + torch.rand_like(array[1:3])
    return arrays


def eager(
    network: NeuralTuringMachine, arrays: list[Tensor], src: list[int], x: Tensor, squash: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    state = unflatten(network.initial_state(1), [array[src] for array in arrays])
    y, state = network.run(x, state)
    return torch.sigmoid(y) if squash else y, flatten(state)


@pytest.mark.parametrize("changes", CHANGES, ids=["heads 2 and 3", "softmax, 5 shifts"])
@pytest.mark.parametrize("activation", ["sigmoid", "none"])
def test_rows_and_state_are_the_eager_steps(
    changes: dict[str, Any], activation: Activation
) -> None:
    network = network_of(**changes)
    arrays = arrays_of(network)
    before = [array.clone() for array in arrays]
    src, dst = [0, 2, 1], [9, 4, 11]
    x = torch.randn(BATCH, ROWS, 5, device=DEVICE)
    x[0, 0, 0] = 1e9  # counts as 1e6

    y = FusedNTM(network, activation)(arrays, *_indexes(src, dst), x)

    want, state = eager(network, before, src, x, activation == "sigmoid")
    assert torch.allclose(y, want, atol=1e-5, rtol=1e-5)
    for array, right in zip(arrays, state, strict=True):
        assert torch.allclose(array[dst], right, atol=1e-5)


def test_no_other_slot_is_written() -> None:
    network = network_of()
    arrays = arrays_of(network)
    before = [array.clone() for array in arrays]
    x = torch.randn(BATCH, ROWS, 5, device=DEVICE)

    FusedNTM(network, "none")(arrays, *_indexes([0, 2, 1], [9, 4, 11]), x)

    others = [at for at in range(SLOTS) if at not in (9, 4, 11)]
    for array, old in zip(arrays, before, strict=True):
        assert torch.equal(array[others].nan_to_num(7.0), old[others].nan_to_num(7.0))


def test_each_step_is_within_1e5_and_the_drift_of_many_is_small() -> None:
    network, rows = network_of(), 60
    fused, arrays = FusedNTM(network, "none"), arrays_of(network)
    worst = 0.0
    for _ in range(rows):
        x = torch.randint(0, 2, (2, 1, 5), device=DEVICE).float()
        want, state = eager(network, arrays, [1, 2], x, False)
        y = fused(arrays, *_indexes([1, 2], [1, 2]), x)
        pairs = zip([y, *(array[1:3] for array in arrays)], [want, *state], strict=True)
        worst = max(worst, *(float((a - b).abs().max()) for a, b in pairs))
        for array, right in zip(arrays, state, strict=True):
            array[1:3] = right  # on from the reference's state

    assert 0 < worst <= 1e-5


def test_what_it_does_not_run_is_refused() -> None:
    with pytest.raises(ValueError, match="one LSTM layer"):
        FusedNTM(network_of(controller="feedforward"), "none")
    with pytest.raises(ValueError, match="one LSTM layer"):
        FusedNTM(network_of(controller_layers=2), "none")
    with pytest.raises(ValueError, match="sigmoids or none"):
        FusedNTM(network_of(), "softmax")


def test_it_compiles_for_a_gpu_where_there_is_none(tmp_path: Path) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-m", "tests.model.fused_child"]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["80", "90"]
    assert all(int(size) > 0 and doubles == "False" for _, size, doubles in lines)


def _indexes(src: list[int], dst: list[int]) -> tuple[Tensor, Tensor]:
    return torch.tensor(src, device=DEVICE), torch.tensor(dst, device=DEVICE)
