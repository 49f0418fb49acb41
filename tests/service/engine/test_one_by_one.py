"""A state that is updated sparsely, from the runtime to the store: a SAM's."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from export.bundle import STEP_ONNX, Bundle, read_bundle
from export.parity import Arrays, onnx_stepper
from export.step import StepModule
from model.rows import next_state
from service.engine.engine import Engine
from service.engine.metrics import EngineMetrics
from service.engine.models import pick_backend
from service.engine.packing import rows_that_change_all
from service.engine.runtime import BackendError, Floats, Runtime
from service.engine.sparse_slots import SparseSlots
from service.requests import Fork, Guard, Point, Restore
from service.settings import Settings
from service.store.memory import MemoryStore
from service.store.store import Change, Outcome
from tests.bundles import make_bundle, make_network
from tests.service.engine.driver import Driver, make_host, rows_of, until

SIZES: dict[str, Any] = {
    "input_size": 9,
    "output_size": 8,
    "memory_size": 4096,
    "memory_width": 16,
    "controller_size": 20,
    "read_heads": 2,
    "reads": 3,
    "index": 2,
    "room": 16,
}
SLOTS = 12
KINDS = ("onnx", "torchscript")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles") / "sam"
    make_bundle(folder, torchscript=True, family="sam", **SIZES)
    return read_bundle(folder)


def settings(**changes: Any) -> Settings:
    return Settings(trust_code=True, **changes)


def make_runtime(bundle: Bundle, kind: str) -> Runtime:
    backend, reason = pick_backend(bundle, settings(runtime=kind))
    initial = list(bundle.initial_state().values())
    return Runtime(backend, bundle.manifest.state, 9, SLOTS, 8, initial, reason)


@pytest.fixture(scope="module")
def runtimes(bundle: Bundle) -> dict[str, Runtime]:
    return {kind: make_runtime(bundle, kind) for kind in KINDS}


class Reference:
    """One session on the graph alone, its state whole at every row."""

    def __init__(self, bundle: Bundle) -> None:
        self.step = StepModule(make_network("sam", **SIZES), "sigmoid")
        self.run = onnx_stepper(bundle.read(STEP_ONNX), self.step)
        self.state: Arrays = [part.numpy()[None] for part in self.step.initial_state()]

    def stepped(self, rows: Floats) -> Floats:
        """rows: (T, X). Returns (T, Y)."""
        outputs: list[Floats] = []
        for row in rows:
            y, *told = self.run([row[None], *self.state])
            self.state = next_state(self.step.state_spec, self.state, told)
            outputs.append(y[0])
        return np.stack(outputs)

    def holds(self, state: Sequence[np.ndarray]) -> bool:
        """Is that this state?"""
        return all(
            np.allclose(a[0], b, rtol=0, atol=1e-5) for a, b in zip(self.state, state, strict=True)
        )


@pytest.fixture
def reference(bundle: Bundle) -> Reference:
    return Reference(bundle)


def same(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_several_sessions_are_the_networks(
    bundle: Bundle, runtimes: dict[str, Runtime], kind: str
) -> None:
    runtime, sessions = runtimes[kind], [Reference(bundle) for _ in range(3)]
    assert (runtime.multiple, runtime.backend.name, runtime.backend.device) == (1, kind, "cpu")
    src, dst = [0, 0, 0], [1, 2, 3]
    for tick in range(6):
        x = rows_of(tick, 12).reshape(3, 4, 9)
        before = [runtime.save(slot) for slot in src]
        y = runtime.step(src, dst, x).y
        for member, session in enumerate(sessions):
            np.testing.assert_allclose(y[member], session.stepped(x[member]), rtol=0, atol=1e-5)
            assert session.holds(runtime.save(dst[member]))
        assert same([a for s in before for a in s], [a for s in src for a in runtime.save(s)])
        for slot in src if tick else ():
            runtime.free(slot)
        src, dst = dst, ([4, 5, 6] if tick % 2 == 0 else [1, 2, 3])
    for slot in src:
        runtime.free(slot)


@pytest.mark.parametrize("kind", KINDS)
def test_a_replay_is_bit_equal_and_so_is_a_row_in_whatever_company(
    runtimes: dict[str, Runtime], kind: str
) -> None:
    runtime, rows = runtimes[kind], rows_of(3, 12)
    start = runtime.save(0)
    alone = runtime.step([0], [1], rows[None])
    crowd = np.stack([rows_of(9, 12), rows, rows_of(8, 12)])
    among = runtime.step([0, 0, 0], [2, 3, 4], crowd)
    assert same([alone.y[0]], [among.y[1]]) and same(runtime.save(1), runtime.save(3))
    assert same(runtime.replay(start, [rows[:5], rows[5:]]), runtime.save(1))
    for slot in (1, 2, 3, 4):
        runtime.free(slot)
    assert same(runtime.save(0), start)


def test_what_is_watched_is_told_after_each_row(bundle: Bundle) -> None:
    runtime, session, rows = make_runtime(bundle, "onnx"), Reference(bundle), rows_of(1, 3)
    out = runtime.step([0], [1], rows[None], watch=[0, 4])
    assert [part.shape for part in out.watched] == [(1, 3, 4096, 16), (1, 3, 2, 3)]
    for at in range(3):
        session.stepped(rows[at : at + 1])
        np.testing.assert_allclose(out.watched[0][0, at], session.state[0][0], atol=1e-5)
        assert (out.watched[1][0, at] == session.state[4][0]).all()


def test_a_session_that_steps_and_commits_copies_no_tensor_and_takes_no_memory_of_its_size(
    bundle: Bundle,
) -> None:
    runtime, x = make_runtime(bundle, "onnx"), rows_of(1, 2)[None]
    sparse = [array for array in runtime.arrays if isinstance(array, SparseSlots)]
    assert len(sparse) == 3
    runtime.write([1], [array[None] for array in runtime.save(0)])
    copies = [array.copies for array in sparse]
    tracemalloc.start()
    for tick in range(20):
        src, dst = 1 + tick % 2, 2 - tick % 2
        runtime.step([src], [dst], x)
        runtime.free(src)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [array.copies for array in sparse] == copies
    assert peak < runtime.slot_bytes / 8  # numpy tells tracemalloc what it allocates


class Kept(MemoryStore):
    """A store that keeps what it was asked to commit."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Change] = []

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        self.changes += changes
        return await super().commit(changes)


