"""Recorded rows run again: how a state comes back from a checkpoint and what was done since."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.arena import INITIAL
from service.engine.packing import pack, unpack
from service.engine.runtime import Floats, Runtime
from service.store.store import Record

TURN_ROWS = 8  # run again in one piece
TURN_S = 0.003  # after which one looks at what else there is to do


def rerun(runtime: Runtime, state: bytes | None, records: list[Record]) -> bytes | None:
    """A packed state after the records' rows. None, as a state: the one every session begins with.

    Raises ValueError for a state of another size.
    """
    if not records:
        return state
    return pack(runtime.replay(_unpacked(runtime, state), [_rows(records)]))


async def rerun_in_turns(
    runtime: Runtime, state: bytes | None, records: list[Record], leave_out: int = 0
) -> bytes | None:
    """The same but for the last `leave_out` rows, a few at a time: others get on between."""
    if not records:
        return state
    rows, begun = _rows(records)[: -leave_out or None], monotonic()
    for at in range(0, len(rows), TURN_ROWS):
        arrays = _unpacked(runtime, state)
        state = pack(runtime.replay(arrays, [rows[at : at + TURN_ROWS]]))
        if monotonic() - begun > TURN_S:
            await asyncio.sleep(0)
            begun = monotonic()
    return state


def _unpacked(runtime: Runtime, state: bytes | None) -> list[NDArray[Any]]:
    return runtime.save(INITIAL) if state is None else unpack(runtime.spec, state)


def _rows(records: list[Record]) -> Floats:
    parts = [np.frombuffer(r.rows, np.float32).reshape(r.count, -1) for r in records]
    return np.concatenate(parts)
