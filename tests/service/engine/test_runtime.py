"""A row's result depends on its own slot alone, on every backend, bit for bit."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.bundle import STEP_ONNX, Bundle
from model.state import StateSpec, TensorSpec
from service.engine.arena import INITIAL
from service.engine.onnx import OnnxCpu
from service.engine.runtime import BackendError, Floats, Runtime, StepOutput
from tests.service.engine.conftest import MAX_BATCH, MakeRuntime, make_backend
from tests.service.engine.driver import fill, rows_of

State = list[NDArray[Any]]
ROWS = 2  # a call, where it matters only that there is more than one


def same(left: State, right: State) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True))


def noise(runtime: Runtime, seed: int) -> State:
    """A state unlike the initial one, whose weights still sum to about 1."""
    random = np.random.default_rng(seed)
    return [
        array * random.uniform(0.5, 1.5, array.shape).astype(array.dtype)
        for array in runtime.save(INITIAL)
    ]


def test_a_loaded_slot_is_saved_as_it_was(runtime: Runtime) -> None:
    states = {slot: noise(runtime, slot) for slot in (1, 2, 15)}
    for slot, state in states.items():
        runtime.load(slot, state)

    for slot, state in states.items():
        saved = runtime.save(slot)
        assert [(a.shape, a.dtype) for a in saved] == [(t.dims, t.dtype) for t in runtime.spec]
        assert same(saved, state)


def test_a_copied_slot_holds_the_same_and_goes_its_own_way(runtime: Runtime) -> None:
    runtime.load(1, noise(runtime, 1))
    before = runtime.save(1)

    runtime.copy(1, 2)
    runtime.step([2], [2], rows_of(0, ROWS)[None])

    assert same(runtime.save(1), before)
    assert not same(runtime.save(2), before)


def test_a_saved_state_does_not_change_when_its_slot_does(runtime: Runtime) -> None:
    runtime.load(1, noise(runtime, 1))
    saved = runtime.save(1)
    kept = [array.copy() for array in saved]

    fill(runtime, [1], 7.0)

    assert same(saved, kept)


def test_a_row_alone_equals_the_row_in_every_bucket_and_position(runtime: Runtime) -> None:
    count, ticks = MAX_BATCH, 24
    x = rows_of(0, count * ticks).reshape(count, ticks, -1)
    x[::2] = x[::2] > 0  # half of them bits, as the copy task has them
    src, dst = np.arange(1, count + 1), np.arange(count + 1, 2 * count + 1)
    for slot in src.tolist():
        runtime.load(slot, noise(runtime, slot))
    alone: list[tuple[bytes, State]] = []
    for n in range(count):
        y = runtime.step([int(src[n])], [int(dst[n])], x[n : n + 1]).y
        alone.append((y[0].tobytes(), runtime.save(int(dst[n]))))

    for size in range(1, count + 1):
        members = np.random.default_rng(size).permutation(count)[:size]
        fill(runtime, dst.tolist(), 9.0)
        y = runtime.step(src[members].tolist(), dst[members].tolist(), x[members]).y
        for at, member in enumerate(members.tolist()):
            outputs, state = alone[member]
            assert y[at].tobytes() == outputs, (size, at)
            assert same(runtime.save(int(dst[member])), state), (size, at)


def test_what_a_row_gives_depends_on_its_slot(runtime: Runtime) -> None:
    x = rows_of(0, ROWS)
    for slot in (1, 2):
        runtime.load(slot, noise(runtime, slot))

    y = runtime.step([1, 2], [3, 4], np.stack([x, x])).y

    assert not np.allclose(y[0], y[1], atol=1e-6)


def test_several_rows_a_call_equal_one_row_a_call(runtime: Runtime) -> None:
    x = np.stack([rows_of(seed, 7) for seed in range(3)])
    for slot in (1, 2, 3):
        runtime.load(slot, noise(runtime, slot))
    at_once = runtime.step([1, 2, 3], [4, 5, 6], x).y

    for slot in (1, 2, 3):
        runtime.copy(slot, slot + 6)
    one_by_one = [
        runtime.step([7, 8, 9], [7, 8, 9], x[:, row : row + 1]).y[:, 0] for row in range(7)
    ]

    assert at_once.shape == (3, 7, 8)
    assert at_once.tobytes() == np.stack(one_by_one, 1).tobytes()
    for slot in (4, 5, 6):
        assert same(runtime.save(slot), runtime.save(slot + 3))


def test_padding_is_written_nowhere(runtime: Runtime) -> None:
    initial = runtime.save(INITIAL)
    states = {slot: noise(runtime, slot) for slot in range(1, 16)}
    for slot, state in states.items():
        runtime.load(slot, state)
    size = runtime.multiple + 1  # so there is padding

    out = runtime.step(
        list(range(1, size + 1)), [15] * size, rows_of(0, size * ROWS).reshape(size, ROWS, -1)
    )

    assert out.y.shape == (size, ROWS, 8)
    assert same(runtime.save(INITIAL), initial)
    for slot in range(1, 15):
        assert same(runtime.save(slot), states[slot]), slot


def test_a_step_leaves_its_source_slots_as_they_were(runtime: Runtime) -> None:
    runtime.load(1, noise(runtime, 1))
    before = [runtime.save(slot) for slot in (INITIAL, 1)]

    runtime.step([INITIAL, 1], [2, 3], rows_of(0, 2 * ROWS).reshape(2, ROWS, -1))

    assert same(runtime.save(INITIAL), before[0])
    assert same(runtime.save(1), before[1])


def check_that_a_freed_slot_leaks_nothing(runtime: Runtime) -> None:
    """Free slots are full of NaN; what is written there has none of it, nor have batch-mates."""
    x = rows_of(0, 2 * ROWS).reshape(2, ROWS, -1)
    runtime.load(1, noise(runtime, 1))
    fill(runtime, [2, 3], 0.0)
    clean = runtime.step([1, INITIAL], [2, 3], x).y
    want = [runtime.save(2), runtime.save(3)]

    fill(runtime, range(4, 16), np.nan)
    y = runtime.step([1, INITIAL], [4, 5], x).y
    assert y.tobytes() == clean.tobytes()
    assert same(runtime.save(4), want[0]) and same(runtime.save(5), want[1])
    runtime.load(6, runtime.save(1))
    assert same(runtime.save(6), runtime.save(1))
    runtime.copy(1, 7)
    assert same(runtime.save(7), runtime.save(1))


def test_a_freed_slot_leaks_nothing_to_its_next_holder(runtime: Runtime) -> None:
    check_that_a_freed_slot_leaks_nothing(runtime)


class Forgetful(OnnxCpu):
    """Once told to, it does not overwrite one of the tensors."""

    forgets: int | None = None

    def scatter(
        self, arrays: Sequence[NDArray[Any]], slots: Sequence[int], state: list[NDArray[Any]]
    ) -> None:
        kept = [at for at in range(len(state)) if at != self.forgets]
        super().scatter([arrays[at] for at in kept], slots, [state[at] for at in kept])


@pytest.mark.parametrize("tensor", range(6))
def test_a_backend_that_forgets_to_overwrite_a_tensor_fails_the_leak_test(
    bundle: Bundle, make_runtime: MakeRuntime, tensor: int
) -> None:
    backend = Forgetful(bundle.read(STEP_ONNX), bundle.manifest.state, 1)
    runtime = make_runtime(backend)
    assert len(runtime.spec) == 6
    check_that_a_freed_slot_leaks_nothing(runtime)

    backend.forgets = tensor

    with pytest.raises(AssertionError):
        check_that_a_freed_slot_leaks_nothing(runtime)


def test_what_a_step_returns_is_not_overwritten_by_the_next(runtime: Runtime) -> None:
    first = runtime.step([INITIAL] * 3, [1, 2, 3], rows_of(0, 6).reshape(3, ROWS, -1), [1])
    kept = [array.copy() for array in (first.y, *first.watched)]

    runtime.step([INITIAL] * 3, [4, 5, 6], rows_of(1, 6).reshape(3, ROWS, -1), [1])

    assert same([first.y, *first.watched], kept)


def test_a_step_of_a_batch_seen_before_allocates_no_batch_of_states(
    bundle: Bundle, make_runtime: MakeRuntime
) -> None:
    runtime = make_runtime(make_backend(bundle, "onnx"))
    size, x = MAX_BATCH, rows_of(0, MAX_BATCH * ROWS).reshape(MAX_BATCH, ROWS, -1)
    src, dst = list(range(1, size + 1)), list(range(size + 1, 2 * size + 1))

    tracemalloc.start()
    try:
        runtime.step(src, dst, x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < size * runtime.slot_bytes / 4  # numpy tells tracemalloc what it allocates


def test_watched_tensors_are_the_states_after_each_row(runtime: Runtime) -> None:
    x = np.stack([rows_of(seed, 5) for seed in range(3)])
    watch = [1, 0]  # read weights (2, 128), then memory (128, 20)

    out = runtime.step([INITIAL] * 3, [1, 2, 3], x, watch)

    assert [array.shape for array in out.watched] == [(3, 5, 2, 128), (3, 5, 128, 20)]
    for slot in (1, 2, 3):
        runtime.load(slot, runtime.save(INITIAL))
    for row in range(5):
        runtime.step([1, 2, 3], [1, 2, 3], x[:, row : row + 1])
        for at in range(3):
            state = runtime.save(at + 1)
            assert [out.watched[n][at, row].tobytes() for n in (0, 1)] == [
                state[index].tobytes() for index in watch
            ]


def test_a_replayed_state_equals_the_stepped_one(runtime: Runtime) -> None:
    rows = rows_of(0, 7)
    runtime.load(1, noise(runtime, 1))
    start = runtime.save(1)

    runtime.step([1], [2], rows[None])

    assert same(runtime.replay(start, [rows[:3], rows[3:4], rows[4:]]), runtime.save(2))
    assert same(runtime.replay(start, []), start)


def test_the_states_size_is_that_of_its_tensors(runtime: Runtime) -> None:
    sizes = (128 * 20, 2 * 128, 3 * 128, 2 * 20, 100, 100)

    assert runtime.slot_bytes == 4 * sum(sizes)


class Summing:
    """A backend by hand: the state is the sum of the rows so far, and a scalar counts them.

    `tilt(size, at)` is added to the output of the row at that place of a batch of that size.
    """

    name, device = "summing", "cpu"
    spec: StateSpec = (TensorSpec("sum", (3,), "other"), TensorSpec("count", (), "counter"))

    def __init__(self, tilt: Any) -> None:
        self.tilt = tilt
        self.sizes: list[int] = []

    def allocate(self, spec: StateSpec, slots: int) -> list[NDArray[Any]]:
        return [np.zeros((slots, *tensor.dims), tensor.dtype) for tensor in spec]

    def gather(self, arrays: Sequence[NDArray[Any]], slots: Sequence[int]) -> list[NDArray[Any]]:
        return [array[list(slots)] for array in arrays]

    def scatter(
        self, arrays: Sequence[NDArray[Any]], slots: Sequence[int], state: list[NDArray[Any]]
    ) -> None:
        for array, rows in zip(arrays, state, strict=True):
            assert rows.shape[1:] == array.shape[1:]
            array[list(slots)] = rows[: len(slots)]

    def run(
        self,
        arrays: Sequence[NDArray[Any]],
        src: Sequence[int],
        dst: Sequence[int],
        x: Floats,
        watch: Sequence[int],
    ) -> StepOutput:
        state = self.gather(arrays, src)
        outputs: list[Floats] = []
        for row in x.swapaxes(0, 1):
            y, state = self.step(row, state)
            outputs.append(y)
        self.scatter(arrays, dst, state)
        assert not watch
        return StepOutput(np.stack(outputs, 1), [])

    def step(self, x: Floats, state: list[NDArray[Any]]) -> tuple[Floats, list[NDArray[Any]]]:
        self.sizes.append(len(x))
        total = state[0] + x
        tilts = np.array([self.tilt(len(x), at) for at in range(len(x))], np.float32)
        return total + tilts[:, None], [total, state[1] + np.float32(1)]

    def to_numpy(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def from_numpy(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def free(self, arrays: Sequence[NDArray[Any]], slot: int) -> None:
        pass

    def device_bytes(self) -> int | None:
        return None


def summing(tilt: Any, max_batch: int = 12) -> Runtime:
    initial = [np.zeros(3, np.float32), np.zeros((), np.float32)]
    return Runtime(Summing(tilt), Summing.spec, 3, 5, max_batch, initial)


def test_a_scalar_state_tensor_is_kept_like_any_other() -> None:
    runtime = summing(lambda size, at: 0)

    runtime.step([0, 0], [1, 2], np.ones((2, 4, 3), np.float32))

    assert runtime.save(2)[1].shape == ()
    assert runtime.save(2)[1] == 4


@pytest.mark.parametrize("multiple", [1, 2, 4, 8, 16])
def test_the_probe_finds_the_smallest_multiple_at_which_a_row_is_the_same(multiple: int) -> None:
    runtime = summing(lambda size, at: size % multiple)

    assert runtime.multiple == multiple


@pytest.mark.parametrize(
    "tilt",
    [
        pytest.param(lambda size, at: size, id="on the size of its batch"),
        pytest.param(lambda size, at: at, id="on its place in it"),
        pytest.param(lambda size, at: at == size - 1, id="on being the last"),
    ],
)
def test_a_backend_whose_rows_depend_on_their_batch_is_refused(tilt: Any) -> None:
    with pytest.raises(BackendError, match="a row's result depends on its batch"):
        summing(tilt, max_batch=40)


def test_a_backend_that_mixes_batch_mates_is_refused() -> None:
    class Mixing(Summing):
        def step(self, x: Floats, state: list[NDArray[Any]]) -> tuple[Floats, list[NDArray[Any]]]:
            y, following = super().step(x, state)
            return y + x.mean(0) * np.float32(1e-3), following

    initial = [np.zeros(3, np.float32), np.zeros((), np.float32)]
    with pytest.raises(BackendError, match="summing on cpu: a row's result depends"):
        Runtime(Mixing(lambda size, at: 0), Summing.spec, 3, 5, 12, initial)


def test_every_bucket_up_to_max_batch_is_warmed_before_the_first_step() -> None:
    runtime = summing(lambda size, at: size % 4, max_batch=10)
    backend: Any = runtime.backend

    assert sorted(backend.sizes[-3:]) == [4, 8, 12]
    backend.sizes.clear()
    for size in range(1, 11):
        runtime.step([0] * size, [1] * size, np.ones((size, 1, 3), np.float32))
    assert set(backend.sizes) == {4, 8, 12}
