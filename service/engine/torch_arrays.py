"""Slot arrays as torch tensors on a device, for every backend that computes on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.state import StateSpec
from service.engine.runtime import BackendError, Floats, StepOutput


def pick_device(device: str) -> str:
    """ "cpu" or "cuda", from "auto" too. Raises BackendError for CUDA on a machine without."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError("NTM_DEVICE=cuda: torch finds no CUDA device here")
    return device


class Rows:
    """The rows of one call on their way through a network. x: (K, B, X) on the device.

    What comes of them stays there until all are done: one copy to the host, not one a row.
    """

    def __init__(self, x: Tensor, watch: Sequence[int]) -> None:
        self.x, self._watch = x, watch
        self._outputs: list[Tensor] = []
        self._seen: list[list[Tensor]] = [[] for _ in watch]

    def add(self, y: Tensor, state: Sequence[Tensor]) -> None:
        """What a row came to. y is kept as it is; of the state, what is watched is copied."""
        self._outputs.append(y)
        for kept, index in zip(self._seen, self._watch, strict=True):
            kept.append(state[index].clone())

    def output(self) -> StepOutput:
        """All of it, on the host."""
        return StepOutput(_on_host(self._outputs), [_on_host(kept) for kept in self._seen])


def _on_host(rows: list[Tensor]) -> NDArray[Any]:
    return torch.stack(rows, 1).cpu().numpy()


class TorchArrays:
    """The array half of a backend."""

    def __init__(self, device: str, threads: int) -> None:
        self.device = device
        # The count is the calling thread's own: set elsewhere, a step takes many times as long.
        torch.set_num_threads(threads)

    def allocate(self, spec: StateSpec, slots: int) -> list[Tensor]:
        """See `Backend`."""
        return [
            torch.zeros((slots, *tensor.dims), dtype=getattr(torch, tensor.dtype)).to(self.device)
            for tensor in spec
        ]

    def gather(self, arrays: Sequence[Tensor], slots: Sequence[int]) -> list[Tensor]:
        """See `Backend`."""
        index = torch.tensor(slots, dtype=torch.int64, device=self.device)
        return [array.index_select(0, index) for array in arrays]

    def scatter(self, arrays: Sequence[Tensor], slots: Sequence[int], state: list[Tensor]) -> None:
        """See `Backend`."""
        index = torch.tensor(slots, dtype=torch.int64, device=self.device)
        for array, rows in zip(arrays, state, strict=True):
            array.index_copy_(0, index, rows[: len(slots)])

    def to_device(self, x: Floats) -> Tensor:
        """x: (B, K, X) on the host. Returns (K, B, X), each row's part in one piece."""
        return torch.from_numpy(np.ascontiguousarray(x.swapaxes(0, 1))).to(self.device)

    def free(self, arrays: Sequence[Tensor], slot: int) -> None:
        """See `Backend`. Nothing is kept beside the slots."""

    def to_numpy(self, array: Tensor) -> NDArray[Any]:
        """See `Backend`."""
        return array.detach().cpu().numpy()

    def from_numpy(self, array: NDArray[Any]) -> Tensor:
        """See `Backend`."""
        return torch.from_numpy(np.array(array)).to(self.device)

    def device_bytes(self) -> int | None:
        """See `Backend`."""
        return torch.cuda.memory_allocated() if self.device == "cuda" else None


class TorchSteps(TorchArrays, ABC):
    """A backend that has a `step` of tensors."""

    @abstractmethod
    def step(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """One row of every member. x: (B, X). Returns y (B, Y) and the next state, new tensors."""

    @torch.inference_mode()
    def run(
        self,
        arrays: Sequence[Tensor],
        src: Sequence[int],
        dst: Sequence[int],
        x: Floats,
        watch: Sequence[int],
    ) -> StepOutput:
        """See `Backend`."""
        state = self.gather(arrays, src)
        rows = Rows(self.to_device(x), watch)
        for row in rows.x:
            y, state = self.step(row, state)
            rows.add(y, state)
        self.scatter(arrays, dst, state)
        return rows.output()
