"""Rows a second of each runtime with its slots and nothing around it, by batch."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from export.bundle import STEP_ONNX, STEP_TORCHSCRIPT, Bundle, read_bundle
from export.pack import pack
from model.families import load
from service.engine.onnx import OnnxCpu
from service.engine.runtime import Backend, Runtime
from service.engine.torchscript import TorchScript

BATCHES = (1, 8, 32, 64)
TURNS = 5
TURN_S = 0.4


def report(entry: Path, _seconds: float) -> None:
    """Print the table of a zoo entry; in turns, the median of five."""
    with tempfile.TemporaryDirectory() as folder:
        network, card = load(entry)
        pack(network, card, Path(folder), torchscript=True)
        _report(read_bundle(Path(folder)))


def _report(bundle: Bundle) -> None:
    print("\n| runtime | batch | rows/s |\n|---|---|---|")
    spec, initial = bundle.manifest.state, list(bundle.initial_state().values())
    backends: list[Backend] = [
        OnnxCpu(bundle.read(STEP_ONNX), spec, 1),
        TorchScript(bundle.read(STEP_TORCHSCRIPT), "cpu", 1),
    ]
    width, slots = bundle.manifest.input.dims[0], 2 * max(BATCHES) + 1
    runtimes = [Runtime(b, spec, width, slots, max(BATCHES), initial) for b in backends]
    for batch in BATCHES:
        rates: dict[str, list[float]] = {}
        for _ in range(TURNS):
            for runtime in runtimes:
                rates.setdefault(runtime.backend.name, []).append(_rate(runtime, batch))
        for name, measured in rates.items():
            print(f"| {name} | {batch} | {np.median(measured):,.0f} |", flush=True)


def _rate(runtime: Runtime, batch: int) -> float:
    source, target = list(range(1, batch + 1)), list(range(batch + 1, 2 * batch + 1))
    x = np.random.default_rng(0).random((batch, 1, runtime.input_size), np.float32)
    begun, ticks = time.monotonic(), 0
    while time.monotonic() - begun < TURN_S:
        runtime.step(source, target, x)
        ticks += 1
    return ticks * batch / (time.monotonic() - begun)
