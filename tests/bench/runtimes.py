"""Rows a second of each runtime with its slots and nothing around it, by rows a call and batch."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from export import aot, parity
from export.bundle import STEP_ONNX, STEP_TORCHSCRIPT, Bundle, read_bundle
from export.pack import pack
from export.step import StepModule
from model.families import load
from service.engine.aot import Aot
from service.engine.onnx import OnnxCpu
from service.engine.runtime import Backend, Runtime
from service.engine.torchscript import TorchScript
from tests.bench.backends import Eager, Unbound

BATCHES = (1, 8, 32, 64, 256)
ROWS = (1, 20)
TURNS = 5
TURN_S = 0.2
BASE = "onnx unbound"  # what the ratios are to


class Turn(NamedTuple):
    """rows_s: rows a second of wall time; cpu_s: processor seconds a row."""

    rows_s: float
    cpu_s: float


def report(entry: Path, _seconds: float) -> None:
    """Print the tables of a zoo entry; in turns, to and fro, the medians of five."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        network, card = load(entry)
        pack(network, card, folder, torchscript=True)
        step, bundle = StepModule(network, card.activation), read_bundle(folder)
        runtimes = {
            name: _runtime(bundle, backend)
            for name, backend in _backends(bundle, step, folder).items()
        }
        _accuracy(runtimes, step)
        _rates(runtimes)
        if torch.cuda.is_available():
            from tests.bench import gpu  # what it needs is only where a GPU is

            gpu.report(network, card, bundle)
        else:
            print("\nno CUDA device here: the table of a GPU is left out")


def _backends(bundle: Bundle, step: StepModule, folder: Path) -> dict[str, Backend]:
    spec, model = bundle.manifest.state, bundle.read(STEP_ONNX)
    backends: dict[str, Backend] = {
        BASE: Unbound(model, spec, 1),
        "onnx": OnnxCpu(model, spec, 1),
        "eager": Eager(step, 1),
        "torchscript": TorchScript(bundle.read(STEP_TORCHSCRIPT), "cpu", 1),
    }
    if shutil.which("g++") is None:
        print("no g++ here: AOTInductor is left out")
        return backends
    begun = time.monotonic()
    aot.to_aot(step, folder / "step.pt2")
    print(f"AOTInductor compiled the step in {time.monotonic() - begun:.0f} s")
    return backends | {"aot": Aot(folder / "step.pt2", spec, 1)}


def _runtime(bundle: Bundle, backend: Backend) -> Runtime:
    manifest, initial = bundle.manifest, list(bundle.initial_state().values())
    slots = 2 * max(BATCHES) + 1
    width = manifest.input.dims[0]
    return Runtime(backend, manifest.state, width, slots, max(BATCHES), initial)


def _accuracy(runtimes: dict[str, Runtime], step: StepModule) -> None:
    """Each runtime's answers, through its slots, against eager torch. Raises ParityError."""
    print(f"\n| runtime | padded to | max a step, of {parity.LONG} | drift after them |")
    print("|---|---|---|---|")
    for name, runtime in runtimes.items():
        told = parity.follow(step, _stepper(runtime), name)
        print(f"| {name} | {runtime.multiple} | {told.step:.1e} | {told.drift:.1e} |", flush=True)


def _stepper(runtime: Runtime) -> parity.Stepper:
    def run(inputs: parity.Arrays) -> parity.Arrays:
        x, *state = inputs
        slots = list(range(1, len(x) + 1))
        runtime.write(slots, [np.ascontiguousarray(array) for array in state])
        y = runtime.step(slots, slots, x[:, None]).y[:, 0]
        return [y, *runtime.read(slots)]

    return run


def _rates(runtimes: dict[str, Runtime]) -> None:
    print(f"\n| rows a call | batch | runtime | rows/s | us a row | to {BASE} | moving states |")
    print("|---|---|---|---|---|---|---|")
    for rows in ROWS:
        for batch in BATCHES:
            turns: dict[str, list[Turn]] = {name: [] for name in runtimes}
            for turn in range(TURNS):
                for name in list(runtimes)[:: -1 if turn % 2 else 1]:
                    turns[name].append(_stepping(runtimes[name], batch, rows))
            for name, measured in turns.items():
                _print_line(rows, batch, name, measured, turns[BASE], runtimes[name])


def _print_line(
    rows: int, batch: int, name: str, turns: list[Turn], base: list[Turn], runtime: Runtime
) -> None:
    cpu_s = float(np.median([turn.cpu_s for turn in turns]))
    ratio = np.median([b.cpu_s / turn.cpu_s for turn, b in zip(turns, base, strict=True)])
    rate = np.median([turn.rows_s for turn in turns])
    share = _moving(runtime, batch) / (cpu_s * batch * rows)
    line = (rows, batch, name, f"{rate:,.0f}", f"{cpu_s * 1e6:.1f}", f"{ratio:.2f}", f"{share:.0%}")
    print("| " + " | ".join(map(str, line)) + " |", flush=True)


def _stepping(runtime: Runtime, batch: int, rows: int) -> Turn:
    source, target = list(range(1, batch + 1)), list(range(batch + 1, 2 * batch + 1))
    x = np.random.default_rng(0).random((batch, rows, runtime.input_size), np.float32)
    wall_s, cpu_s = _each(lambda: runtime.step(source, target, x))
    return Turn(batch * rows / wall_s, cpu_s / (batch * rows))


def _moving(runtime: Runtime, batch: int) -> float:
    """Processor seconds of a gather and a scatter of as many states."""
    source, target = list(range(1, batch + 1)), list(range(batch + 1, 2 * batch + 1))
    backend, arrays = runtime.backend, runtime.arrays
    return _each(lambda: backend.scatter(arrays, target, backend.gather(arrays, source)))[1]


def _each(act: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor seconds of one of as many as fit in a turn."""
    wall, cpu, count = time.monotonic(), time.process_time(), 0
    while time.monotonic() - wall < TURN_S:
        act()
        count += 1
    return (time.monotonic() - wall) / count, (time.process_time() - cpu) / count