@pytest.fixture
def open_driver(bundle: Bundle, runtimes: dict[str, Runtime]) -> Callable[..., Driver]:
    """An engine on the store given, as after a restart that nobody was told of."""

    def make(store: MemoryStore, **changes: Any) -> Driver:
        engine = Engine(settings(**changes), store, EngineMetrics())
        engine.add(make_host(bundle, runtimes["onnx"], engine, slots=SLOTS))
        return Driver(engine)

    return make


async def state_of(driver: Driver, name: str) -> list[bytes]:
    return [tensor.data for tensor in (await driver.memory(name)).tensors]


def outputs(result: Any) -> Floats:
    return np.frombuffer(result.outputs, np.float32).reshape(result.dims)


async def test_fork_rewind_and_restart_leave_a_session_where_its_rows_put_it(
    open_driver: Callable[..., Driver], reference: Reference, bundle: Bundle
) -> None:
    store, rows = Kept(), rows_of(5, 30)
    driver = open_driver(store)
    await driver.create("one")
    await driver.stepped("one", rows[:7])
    fork = Fork("alice", "one", Point(), "two", None, Guard())
    await driver.call(fork)
    await driver.stepped("one", rows[7:20])
    other, forked = rows_of(6, 4), Reference(bundle)
    forked.stepped(rows[:7])
    got = outputs(await driver.stepped("two", other))
    np.testing.assert_allclose(got, forked.stepped(other), rtol=0, atol=1e-5)
    await driver.call(Restore("alice", "one", Point(step=12), Guard()))
    reference.stepped(rows[:12])
    got = outputs(await driver.stepped("one", rows[20:23]))
    np.testing.assert_allclose(got, reference.stepped(rows[20:23]), rtol=0, atol=1e-5)
    kept = await state_of(driver, "one"), await state_of(driver, "two")
    await driver.at_rest()
    again = open_driver(store)
    assert (await state_of(again, "one"), await state_of(again, "two")) == kept
    got = outputs(await again.stepped("one", rows[23:]))
    np.testing.assert_allclose(got, reference.stepped(rows[23:]), rtol=0, atol=1e-5)
    await again.at_rest()


async def test_an_abort_leaves_a_session_unchanged_and_the_next_rows_right(
    open_driver: Callable[..., Driver], reference: Reference
) -> None:
    driver, rows = open_driver(MemoryStore()), rows_of(5, 40)
    await driver.create("one")
    await driver.stepped("one", rows[:3])
    before = await state_of(driver, "one")
    answer = driver.step("one", rows_of(7, 200))
    job = answer.job
    assert job is not None
    await until(lambda: job.done > 0)
    assert await state_of(driver, "one") == before  # its rows are under way, in place
    driver.engine.cancel(answer)
    await until(lambda: bool(answer.got) or job.ended)
    assert await state_of(driver, "one") == before
    reference.stepped(rows[:3])
    got = outputs(await driver.stepped("one", rows[3:]))
    np.testing.assert_allclose(got, reference.stepped(rows[3:]), rtol=0, atol=1e-5)


async def test_a_state_goes_to_the_store_once_in_as_many_rows_as_change_all_of_it(
    open_driver: Callable[..., Driver], bundle: Bundle
) -> None:
    times = rows_that_change_all(bundle.manifest.state)
    assert times > 8
    store = Kept()
    driver = open_driver(store, checkpoint_rows=2)
    await driver.create("one")
    for number in range(times):
        await driver.stepped("one", rows_of(number, 2))
    steps = [change for change in store.changes if change.record and change.record.count]
    assert [change.checkpoint is not None for change in steps] == [False] * (times - 1) + [True]
    row_bytes = 4 * (9 + 8)  # of inputs and outputs: all else that a step leaves
    assert {len(c.record.rows) + len(c.record.outputs) for c in steps if c.record} == {
        2 * row_bytes
    }
    await driver.at_rest()


def test_a_row_of_a_dense_state_changes_all_of_it() -> None:
    spec = StepModule(make_network("ntm"), "sigmoid").state_spec
    assert rows_that_change_all(spec) == 1


@pytest.mark.parametrize(
    "wanted", [{"runtime": "aot"}, {"runtime": "fused"}, {"device": "cuda"}], ids=str
)
def test_what_steps_whole_states_alone_is_refused(bundle: Bundle, wanted: dict[str, str]) -> None:
    with pytest.raises(BackendError, match="sparsely updated state, which is stepped on the CPU"):
        pick_backend(bundle, settings(**wanted))


def test_a_program_is_run_only_where_code_is_trusted_and_torch_is_installed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendError, match="NTM_TRUST_CODE=1"):
        pick_backend(bundle, Settings(runtime="torchscript"))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendError, match="NTM_RUNTIME=torchscript needs torch"):
        pick_backend(bundle, settings(runtime="torchscript"))
