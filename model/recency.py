"""Which slot was accessed least recently, found without looking at each (Rae et al. 2016, 3.2).

The paper keeps a linked list of the slots. Here times of access lie in blocks, about as many as a
block has slots, and the oldest time of each block beside them: the oldest slot is found in two
looks at sqrt(N) numbers, and an access changes one block.

    last: (B, blocks, width), oldest: (B, blocks)        slot i is at (i // width, i % width)
"""

import math

import torch
from torch import Tensor

from model.rows import rows_of

ACCESSED = 0.005  # delta: weights below it are no access
NEVER_CHOSEN = 2**40  # the time of places that are no slots


def block_dims(slots: int) -> tuple[int, int]:
    """Blocks and their width, with room for so many slots."""
    width = math.isqrt(slots - 1) + 1
    return -(-slots // width), width


def first_times(slots: int) -> tuple[Tensor, Tensor]:
    """No slot was accessed yet. Returns last (blocks, width) and oldest (blocks,), int64."""
    blocks, width = block_dims(slots)
    last = torch.zeros(blocks * width, dtype=torch.int64)
    last[slots:] = NEVER_CHOSEN
    last = last.view(blocks, width)
    return last, last.amin(dim=1)


def least_recent(last: Tensor, oldest: Tensor, slots: int) -> Tensor:
    """The slot of the oldest access, the first of those that tie: I^U with U^(2) (sec. 3.2).

    last: (B, blocks, width), oldest: (B, blocks), both as `touched` leaves them. Returns (B, 1),
    in [0, slots).
    """
    block = _first_smallest(oldest)
    column = _first_smallest(rows_of(last, block).squeeze(1))
    return (block * last.shape[2] + column).clamp(0, slots - 1)


def touched(
    last: Tensor, oldest: Tensor, now: Tensor, slots: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Slots whose weights, summed over heads and over reading and writing, are above delta were
    accessed now: U^(2)(i) = T - max{t: w_t^W(i) + w_t^R(i) > delta}.

    now: (B, 1); slots, weights: (B, T), a slot as often as it was read or written; no other slot
    may have a weight. Returns what `last` becomes there, rows (B, T, width) and their indices
    (B, T), and the oldest times (B, blocks).
    """
    width = last.shape[2]
    total = torch.matmul(_same(slots).to(weights.dtype), weights.unsqueeze(2))
    column = (slots % width).unsqueeze(2) == torch.arange(width, device=slots.device)
    accessed = (column & (total > ACCESSED)).to(weights.dtype)  # (B, T, width)
    blocks = torch.div(slots, width, rounding_mode="floor")
    hits = torch.matmul(_same(blocks).to(weights.dtype), accessed)
    rows = torch.where(hits > 0, now.unsqueeze(2), rows_of(last, blocks))
    return rows, blocks, oldest.scatter(1, blocks, rows.amin(dim=2))


def _same(indices: Tensor) -> Tensor:
    """indices: (B, T). Returns (B, T, T): are the i-th and the j-th the same?"""
    return indices.unsqueeze(2) == indices.unsqueeze(1)


def _first_smallest(times: Tensor) -> Tensor:
    """times: (B, n). Returns (B, 1): the index of the smallest, the first of those that tie."""
    count = times.shape[1]
    ordered = times * count + torch.arange(count, device=times.device)  # no two the same
    return torch.topk(ordered, 1, dim=1, largest=False).indices
