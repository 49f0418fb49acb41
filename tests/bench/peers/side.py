"""One server under one workload: its turns so far, and what they took."""

from __future__ import annotations

import numpy as np

from tests.bench.peers.load import Load, Turn
from tests.bench.peers.processes import cpu_ms, resident_mb
from tests.bench.peers.sessions import Sessions
from tests.bench.peers.started import HOST, Inputs, Running
from tests.bench.peers.workloads import CONNECTIONS
from tests.bench.reference import Reference


class Side:
    """turns: one after the other; server_ms, own_ms: processor time of the server and of the load
    generator, of all turns together."""

    def __init__(self, name: str, server: Running, inputs: Inputs) -> None:
        self.name, self.server = name, server
        self.sessions = Sessions(server.wire_of(inputs), inputs, server.tolerance)
        self._load = Load(self.sessions, (HOST, server.port), CONNECTIONS)
        self.turns: list[Turn] = []
        self.server_ms, self.own_ms, self.resident_mb = 0.0, 0.0, 0.0

    async def warm(self) -> None:
        """Every session once, so that all are there."""
        await self._load.round()

    async def turn(self, seconds: float, rate: float | None = None) -> Turn:
        """One more; at an even pace where a rate is given."""
        before = cpu_ms(self.server.pid)
        load = self._load
        turn = await (load.closed(seconds) if rate is None else load.paced(seconds, rate))
        self.server_ms += cpu_ms(self.server.pid) - before
        self.own_ms += turn.own_cpu_ms
        self.resident_mb = max(self.resident_mb, resident_mb(self.server.pid))
        self.turns.append(turn)
        return turn

    @property
    def rates(self) -> np.ndarray:
        """Requests a second, by turn."""
        return np.array([turn.rate for turn in self.turns])

    @property
    def p99s(self) -> np.ndarray:
        """The 99th percentile of the latencies in milliseconds, by turn."""
        return np.array([np.percentile(turn.latencies, 99) for turn in self.turns])

    @property
    def requests(self) -> int:
        """Of all turns."""
        return sum(len(turn.latencies) for turn in self.turns)

    def percentiles(self) -> tuple[float, float]:
        """The median and the 99th percentile of all latencies, in milliseconds."""
        p50, p99 = np.percentile(np.concatenate([t.latencies for t in self.turns]), [50, 99])
        return float(p50), float(p99)

    def begin_anew(self) -> None:
        """Forget the turns so far, but not the sessions."""
        self.turns, self.server_ms, self.own_ms = [], 0.0, 0.0

    def wrong(self, reference: Reference) -> int:
        """Of the answers that were kept."""
        return self.sessions.wrong(reference)
