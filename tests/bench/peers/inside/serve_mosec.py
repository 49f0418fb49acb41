"""mosec with a state table by hand. Runs in mosec's own environment.

STEP=<folder> ROUTE=/rows1 serve_mosec.py --address 127.0.0.1 --port 8000

The route takes {"session", "inputs"}, with as many rows in every request: one route is one stage.
One worker: with two, each has its own half of a session's rows, and answers wrongly.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from mosec import Server, Worker
from state_table import StateTable

MAX_BATCH = 32
WAIT_MS = 1  # the least there is


class Rows(msgspec.Struct):
    """A request: its session, and its rows."""

    session: str
    inputs: list[list[float]]


DECODER = msgspec.json.Decoder(Rows)
ENCODER = msgspec.json.Encoder()


class Step(Worker):
    """Rows of up to MAX_BATCH sessions as one batch; all requests of a route have as many rows."""

    def __init__(self) -> None:
        super().__init__()
        self._table = StateTable(Path(os.environ["STEP"]))

    def deserialize(self, data: bytes) -> Rows:
        """JSON by msgspec, which is several times faster than mosec's own."""
        return DECODER.decode(data)

    def serialize(self, data: Any) -> bytes:
        """See `deserialize`."""
        return ENCODER.encode(data)

    def forward(self, data: list[Rows]) -> list[dict[str, list[list[float]]]]:
        """One batch."""
        x = np.array([each.inputs for each in data], np.float32)
        y = self._table.run([each.session for each in data], x)
        return [{"outputs": rows} for rows in y.tolist()]


if __name__ == "__main__":
    server = Server()
    route = os.environ["ROUTE"]
    server.append_worker(Step, max_batch_size=MAX_BATCH, max_wait_time=WAIT_MS, route=route)
    server.run()
