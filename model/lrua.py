"""Least recently used access: where a MANN writes (Santoro et al. 2016, arXiv 1605.06065, 3.2).

Pure functions. Usage is >= 0 and without a bound of its own: each read and write adds its weight.
"""

import torch
from torch import Tensor

# Slots are put in order by their usage rounded to a multiple of this; those that tie, by index.
# Slots that nothing was written to have the same usage but for the last bit, and by the bare usage
# each runtime's own rounding would decide which of them is written next.
GRAIN = 2.0**-8


def update_usage(
    usage: Tensor, read_weights: Tensor, write_weights: Tensor, decay: float
) -> Tensor:
    """w_t^u = gamma w_{t-1}^u + w_t^r + w_t^w, summed over the heads (eq. 5).

    usage: (B, N); read_weights, write_weights: (B, R, N), of this step; decay: gamma in [0, 1).
    Returns (B, N).
    """
    usage = decay * usage
    for head in range(read_weights.shape[1]):
        usage = usage + read_weights[:, head] + write_weights[:, head]
    return usage


def order_of(usage: Tensor, margin: Tensor) -> Tensor:
    """How many slots were used less than each: 0 at the least used slot, N - 1 at the most.

    What the n-th smallest element m(w^u, n) is compared for (eq. 6), without a sort: slots are
    compared pair by pair, in the order of GRAIN, and those that come before are counted. No two
    have the same place, so exactly n slots come in the first n places, also where usages tie.
    Order has no gradient.

    usage: (B, N); margin: `order_margin(N)` of model/usage.py. Returns (B, N).
    """
    rank = torch.round(usage.detach() / GRAIN)
    before = rank.unsqueeze(2) - rank.unsqueeze(1) >= margin  # (B, N, N): slot j before slot i?
    return before.to(usage.dtype).sum(dim=2, keepdim=True).squeeze(2)


def least_used(order: Tensor, count: int) -> Tensor:
    """w^lu(i) = 1 where w^u(i) is among the `count` smallest, else 0 (eq. 6).

    order: (B, N), of `order_of`. Returns (B, N), `count` ones a row.
    """
    return (order < count).to(order.dtype)


def write_weights(gate: Tensor, read_weights: Tensor, least: Tensor) -> Tensor:
    """w_t^w = sigma(alpha) w_{t-1}^r + (1 - sigma(alpha)) w_{t-1}^lu (eq. 7).

    gate: sigma(alpha), (B, R, 1) in [0, 1]; read_weights: (B, R, N), the last ones; least: (B, N).
    Returns (B, R, N): each read head writes where it has read, or to the least used slots.
    """
    return gate * read_weights + (1 - gate) * least.unsqueeze(1)


def write(memory: Tensor, weights: Tensor, added: Tensor, wiped: Tensor) -> Tensor:
    """M_t(i) = M_{t-1}(i) + w_t^w(i) k_t, once the least used slot is set to zero (eq. 8).

    memory: (B, N, M); weights: (B, R, N); added: (B, R, M), what each head adds; wiped: (B, N), 1
    at the slot to wipe, else 0. Returns (B, N, M).
    """
    kept = memory * (1 - wiped).unsqueeze(2)
    return kept + torch.matmul(weights.transpose(1, 2), added)
