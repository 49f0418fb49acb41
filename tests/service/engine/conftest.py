"""One bundle and one runtime of each kind a test session: hosts and engines are cheap on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from export.bundle import STEP_ONNX, STEP_TORCHSCRIPT, Bundle, read_bundle
from service.engine.engine import Engine
from service.engine.metrics import EngineMetrics
from service.engine.onnx import OnnxCpu
from service.engine.runtime import Backend, Runtime
from service.engine.torchscript import OnnxBound, TorchScript
from service.settings import Settings
from service.store.memory import MemoryStore
from service.store.store import Store
from tests.bundles import make_bundle
from tests.service.engine.driver import Driver, make_host

KINDS = ("onnx", "torchscript", "bound")
ON_CUDA = ("torchscript on cuda", "bound on cuda")
SLOTS, MAX_BATCH = 40, 16
SIZES: dict[str, Any] = {
    "input_size": 9,
    "output_size": 8,
    "memory_size": 128,
    "memory_width": 20,
    "read_heads": 2,
    "write_heads": 3,
}

MakeRuntime = Callable[[Backend], Runtime]
MakeDriver = Callable[..., Driver]
MakeVersions = Callable[..., Engine]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle's folder: the copy model's sizes, with 2 read and 3 write heads, untrained."""
    folder = tmp_path_factory.mktemp("bundles") / "copy"
    make_bundle(folder, torchscript=True, weights=True, **SIZES)
    return folder


@pytest.fixture(scope="session")
def bundle(folder: Path) -> Bundle:
    """The bundle in `folder`."""
    return read_bundle(folder)


def make_backend(bundle: Bundle, kind: str) -> Backend:
    """A backend of a kind; "bound" is the one for CUDA, which runs on the CPU as well."""
    spec = bundle.manifest.state
    device = "cuda" if kind in ON_CUDA else "cpu"
    if kind.startswith("torchscript"):
        return TorchScript(bundle.read(STEP_TORCHSCRIPT), device, 1)
    if kind.startswith("bound"):
        return OnnxBound(bundle.read(STEP_ONNX), spec, device, 1)
    return OnnxCpu(bundle.read(STEP_ONNX), spec, 1)


@pytest.fixture(scope="session")
def make_runtime(bundle: Bundle) -> MakeRuntime:
    """A runtime of the bundle on any backend."""

    def make(backend: Backend) -> Runtime:
        spec, initial = bundle.manifest.state, bundle.initial_state()
        width = bundle.manifest.input.dims[0]
        arrays = [initial[tensor.name] for tensor in spec]
        return Runtime(backend, spec, width, SLOTS, MAX_BATCH, arrays)

    return make


@pytest.fixture(scope="session")
def runtimes(bundle: Bundle, make_runtime: MakeRuntime) -> Callable[[str], Runtime]:
    """The session's runtime of a kind."""
    made: dict[str, Runtime] = {}

    def of(kind: str) -> Runtime:
        if kind not in made:
            made[kind] = make_runtime(make_backend(bundle, kind))
        return made[kind]

    return of


@pytest.fixture(params=[*KINDS, *(pytest.param(kind, marks=pytest.mark.cuda) for kind in ON_CUDA)])
def runtime(request: pytest.FixtureRequest, runtimes: Callable[[str], Runtime]) -> Runtime:
    """Every kind of runtime."""
    if request.param in ON_CUDA and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device here")
    return runtimes(request.param)


@pytest.fixture
async def make_driver(
    bundle: Bundle, runtimes: Callable[[str], Runtime]
) -> AsyncIterator[MakeDriver]:
    """An engine with one model, and a driver for it. At the end nothing may be left behind."""
    drivers: list[Driver] = []

    def make(
        *,
        kind: str = "onnx",
        runtime: Runtime | None = None,
        store: Store | None = None,
        slots: int = 8,
        max_batch: int = 8,
        max_queue: int = 64,
        **settings: Any,
    ) -> Driver:
        engine = Engine(Settings(**settings), store or MemoryStore(), EngineMetrics())
        sizes = {"slots": slots, "max_batch": max_batch, "max_queue": max_queue}
        engine.add(make_host(bundle, runtime or runtimes(kind), engine, **sizes))
        drivers.append(Driver(engine))
        return drivers[-1]

    yield make
    for driver in drivers:
        await driver.at_rest()


@pytest.fixture
def driver(make_driver: MakeDriver) -> Driver:
    """An engine on ONNX Runtime with 8 slots."""
    return make_driver()


@pytest.fixture
def make_versions(bundle: Bundle, runtimes: Callable[[str], Runtime]) -> MakeVersions:
    """An engine with versions of the copy model, in the order they are named, on as many
    runtimes. Beside a version its bundle's fingerprint may be given."""

    def make(*versions: str, store: MemoryStore | None = None) -> Engine:
        engine = Engine(Settings(), store or MemoryStore(), EngineMetrics())
        for version, kind in zip(versions, ("onnx", "bound", "torchscript"), strict=False):
            number, _, fingerprint = version.partition("@")
            manifest = replace(bundle.manifest, version=number)
            made = replace(bundle, manifest=manifest, fingerprint=fingerprint or number)
            engine.add(make_host(made, runtimes(kind), engine))
        return engine

    return make
