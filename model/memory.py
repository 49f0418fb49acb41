"""The memory matrix: how it begins, is read and is written."""

from typing import Literal

import torch
from torch import Tensor, nn

from model.sizes import require_positive

MemoryInit = Literal["constant", "learned", "random"]
CONSTANT = 1e-6  # Collier and Beel 2018: a small constant learns fastest


def read(memory: Tensor, weights: Tensor) -> Tensor:
    """r_t = sum_i w_t(i) M_t(i) (Graves et al. 2014, eq. 2).

    memory: (B, N, M); weights: (B, R, N), or (B, N) for one head. Returns (B, R, M) or (B, M).
    """
    if weights.dim() == 2:
        return read(memory, weights.unsqueeze(1)).squeeze(1)
    return torch.matmul(weights, memory)


def write(memory: Tensor, weights: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    """M_t(i) = M_{t-1}(i) prod_w [1 - w(i) e_w] + sum_w w(i) a_w (eqs. 3 and 4).

    memory: (B, N, M); weights: (B, W, N); erase: (B, W, M) in [0, 1]; add: (B, W, M). For one
    head the axis W may be left out of all three. Returns (B, N, M).
    All heads erase before any adds, so the order of heads does not matter.
    """
    if weights.dim() == 2:
        weights, erase, add = weights.unsqueeze(1), erase.unsqueeze(1), add.unsqueeze(1)
    for head in range(weights.shape[1]):
        wiped = weights[:, head].unsqueeze(2) * erase[:, head].unsqueeze(1)
        memory = memory * (1 - wiped)
    return memory + torch.matmul(weights.transpose(1, 2), add)


class MemoryBank(nn.Module):
    """The rules of an N x M memory. The contents are a value, passed in and out.

    `init` is the memory a new episode starts with: "constant" (1e-6 everywhere), "learned"
    (a trained matrix) or "random" (drawn once, uniform in +-1/sqrt(N + M), then fixed).
    Raises ValueError for a size below 1 or another init.
    """

    def __init__(self, memory_size: int, memory_width: int, init: MemoryInit = "constant") -> None:
        super().__init__()
        require_positive(memory_size=memory_size, memory_width=memory_width)
        if init not in ("constant", "learned", "random"):
            raise ValueError(f'memory_init must be "constant", "learned" or "random", got {init!r}')
        self.memory_size, self.memory_width, self.init = memory_size, memory_width, init
        bound = (memory_size + memory_width) ** -0.5
        drawn = torch.empty(memory_size, memory_width).uniform_(-bound, bound)
        if init == "learned":
            self.initial = nn.Parameter(drawn)
        else:
            fixed = drawn if init == "random" else torch.full_like(drawn, CONSTANT)
            self.register_buffer("initial", fixed)

    def initial_memory(self, batch: int) -> Tensor:
        """The memory at the start of an episode: (B, N, M)."""
        return self.initial.unsqueeze(0).expand(batch, -1, -1)

    def read(self, memory: Tensor, weights: Tensor) -> Tensor:
        """See `read`."""
        return read(memory, weights)

    def write(self, memory: Tensor, weights: Tensor, erase: Tensor, add: Tensor) -> Tensor:
        """See `write`."""
        return write(memory, weights, erase, add)

    def get_memory_contents(self, memory: Tensor | None = None) -> Tensor:
        """A detached copy of `memory`: (B, N, M); of the initial memory (N, M) where None."""
        return (self.initial if memory is None else memory).detach().clone()
