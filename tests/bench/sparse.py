"""A step of a SAM by memory size, every slot written: the session's, from slot to slot as commits
have it. Beside it the same network that compares each key with all slots, and its dense twin, of
which each step tells the whole state."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from msgspec.structs import replace

from export.onnx import to_onnx
from export.step import StepModule
from model.families import Network
from model.hashed_index import buckets_of
from model.sam import SAM, SAMState
from model.state import StateSpec, TensorSpec, flatten
from service.engine.one_by_one import OneByOne, onnx_step
from service.engine.onnx import OnnxCpu, open_session
from service.engine.runtime import Backend, Runtime

SLOTS = (1024, 65_536)
SIZES: dict[str, Any] = {
    "input_size": 8, "output_size": 6, "memory_width": 32, "read_heads": 2, "reads": 4,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {"index": {"index": 8}, "exact": {}, "dense": {}}
TURNS, STEPS = 5, 40


class Twin(SAM):
    """The same network, but every tensor of its state is told whole."""

    @property
    def state_spec(self) -> StateSpec:
        """All dense."""
        return tuple(_dense(tensor) for tensor in super().state_spec)


class Turn(NamedTuple):
    """Microseconds a step."""

    wall: float
    cpu: float


def report(_entry: Path, _seconds: float) -> None:
    """Print the table, the medians of turns to and fro."""
    # Each is an export: half a minute of processor time.
    runtimes = {(kind, slots): _runtime(kind, slots) for kind in KINDS for slots in SLOTS}
    turns: dict[tuple[str, int], list[Turn]] = {key: [] for key in runtimes}
    for turn in range(TURNS):
        for key in list(runtimes)[:: -1 if turn % 2 else 1]:
            turns[key].append(_measure(runtimes[key]))
    print("\n## A step of a SAM, one row of one session, us (processor time)\n")
    print("| slots | found by hashes | compared with all | dense twin | bytes of state |")
    print("|---|---|---|---|---|")
    for slots in SLOTS:
        told = " | ".join(_told([*turns[kind, slots]]) for kind in KINDS)
        print(f"| {slots:,} | {told} | {runtimes['index', slots].slot_bytes:,} |")
    ratios = (_ratio(turns[kind, SLOTS[-1]], turns[kind, SLOTS[0]]) for kind in KINDS)
    print(f"| {SLOTS[-1]:,} to {SLOTS[0]:,} | {' | '.join(ratios)} | |")


def _told(turns: list[Turn]) -> str:
    wall, cpu = (float(np.median(part)) for part in zip(*turns, strict=True))
    return f"{wall:,.0f} ({cpu:,.0f})"


def _ratio(large: list[Turn], small: list[Turn]) -> str:
    wall, cpu = (
        float(np.median([one[at] / other[at] for one, other in zip(large, small, strict=True)]))
        for at in range(2)
    )
    return f"{wall:.2f} ({cpu:.2f})"


def _measure(runtime: Runtime) -> Turn:
    """Steps between two slots, each one's source let go of, as after a commit."""
    x = np.random.default_rng(1).uniform(-1, 1, (STEPS, 1, 1, 8)).astype(np.float32)
    wall: list[float] = []
    cpu: list[float] = []
    for step in range(STEPS):
        src, dst = 1 + step % 2, 2 - step % 2
        begun = time.perf_counter(), time.thread_time()
        runtime.step([src], [dst], x[step])
        runtime.free(src)
        wall.append(time.perf_counter() - begun[0])
        cpu.append(time.thread_time() - begun[1])
    return Turn(1e6 * float(np.median(wall)), 1e6 * float(np.median(cpu)))


def _runtime(kind: str, slots: int) -> Runtime:
    torch.manual_seed(1)
    network = (Twin if kind == "dense" else SAM)(memory_size=slots, **SIZES, **KINDS[kind])
    step = StepModule(cast(Network, network.eval()), "sigmoid")
    model, spec = to_onnx(step), step.state_spec
    session = open_session(model, 1, "CPUExecutionProvider")
    backend: Backend = OneByOne("onnx", onnx_step(session, spec), spec)
    if kind == "dense":
        backend = OnnxCpu(model, spec, 1)
    initial = [part.numpy() for part in step.initial_state()]
    runtime = Runtime(backend, spec, 8, 3, 1, initial)
    runtime.write([1], [part.detach().numpy() for part in flatten(_full(network))])
    return runtime


def _full(network: SAM) -> SAMState:
    """A state in which every slot was written, at a time of its own."""
    state, slots = network.initial_state(1), network.memory_size
    words = torch.randn(1, slots, network.memory_width).tanh()
    blocks, width = state.last_access.shape[1:]
    last = torch.randperm(blocks * width).view(1, blocks, width) + 1
    cells: Any = ()
    if network.index is not None:
        buckets = buckets_of(words, cast(torch.Tensor, network.planes), network.index)
        at = torch.arange(slots)[None, :, None]
        places = buckets * network.index.room + at % network.index.room
        values = (at + 1).expand_as(places).flatten(1)
        cells = state.cells.scatter(1, places.flatten(1), values)
    return state._replace(
        memory=words,
        last_access=last,
        oldest_access=last.amin(dim=2),
        time=torch.full((1, 1), blocks * width + 1),
        cells=cells,
    )


def _dense(tensor: TensorSpec) -> TensorSpec:
    return replace(tensor, update="dense", rows=0)
