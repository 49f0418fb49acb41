"""Sessions by hand, as users of servers without them write it: a table of states by session's name.

Runs in the peers' own environments, so it imports torch, numpy and nothing of ours. The states of
all sessions lie side by side, one tensor (sessions, *dims) a state tensor; a batch is gathered,
stepped and scattered by index. It is lost when its process ends.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

STEP, INITIAL = "step.torchscript.pt", "initial_state.npz"
FIRST_SESSIONS = 64
WARM_BATCHES = (1, 2, 3, 4, 8, 16, 32)


class StateTable:
    """The step in `folder` with the states of every session so far. For one thread's use."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)  # counts for this thread, so it is set where it is used
        self._step: Any = torch.jit.load(str(folder / STEP)).eval()
        with np.load(folder / INITIAL) as arrays:
            # A row of zeros, then the state's tensors in the order in which the step takes them.
            x, *self._initial = [torch.from_numpy(arrays[name]) for name in arrays.files]
        self._rows: dict[Hashable, int] = {}
        self._tables = self._fresh(FIRST_SESSIONS)
        self._warm(x)

    def run(self, sessions: Sequence[Hashable], x: np.ndarray) -> np.ndarray:
        """K rows of B different sessions, a new one from the initial state.

        x: (B, K, X) float32. Returns (B, K, Y).
        """
        index = torch.tensor([self._row(session) for session in sessions])
        with torch.inference_mode():
            state = [table.index_select(0, index) for table in self._tables]
            inputs, outputs = torch.from_numpy(x), []
            for k in range(x.shape[1]):
                y, *state = self._step(inputs[:, k], *state)
                outputs.append(y)
            for table, after in zip(self._tables, state, strict=True):
                table.index_copy_(0, index, after)
            return torch.stack(outputs, 1).numpy()

    def begin(self, session: Hashable) -> None:
        """Back to the initial state."""
        row = self._row(session)
        with torch.inference_mode():
            for table, initial in zip(self._tables, self._initial, strict=True):
                table[row] = initial

    def _row(self, session: Hashable) -> int:
        row = self._rows.setdefault(session, len(self._rows))
        if row == len(self._tables[0]):  # full: twice as many
            more = self._fresh(row)
            with torch.inference_mode():
                pairs = zip(self._tables, more, strict=True)
                self._tables = [torch.cat(pair) for pair in pairs]
        return row

    def _fresh(self, sessions: int) -> list[Tensor]:
        with torch.inference_mode():
            return [t.expand(sessions, *t.shape).clone() for t in self._initial]

    def _warm(self, x: Tensor) -> None:
        """The first calls compile; those of these sizes here, so that no request waits for it."""
        with torch.inference_mode():
            for batch in WARM_BATCHES * 3:
                self._step(*(t.expand(batch, *t.shape).clone() for t in (x, *self._initial)))
