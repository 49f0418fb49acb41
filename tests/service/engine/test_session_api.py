"""All that can be done to sessions, in any order, against a plain model of what must hold."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import onnx
import onnx.numpy_helper
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from msgspec.structs import replace

from export.bundle import STEP_ONNX, Bundle, file_entry, read_bundle, write_manifest
from service.engine.onnx import OnnxCpu
from service.engine.runtime import Runtime
from service.requests import Point
from service.settings import ZOO
from tests.service.conftest import next_version, read_manifest
from tests.service.crash.reference import Reference
from tests.service.engine import session_acts as acts
from tests.service.engine import session_requests as ask
from tests.service.engine.session_acts import ANY_TIME, WITH_SESSIONS, Act
from tests.service.engine.session_model import KEPT_REPLIES
from tests.service.engine.session_world import MAX_BATCH, SLOTS, Model, World, rows_of

MakeWorld = Callable[[], World]


def runtime_of(bundle: Bundle, slots: int) -> Runtime:
    spec, initial = bundle.manifest.state, bundle.initial_state()
    backend = OnnxCpu(bundle.read(STEP_ONNX), spec, 1)
    arrays = [initial[tensor.name] for tensor in spec]
    return Runtime(backend, spec, bundle.manifest.input.dims[0], slots, MAX_BATCH, arrays)


@pytest.fixture(scope="module")
def models(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """Version 2 has other weights than 1 and begins elsewhere; 3 is another network altogether."""
    folder = tmp_path_factory.mktemp("versions")
    next_version(small, folder / "2")
    halve_a_weight(folder / "2")
    shutil.copytree(Path(ZOO) / "copy" / "bundle", folder / "3")
    manifest = read_manifest(folder / "3")
    write_manifest(folder / "3", replace(manifest, name="small", version="3"))
    found: dict[str, Model] = {}
    for number, path in (("1", small), ("2", folder / "2"), ("3", folder / "3")):
        bundle = read_bundle(path)
        reference = Reference(runtime_of(bundle, 3))
        found[number] = Model(bundle, runtime_of(bundle, SLOTS), reference)
    return found


def halve_a_weight(folder: Path) -> None:
    """The network of a bundle becomes another one of the same shapes."""
    network = onnx.load_from_string((folder / STEP_ONNX).read_bytes())
    weights = max(network.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(values / 2, weights.name))
    data = network.SerializeToString()
    (folder / STEP_ONNX).write_bytes(data)
    manifest = read_manifest(folder)
    files = manifest.files | {STEP_ONNX: file_entry(data)}
    write_manifest(folder, replace(manifest, files=files))


@pytest.fixture(params=["memory", "sqlite"])
def make_world(
    request: pytest.FixtureRequest, models: dict[str, Model], tmp_path: Path
) -> MakeWorld:
    numbers = count()

    def make() -> World:
        file = tmp_path / f"{next(numbers)}.db"
        return World(models, None if request.param == "memory" else file)

    return make


def machine_of(make_world: MakeWorld) -> type[RuleBasedStateMachine]:
    """A machine with a rule for each act, on worlds of its own."""

    class SessionApi(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.world = make_world()

        def teardown(self) -> None:
            self.world.close()

    for act in (*ANY_TIME, *WITH_SESSIONS):
        setattr(SessionApi, act.__name__, _rule_of(act))
    return SessionApi


def _rule_of(act: Act) -> Any:
    def do(machine: Any, draw: Random) -> None:
        act(machine.world, draw)

    do.__name__ = act.__name__
    ruled = rule(draw=st.randoms(use_true_random=False))(do)
    return (
        precondition(lambda machine: machine.world.live)(ruled) if act in WITH_SESSIONS else ruled
    )


def test_whatever_is_done_every_session_stands_where_it_must(make_world: MakeWorld) -> None:
    """An act of the machine is a rule; what Hypothesis shrinks is the list of acts."""
    limits = settings(
        max_examples=12,
        stateful_step_count=30,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
        ],
        deadline=None,
    )
    run_state_machine_as_test(machine_of(make_world), settings=limits)


def test_a_long_life_of_many_sessions(make_world: MakeWorld) -> None:
    world, draw, done = make_world(), Random(3), Counter[str]()
    for _ in range(6):
        acts.create(world, draw)
    for _ in range(900):
        weights = [1, 6, 1, 3, 1, 2, 1, 12, 2, 3, 10, 3, 4, 3, 8, 3]
        act = draw.choices((*ANY_TIME, *WITH_SESSIONS), weights)[0]
        if world.live or act in ANY_TIME:
            act(world, draw)
            done[act.__name__] += 1
    assert set(done) == {act.__name__ for act in (*ANY_TIME, *WITH_SESSIONS)}
    world.close()


def test_rows_from_before_a_migration_are_run_again_on_the_version_they_ran_on(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    ask.create(world, "alice", "one", "1", None, False, False)
    known = world.chosen(0)
    ask.step(world, known, rows_of(1, 3), "both")
    ask.migrate(world, known, "2", "both")
    ask.step(world, known, rows_of(2, 2), "both")
    ask.migrate(world, known, "1", "none")
    ask.migrate(world, known, "2", "key")
    for point in (Point(step=2), Point(step=4), Point(step=0), Point(revision=3), Point(step=3)):
        ask.restore(world, known, point, "both")
        ask.fork(world, known, f"fork-{known.revision}", point, "none")
        world.restart(clean=False)
    world.close()


def test_a_session_that_never_stepped_keeps_its_state_when_it_migrates(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    ask.create(world, "alice", "one", "1", None, False, False)
    known = world.chosen(0)
    ask.snapshot(world, known, "fresh", "none")
    ask.migrate(world, known, "2", "none")
    ask.step(world, known, rows_of(1, 1), "none")
    ask.restore(world, known, Point(snapshot="fresh"), "none")
    ask.restore(world, known, Point(revision=1), "none")
    ask.reset(world, known, "none")
    world.close()


def test_a_repeat_tells_the_version_that_its_first_answer_told(make_world: MakeWorld) -> None:
    world = make_world()
    ask.create(world, "alice", "one", "1", None, False, False)
    known = world.chosen(0)
    ask.reset(world, known, "both")
    ask.migrate(world, known, "2", "both")
    ask.migrate(world, known, "1", "both")
    for restarted in (False, True):
        for at in range(3):
            ask.retry(world, at, otherwise=False)
        if not restarted:
            world.restart(clean=False)
    world.close()


def test_as_many_replies_are_kept_as_the_setting_says(make_world: MakeWorld) -> None:
    """Not more in the engine than in the store, so that no restart changes what a repeat gets."""
    world = make_world()
    ask.create(world, "alice", "one", "1", None, False, False)
    known = world.chosen(0)
    for at in range(KEPT_REPLIES + 2):
        ask.step(world, known, rows_of(at, 1), "both")
    assert [known.remembers(sent.request.guard) for sent in world.sent][:3] == [False, False, True]
    for at in range(KEPT_REPLIES + 2):
        ask.retry(world, at, otherwise=False)
    world.close()
