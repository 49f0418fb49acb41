"""CUDA graphs: the many launches of a step recorded once a batch size, and replayed as one.

At small batches a GPU waits for its next launch most of the time. The state lies in buffers that a
graph reads and at its end overwrites, so that the rows of one call are as many replays. Every size
uses the front of the same buffers and one pool of memory.

Written without a GPU at hand: the tests of every runtime run it where there is one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

log = logging.getLogger("ntm.engine")
LARGEST = 256  # members; above, launches hide behind the arithmetic of those before
WARMING = 5  # steps before a recording: TorchScript rewrites itself in its first ones

Step = Callable[[Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]]


class Graph(NamedTuple):
    """A recorded step. It reads x and state; y and state are overwritten by each replay."""

    replay: Callable[[], None]
    x: Tensor
    state: list[Tensor]
    y: Tensor


class Graphs:
    """One graph a batch size, recorded when the size first comes: `Runtime` warms them all."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._graphs: dict[int, Graph] = {}
        self._buffers: list[Tensor] = []
        self._pool: Any = None
        self._broken = False

    def of(self, x: Tensor, state: list[Tensor]) -> Graph | None:
        """The graph for a batch like this one. x: (B, X). None where steps are better run plain."""
        size = len(x)
        if self._broken or size > LARGEST:
            return None
        if size not in self._graphs:
            try:
                self._graphs[size] = self._record(x, state)
            except RuntimeError as error:  # the driver or a kernel that cannot be recorded
                self._broken = True
                log.warning("no CUDA graphs: %s", str(error).splitlines()[0])
                return None
        return self._graphs[size]

    def _record(self, x: Tensor, state: list[Tensor]) -> Graph:
        if not self._buffers:
            self._buffers = [t.new_zeros(LARGEST, *t.shape[1:]) for t in (x, *state)]
            self._pool = torch.cuda.graph_pool_handle()
        row, *held = (buffer[: len(x)] for buffer in self._buffers)
        self._warm(row, held)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            y, following = self._step(row, held)
            for buffer, tensor in zip(held, following, strict=True):
                buffer.copy_(tensor)
        return Graph(graph.replay, row, held, y)

    def _warm(self, x: Tensor, state: list[Tensor]) -> None:
        """On a stream of its own, as recording asks for."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARMING):
                self._step(x, state)
        torch.cuda.current_stream().wait_stream(stream)
