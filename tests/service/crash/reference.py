"""What rows come to, by the runtimes of this process, and all that led a session to a place."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.bundle import STEP_ONNX, read_bundle
from service.engine.onnx import OnnxCpu
from service.engine.runtime import Runtime

Floats = NDArray[np.float32]
State = list[NDArray[Any]]
APART = 16  # rows between places whose state is kept


class Reference:
    """One version of a model."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def width(self) -> int:
        """Numbers a row."""
        return self._runtime.input_size

    def initial(self) -> State:
        """The state a session begins with."""
        return self._runtime.save(0)

    def step(self, state: State, rows: Floats) -> tuple[Floats, State]:
        """rows: (T, X). Returns outputs (T, Y) and the state after them."""
        self._runtime.load(1, state)
        y = self._runtime.step([1], [2], rows[None]).y[0]
        return y, self._runtime.save(2)


class Place(NamedTuple):
    """Where a session can stand: behind a row that was run on a version, or at its beginning.

    state: kept now and then; `Versions.state` works out the others.
    """

    step: int
    version: str
    before: Place | None = None
    row: Floats | None = None
    state: State | None = None


class Versions:
    """The versions of one model, which make their states alike."""

    def __init__(self, references: dict[str, Reference]) -> None:
        self._references = references

    @property
    def width(self) -> int:
        """Numbers a row."""
        return next(iter(self._references.values())).width

    def initial(self, version: str) -> Place:
        """Where a session of a version begins."""
        return Place(0, version, state=self._references[version].initial())

    def step(self, place: Place, rows: Floats, version: str) -> tuple[Floats, list[Place]]:
        """rows: (T, X). Returns outputs (T, Y) and the place behind each row."""
        outputs, state = self._references[version].step(self.state(place), rows)
        places: list[Place] = []
        for row in rows:
            place = Place(place.step + 1, version, place, row)
            places.append(place)
        if self._unkept(place) >= APART:
            places[-1] = place._replace(state=state)
        return outputs, places

    def state(self, place: Place) -> State:
        """Of the rows that led there, run again from where the state was kept last."""
        rows: list[tuple[str, Floats]] = []
        while place.state is None:
            assert place.before is not None and place.row is not None
            rows.append((place.version, place.row))
            place = place.before
        state = place.state
        for version, run in groupby(reversed(rows), lambda led: led[0]):
            state = self._references[version].step(state, np.stack([row for _, row in run]))[1]
        return state

    @staticmethod
    def _unkept(place: Place) -> int:
        count = 0
        while place.state is None and place.before is not None:
            place, count = place.before, count + 1
        return count


def reference_of(folder: Path) -> Reference:
    """The reference of one bundle."""
    bundle = read_bundle(folder)
    spec, initial = bundle.manifest.state, list(bundle.initial_state().values())
    backend = OnnxCpu(bundle.read(STEP_ONNX), spec, 1)
    return Reference(Runtime(backend, spec, bundle.manifest.input.dims[0], 3, 32, initial))
