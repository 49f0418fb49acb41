"""`make bench`: measures and prints one table; asserts nothing but that the answers are right.

python -m tests.bench                 everything, a few minutes
python -m tests.bench runtime http    some sections
python -m tests.bench http --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from export.bundle import STEP_ONNX, STEP_TORCHSCRIPT, Bundle, read_bundle
from export.pack import pack
from model.families import load as load_entry
from service.engine.onnx import OnnxCpu
from service.engine.runtime import Backend, Runtime
from service.engine.torchscript import TorchScript
from service.settings import ZOO
from tests.bench.load import Reference, Result, run
from tests.service.serving import served

BATCHES = (1, 8, 32, 64)


def main(argv: list[str]) -> int:
    """Run the sections asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("sections", nargs="*", default=["runtime", "http"])
    parser.add_argument("--seconds", type=float, default=5, help="of each HTTP measurement")
    parser.add_argument("--model", default=str(Path(ZOO) / "copy"), help="a zoo entry")
    args = parser.parse_args(argv)
    print(_hardware(argv))
    with tempfile.TemporaryDirectory() as folder:
        network, card = load_entry(Path(args.model))
        pack(network, card, Path(folder), torchscript=True)
        bundle = read_bundle(Path(folder))
        if "runtime" in args.sections:
            print("\n| runtime | batch | rows/s |\n|---|---|---|")
            for line in runtimes(bundle):
                print(line, flush=True)
        if "http" in args.sections:
            print("\n| clients | rows a request | requests/s | rows/s | p50 ms | p99 ms | wrong |")
            print("|---|---|---|---|---|---|---|")
            for line in http(bundle, args.seconds):
                print(line, flush=True)
    return 0


def runtimes(bundle: Bundle) -> Iterator[str]:
    """Rows a second of each runtime with its slots, by batch; in turns, the median of five."""
    spec, initial = bundle.manifest.state, list(bundle.initial_state().values())
    backends: list[Backend] = [
        OnnxCpu(bundle.read(STEP_ONNX), spec, 1),
        TorchScript(bundle.read(STEP_TORCHSCRIPT), "cpu", 1),
    ]
    width = bundle.manifest.input.dims[0]
    runtimes = [
        Runtime(b, spec, width, 2 * max(BATCHES) + 1, max(BATCHES), initial) for b in backends
    ]
    for batch in BATCHES:
        rates: dict[str, list[float]] = {}
        for _ in range(5):
            for runtime in runtimes:
                rates.setdefault(runtime.backend.name, []).append(_rate(runtime, batch))
        for name, measured in rates.items():
            yield f"| {name} | {batch} | {np.median(measured):,.0f} |"


def _rate(runtime: Runtime, batch: int) -> float:
    source, target = list(range(1, batch + 1)), list(range(batch + 1, 2 * batch + 1))
    x = np.random.default_rng(0).random((batch, 1, runtime.input_size), np.float32)
    begun, ticks = time.monotonic(), 0
    while time.monotonic() - begun < 0.4:
        runtime.step(source, target, x)
        ticks += 1
    return ticks * batch / (time.monotonic() - begun)


def http(bundle: Bundle, seconds: float) -> Iterator[str]:
    """The whole path, at 1, 8, 64 and 256 clients with 1 and 20 rows a request."""
    backend = OnnxCpu(bundle.read(STEP_ONNX), bundle.manifest.state, 1)
    initial = list(bundle.initial_state().values())
    spec, width = bundle.manifest.state, bundle.manifest.input.dims[0]
    reference = Reference(Runtime(backend, spec, width, 3, 32, initial))
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), bundle.folder) as server:
        for clients in (1, 8, 64, 256):
            for rows in (1, 20):
                result = asyncio.run(run(server.url, reference, clients, clients, rows, seconds))
                yield f"| {clients} | {rows} | {_cells(result)} |"


def _cells(result: Result) -> str:
    return (
        f"{result.requests_per_s:,.0f} | {result.rows_per_s:,.0f} | {result.p50_ms:.2f} | "
        f"{result.p99_ms:.2f} | {result.wrong}"
    )


def _hardware(argv: list[str]) -> str:
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    names = ("onnxruntime-gpu", "torch", "litestar")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    command = " ".join(["python -m tests.bench", *argv])
    machine = f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"
    return f"{command}\n{machine}, {packages}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
