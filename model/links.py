"""In which order slots were written: the links of Graves et al. 2016 (Nature 538, Methods).

Pure functions. Link (i, j) is the degree to which slot i was written right after slot j; rows and
columns sum to at most 1 and the diagonal is 0.
"""

import torch
from torch import Tensor

FAINT = 1e-6  # a distribution whose largest weight is below this is not sharpened to a full one


def update_link(
    link: Tensor, write_weights: Tensor, precedence: Tensor, same: Tensor | None = None
) -> Tensor:
    """L_t(i, j) = (1 - w_t^w(i) - w_t^w(j)) L_{t-1}(i, j) + w_t^w(i) p_{t-1}(j), 0 where i = j.

    link: (B, N, N); write_weights, precedence: (B, N), of this step and of the last; same:
    `same_slot(N)`, made here where None. Returns (B, N, N).
    """
    same = same_slot(link.shape[1]).to(link.device) if same is None else same
    row, column = write_weights.unsqueeze(2), write_weights.unsqueeze(1)
    followed = (1 - row - column) * link + row * precedence.unsqueeze(1)
    return followed.masked_fill(same, 0.0)


def update_precedence(precedence: Tensor, write_weights: Tensor) -> Tensor:
    """p_t = (1 - sum_i w_t^w(i)) p_{t-1} + w_t^w: how much each slot was the last one written.

    precedence, write_weights: (B, N), each summing to at most 1. Returns (B, N), which does too.
    """
    return (1 - write_weights.sum(dim=1, keepdim=True)) * precedence + write_weights


def follow(link: Tensor, read_weights: Tensor) -> tuple[Tensor, Tensor]:
    """b_t = L_t^T w_{t-1}^r and f_t = L_t w_{t-1}^r: what was written before and after.

    link: (B, N, N); read_weights: (B, R, N), the last ones. Returns backward and forward weights,
    (B, R, N) each, summing to at most 1.
    """
    return torch.matmul(read_weights, link), torch.matmul(read_weights, link.transpose(1, 2))


def sharpen_links(weights: Tensor, sharpness: Tensor) -> Tensor:
    """S(d, s)(i) = d(i)^s / sum_j d(j)^s (Csordas and Schmidhuber 2019, link sharpness).

    weights: (B, R, N), >= 0; sharpness: (B, R, 1), >= 1. Returns (B, R, N), summing to 1, or to
    less, in proportion, where no weight reaches FAINT: of nothing, nothing is made.
    """
    largest = weights.amax(dim=2, keepdim=True)
    # Scaled before the logarithm; the maximum takes no part in the quotient, hence detach.
    scaled = weights / largest.detach().clamp_min(FAINT)
    # A softmax of logarithms is the quotient of powers, finite for any sharpness.
    powers = torch.softmax(sharpness * torch.log(scaled.clamp_min(1e-12)), dim=2)
    return powers * (largest / FAINT).clamp_max(1)


def same_slot(slots: int) -> Tensor:
    """(N, N), bool: the diagonal."""
    return torch.eye(slots, dtype=torch.bool)
