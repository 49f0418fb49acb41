"""States as strings of bytes: one and many alike, in the order of the spec."""

from __future__ import annotations

import numpy as np
import pytest

from model.state import TensorSpec
from service.engine.packing import overridden, pack, pack_all, unpack, unpack_all
from service.errors import InvalidRequest, NotFinite, WrongShape

SPEC = (
    TensorSpec("memory", (5, 3), "memory"),
    TensorSpec("count", (), "other"),
    TensorSpec("usage", (7,), "usage"),
)
SIZE = 4 * (15 + 1 + 7)


def noise(seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [np.asarray(random.normal(size=tensor.dims), np.float32) for tensor in SPEC]


def test_a_state_is_its_tensors_one_after_the_other() -> None:
    state = noise(0)
    assert pack(state) == b"".join(array.tobytes() for array in state)
    assert len(pack(state)) == SIZE


@pytest.mark.parametrize("count", [1, 2, 9])
def test_many_states_are_packed_as_each_alone(count: int) -> None:
    states = [noise(seed) for seed in range(count)]
    together = [np.stack(arrays) for arrays in zip(*states, strict=True)]

    assert pack_all(together) == [pack(state) for state in states]
    for array, back in zip(together, unpack_all(SPEC, pack_all(together)), strict=True):
        assert back.shape == array.shape and back.tobytes() == array.tobytes()
    for state in states:
        for array, back in zip(state, unpack(SPEC, pack(state)), strict=True):
            assert back.shape == array.shape and back.tobytes() == array.tobytes()


def test_arrays_that_do_not_lie_in_one_piece_are_packed_as_they_read() -> None:
    state = noise(3)
    state[0] = np.asarray(np.random.default_rng(4).normal(size=(3, 5)), np.float32).T
    want = state[0].copy()

    assert np.array_equal(unpack(SPEC, pack(state))[0], want)
    assert pack_all([array[None] for array in state]) == [pack(state)]


def test_a_state_of_another_length_is_refused_among_many() -> None:
    good = pack(noise(0))
    for bad in (good[:-4], good + b"\0\0\0\0", b""):
        with pytest.raises(ValueError, match=f"expected {SIZE} bytes of state, got {len(bad)}"):
            unpack_all(SPEC, [good, bad])


def test_some_tensors_of_the_initial_state_are_replaced() -> None:
    initial, given = noise(0), noise(1)
    got = unpack(SPEC, overridden(SPEC, initial, {"usage": given[2].tobytes()}))
    want = [initial[0], initial[1], given[2]]
    assert [array.tobytes() for array in got] == [array.tobytes() for array in want]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"memoir": b""}, InvalidRequest),
        ({"count": b"\0\0"}, WrongShape),
        ({"count": np.float32(np.nan).tobytes()}, NotFinite),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(
    given: dict[str, bytes], error: type[Exception]
) -> None:
    with pytest.raises(error, match="state"):
        overridden(SPEC, noise(0), given)
