"""The fused step as a runtime. Runs where tests/model/test_fused_ntm.py does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from export.bundle import WEIGHTS, Bundle, read_bundle
from export.parity import reference
from export.step import StepModule
from model.families import restore
from service.engine import runtime as runtimes
from service.engine.models import pick_backend
from service.engine.runtime import BackendError, Runtime
from service.settings import Settings
from tests.bundles import make_bundle

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read as triton is imported
pytest.importorskip("triton", reason="triton is not installed: it comes with torch for CUDA")

# A sigmoid's exp(-x) is infinite for x far below 0, as on a GPU; numpy, the interpreter's, says so.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")

FUSED = Settings(runtime="fused")
SIZES: dict[str, Any] = {"input_size": 5, "output_size": 4, "memory_size": 7, "memory_width": 6}
ROWS = 3


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles") / "small"
    make_bundle(folder, weights=True, controller_size=11, **SIZES)
    return read_bundle(folder)


@pytest.fixture(scope="module")
def runtime(small: Bundle) -> Runtime:
    backend, _ = pick_backend(small, FUSED)
    initial = list(small.initial_state().values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtimes, "PROBED_TICKS", 2)  # the interpreter takes a tenth of a second each
        return Runtime(backend, small.manifest.state, 5, slots=6, max_batch=2, initial=initial)


def eager(bundle: Bundle, x: np.ndarray) -> list[list[np.ndarray]]:
    """What each row of one session comes to: y and the state, with a batch axis of 1."""
    card = bundle.manifest.card
    network = restore(bundle.manifest.family, card["network"], bundle.read(WEIGHTS))
    step = StepModule(network, card["activation"])
    state = [array[None] for array in bundle.initial_state().values()]
    outputs: list[list[np.ndarray]] = []
    for row in x:
        outputs.append(reference(step, [row[None], *state]))
        state = outputs[-1][1:]
    return outputs


def test_rows_states_and_what_is_watched_are_the_eager_steps(
    small: Bundle, runtime: Runtime
) -> None:
    x = np.random.default_rng(0).random((2, ROWS, 5), np.float32)
    memory = [tensor.role for tensor in runtime.spec].index("memory")

    plain = runtime.step([0, 0], [1, 2], x)
    watched = runtime.step([0, 0], [3, 4], x, [memory])

    for member in range(2):
        want = eager(small, x[member])
        y = np.concatenate([row[0] for row in want])
        np.testing.assert_allclose(plain.y[member], y, atol=1e-5)
        seen = np.concatenate([row[1 + memory] for row in want])
        np.testing.assert_allclose(watched.watched[0][member], seen, atol=1e-5)
        for array, right in zip(runtime.save(1 + member), want[-1][1:], strict=True):
            np.testing.assert_allclose(array, right[0], atol=1e-5)
        for array, right in zip(runtime.save(1 + member), runtime.save(3 + member), strict=True):
            assert array.tobytes() == right.tobytes()


def test_a_row_is_the_same_in_any_batch_and_nothing_is_padded(runtime: Runtime) -> None:
    x = np.random.default_rng(1).random((2, 1, 5), np.float32)

    together = runtime.step([0, 0], [1, 2], x).y
    alone = [runtime.step([0], [3], x[at : at + 1]).y for at in range(2)]

    assert runtime.multiple == 1
    assert together.tobytes() == np.concatenate(alone).tobytes()


def test_a_prediction_changes_no_slot(runtime: Runtime) -> None:
    before = [runtime.save(slot) for slot in range(6)]
    x = np.random.default_rng(2).random((2, ROWS, 5), np.float32)

    y = runtime.step([0, 0], [], x).y

    assert np.isfinite(y).all() and not np.array_equal(y[0], y[1])
    for slot, saved in enumerate(before):
        for array, right in zip(runtime.save(slot), saved, strict=True):
            assert array.tobytes() == right.tobytes()


def test_a_network_that_has_none_is_refused(small: Bundle, tmp_path: Path) -> None:
    make_bundle(tmp_path, weights=True, controller="feedforward", **SIZES)
    with pytest.raises(BackendError, match="one LSTM layer"):
        pick_backend(read_bundle(tmp_path), FUSED)
    other = replace(small, manifest=replace(small.manifest, family="lstm"))
    with pytest.raises(BackendError, match="lstm"):
        pick_backend(other, FUSED)
