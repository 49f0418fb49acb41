"""Raw steps on a GPU with 4,096 sessions resident, against what its memory could carry.

Written without a GPU at hand: no number of it stands in the README yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from export.bundle import STEP_ONNX, STEP_TORCHSCRIPT, Bundle
from export.step import StepModule
from model.families import Card, Network
from service.engine.onnx import has_cuda
from service.engine.runtime import Backend
from service.engine.torchscript import OnnxBound, TorchScript
from tests.bench.backends import Eager

SESSIONS = 4096
ROWS = (1, 20)
TIMES, TURNS = 20, 5


def report(network: Network, card: Card, bundle: Bundle) -> None:
    """Print rows a second by runtime, and as a share of reading and writing each state once."""
    spec = bundle.manifest.state
    state_bytes = sum(tensor.nbytes for tensor in spec)
    carried = _copied_bytes_s() / (2 * state_bytes)
    print(f"\n{torch.cuda.get_device_name()}, {SESSIONS} sessions on it: the memory carries")
    print(f"{carried:,.0f} states/s in and out, at what a plain copy of 1 GiB reaches")
    print(
        "\n| rows a call | runtime | rows/s | of the memory's | to eager |\n|---|---|---|---|---|"
    )
    for rows in ROWS:
        runs = _runs(network, card, bundle, rows)
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(TURNS):
            for name, run in runs.items():
                rates[name].append(SESSIONS * rows / _seconds(run))
        for name, measured in rates.items():
            ratio = np.median(np.array(measured) / rates["eager"])
            rate = float(np.median(measured))
            print(f"| {rows} | {name} | {rate:,.0f} | {rate / carried:.0%} | {ratio:.1f} |")


def _runs(
    network: Network, card: Card, bundle: Bundle, rows: int
) -> dict[str, Callable[[], object]]:
    """What is timed of each runtime: a call with rows from the host and outputs back to it. The
    fused step's rows and outputs stay on the device, as its line says."""
    spec, width = bundle.manifest.state, bundle.manifest.input.dims[0]
    backends: dict[str, Backend] = {
        "eager": Eager(StepModule(network, card.activation), 1, "cuda"),
        "torchscript": TorchScript(bundle.read(STEP_TORCHSCRIPT), "cuda", 1),
    }
    if has_cuda():
        backends["onnx"] = OnnxBound(bundle.read(STEP_ONNX), spec, "cuda", 1)
    x = np.random.default_rng(0).random((SESSIONS, rows, width), np.float32)
    slots = list(range(SESSIONS))
    runs: dict[str, Callable[[], object]] = {}
    for name, backend in backends.items():
        arrays = _filled(backend, bundle)
        runs[name] = lambda b=backend, a=arrays: b.run(a, slots, slots, x, ())
    want = backends["eager"].run(_filled(backends["eager"], bundle), slots, slots, x, ()).y
    runs["fused, without the host"] = _fused(network, card, bundle, x, want)
    return runs


def _fused(
    network: Any, card: Card, bundle: Bundle, x: np.ndarray, want: np.ndarray
) -> Callable[[], object]:
    from model.fused_ntm import FusedNTM

    fused = FusedNTM(network.to("cuda"), card.activation)
    arrays = _filled(Eager(StepModule(network, card.activation), 1, "cuda"), bundle)
    index, rows = torch.arange(SESSIONS, device="cuda"), torch.from_numpy(x).cuda()
    y = fused(arrays, index, index, rows).cpu().numpy()
    assert np.abs(y - want).max() <= 1e-4, "the fused step answers wrong"
    return lambda: fused(arrays, index, index, rows)


def _filled(backend: Any, bundle: Bundle) -> list[Tensor]:
    arrays = backend.allocate(bundle.manifest.state, SESSIONS)
    for array, row in zip(arrays, bundle.initial_state().values(), strict=True):
        array[:] = torch.from_numpy(row).to(array.device)
    return arrays


def _copied_bytes_s() -> float:
    """Bytes read and written a second by a copy on the device."""
    source = torch.empty(1 << 28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / _seconds(lambda: target.copy_(source))


def _seconds(act: Callable[[], object]) -> float:
    """Seconds of one, by the device's own clock."""
    act()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(TIMES):
        act()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3 / TIMES
