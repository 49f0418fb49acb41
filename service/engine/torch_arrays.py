"""Slot arrays as torch tensors on a device, for every backend that computes on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.state import StateSpec
from service.engine.runtime import BackendError


def pick_device(device: str) -> str:
    """ "cpu" or "cuda", from "auto" too. Raises BackendError for CUDA on a machine without."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError("NTM_DEVICE=cuda: torch finds no CUDA device here")
    return device


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
        index = torch.tensor(slots, device=self.device)
        return [array.index_select(0, index) for array in arrays]

    def scatter(self, arrays: Sequence[Tensor], slots: Sequence[int], state: list[Tensor]) -> None:
        """See `Backend`."""
        index = torch.tensor(slots, device=self.device)
        for array, rows in zip(arrays, state, strict=True):
            array.index_copy_(0, index, rows[: len(slots)])

    def to_numpy(self, array: Tensor) -> NDArray[Any]:
        """See `Backend`."""
        return array.detach().cpu().numpy()

    def from_numpy(self, array: NDArray[Any]) -> Tensor:
        """See `Backend`."""
        return torch.from_numpy(np.array(array)).to(self.device)

    def device_bytes(self) -> int | None:
        """See `Backend`."""
        return torch.cuda.memory_allocated() if self.device == "cuda" else None
