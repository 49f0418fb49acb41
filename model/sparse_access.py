"""Sparse reads and writes of a large memory (Rae et al. 2016, arXiv 1610.09027, section 3).

Pure functions. What a head attends to is told by slots, indices (B, R, K), and their weights, and
what a write changes by rows and their slots: nothing here has a number for each of N slots but the
exact search for the nearest.
"""

import torch
from torch import Tensor

from model.dnc_content import FAINT
from model.rows import Rows, rows_of

# Slots are put in order by their similarity rounded to a multiple of this; those that tie, by
# index. By the bare similarity each runtime's own rounding would decide which of two like slots is
# read, and so which is written next.
GRAIN = 2.0**-10
NOWHERE = -(2.0**40)  # the place in that order of what may not be chosen


def similarity(key: Tensor, words: Tensor) -> Tensor:
    """D(q, m) = q.m / (sqrt(|q|^2 + FAINT^2) sqrt(|m|^2 + FAINT^2)), 0 for a word of zeros.

    key: (..., M); words: (..., S, M). Returns (..., S), in [-1, 1].
    """
    dots = torch.matmul(words, key.unsqueeze(-1)).squeeze(-1)
    key_norm = torch.sqrt((key * key).sum(dim=-1, keepdim=True) + FAINT**2)
    return dots / (key_norm * torch.sqrt((words * words).sum(dim=-1) + FAINT**2))


def sparse_weights(key: Tensor, words: Tensor, strength: Tensor) -> Tensor:
    """w~(s_i) = softmax over the K nearest of beta D(q, M(s_i)), 0 elsewhere (eqs. 2 and 4).

    key: (B, R, M); words: (B, R, K, M); strength: (B, R, 1), > 0. Returns (B, R, K).
    """
    return torch.softmax(strength * similarity(key, words), dim=-1)


def order(similar: Tensor, slots: Tensor, count: int) -> Tensor:
    """Larger where more similar, in the order of GRAIN, then of the slots; no two slots the same.

    similar: any dims, in [-1, 1]; slots: dims that broadcast, in [0, count). Returns float64.
    """
    return torch.round(similar.double() / GRAIN) * count - slots.double()


def nearest(key: Tensor, memory: Tensor, written: Rows, count: int) -> Tensor:
    """The slots most similar to each key, once the rows are written: the exact search.

    key: (B, R, M); memory: (B, N, M), before the write of (B, W, M) at (B, W). Returns
    (B, R, count), the most similar first. Has no gradient.
    """
    key, memory, rows = key.detach(), memory.detach(), written.values.detach()
    before = similarity(key, memory.unsqueeze(1))
    slots = written.indices.unsqueeze(1).expand(-1, key.shape[1], -1)
    similar = before.scatter(2, slots, similarity(key, rows.unsqueeze(1)))
    everywhere = torch.arange(memory.shape[1], device=memory.device)
    return torch.topk(order(similar, everywhere, memory.shape[1]), count, dim=2).indices


def firsts(slots: Tensor) -> Tensor:
    """Which of slots (B, W) has not come before in its row. Returns (B, W), bool."""
    same = slots.unsqueeze(2) == slots.unsqueeze(1)
    earlier = torch.ones(same.shape[1:], device=slots.device).tril(-1)
    return (same * earlier).sum(dim=2) == 0


def written_rows(
    memory: Tensor, slots: Tensor, weights: Tensor, added: Tensor, wiped: Tensor
) -> Tensor:
    """M_t(i) = (1 - R_t(i)) M_{t-1}(i) + A_t(i) at the slots written to (eq. 3), A_t = w^W a^T, R_t
    1 at the least recently accessed slot.

    memory: (B, N, M); slots, weights: (B, W), where slots come up twice their weights add up;
    added: (B, W, M), what goes there; wiped: (B, 1), a slot. Returns (B, W, M), the same for the
    same slot.
    """
    same = (slots.unsqueeze(2) == slots.unsqueeze(1)).to(memory.dtype)
    kept = rows_of(memory, slots) * (slots != wiped).unsqueeze(2)
    return kept + torch.matmul(same, weights.unsqueeze(2) * added)


def words_after(memory: Tensor, chosen: Tensor, written: Rows) -> Tensor:
    """The words at `chosen` (B, C), once the rows are written.

    memory: (B, N, M), before the write of (B, W, M) at (B, W). Returns (B, C, M).
    """
    rows, slots = written
    fresh = (chosen.unsqueeze(2) == slots.unsqueeze(1)) & firsts(slots).unsqueeze(1)
    fresh = fresh.to(memory.dtype)  # (B, C, W), at most one in a row
    stale = 1 - fresh.sum(dim=2, keepdim=True)
    return stale * rows_of(memory, chosen) + torch.matmul(fresh, rows)
