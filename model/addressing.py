"""Where a head looks: the addressing of Graves, Wayne and Danihelka 2014, section 3.3.

Pure functions over a heads axis K. A head axis may be left out where there is one head:
`key: (B, M)` then gives weights `(B, N)`. Weights that go in are >= 0 and sum to 1 over N, and
so are those that come out.
"""

from typing import Literal

import torch
from torch import Tensor

EPSILON = 1e-8
Sharpening = Literal["power", "softmax"]


def cosine_similarity(key: Tensor, memory: Tensor) -> Tensor:
    """Cosine of each key with each slot, K[u, v] = u.v / (|u| |v|) (eq. 6).

    key: (B, K, M), memory: (B, N, M). Returns (B, K, N) in [-1, 1] up to rounding; 0 for a zero
    key or slot.
    """
    dots = torch.matmul(key, memory.transpose(1, 2))
    key_norm = torch.linalg.vector_norm(key, dim=2, keepdim=True)
    slot_norm = torch.linalg.vector_norm(memory, dim=2).unsqueeze(1)
    return dots / (key_norm * slot_norm + EPSILON)


def content_based_addressing(key: Tensor, memory: Tensor, beta: Tensor) -> Tensor:
    """w_c = softmax over slots of beta_t K[k_t, M_t(i)] (eq. 5).

    key: (B, K, M) or (B, M); memory: (B, N, M); beta: (B, K, 1) or (B, 1), > 0.
    Returns (B, K, N) or (B, N). Finite for zero keys, zero memory and beta up to 1e38.
    Raises ValueError when the axes of key, memory and beta are not as above.
    """
    if key.dim() not in (2, 3) or memory.dim() != 3 or beta.dim() != key.dim():
        raise ValueError(
            "expected key (B, K, M), memory (B, N, M), beta (B, K, 1), or key (B, M), beta (B, 1); "
            f"got {tuple(key.shape)}, {tuple(memory.shape)}, {tuple(beta.shape)}"
        )
    if key.dim() == 2:
        return content_based_addressing(key.unsqueeze(1), memory, beta.unsqueeze(1)).squeeze(1)
    return torch.softmax(beta * cosine_similarity(key, memory), dim=2)


def interpolate(weights: Tensor, previous: Tensor, g: Tensor) -> Tensor:
    """w_g = g_t w_c + (1 - g_t) w_{t-1} (eq. 7).

    weights, previous: (..., N); g: (..., 1) in [0, 1]. Returns (..., N).
    """
    return g * weights + (1 - g) * previous


def circular_shift(weights: Tensor, s: Tensor) -> Tensor:
    """w~(i) = sum_j w_g(j) s(i - j), indices modulo N (eq. 8).

    weights: (..., N); s: (..., S), a distribution over the shifts -(S//2) .. S//2, S odd.
    A shift of +1 moves the focus from slot i to slot i + 1. Returns (..., N).
    Raises ValueError when S is even or greater than N.
    """
    shifts, slots = s.shape[-1], weights.shape[-1]
    if shifts % 2 == 0 or shifts > slots:
        raise ValueError(f"S must be odd and at most N={slots}, got {shifts}")
    reach = shifts // 2
    if reach == 0:
        return weights * s
    ring = torch.cat([weights[..., -reach:], weights, weights[..., :reach]], dim=-1)
    moved = ring[..., shifts - 1 : shifts - 1 + slots] * s[..., 0:1]
    for j in range(1, shifts):
        start = shifts - 1 - j
        moved = moved + ring[..., start : start + slots] * s[..., j : j + 1]
    return moved


def sharpen(weights: Tensor, gamma: Tensor, form: Sharpening = "power") -> Tensor:
    """w(i) = w~(i)^gamma / sum_j w~(j)^gamma (eq. 9), or softmax(gamma w~) for form="softmax".

    weights: (..., N), taken as 0 where below; gamma: (..., 1), >= 1. Returns (..., N), also
    finite for huge gamma.
    Raises ValueError for another form.
    """
    require_sharpening(form)
    if form == "softmax":
        return torch.softmax(gamma * weights, dim=-1)
    # The result does not change with the scale of w~, so dividing by its maximum first is free
    # and keeps the sum of powers at or above 1 (its gradient is zero, hence detach).
    scaled = weights / weights.amax(dim=-1, keepdim=True).detach().clamp_min(EPSILON)
    powers = torch.pow(scaled.clamp_min(0), gamma)
    return powers / powers.sum(dim=-1, keepdim=True)


def require_sharpening(form: str) -> None:
    """Raises ValueError unless `form` is a form of sharpening."""
    if form not in ("power", "softmax"):
        raise ValueError(f'sharpening must be "power" or "softmax", got {form!r}')


def location_based_addressing(
    weights: Tensor,
    g: Tensor,
    s: Tensor,
    gamma: Tensor,
    previous: Tensor | None = None,
    sharpening: Sharpening = "power",
) -> Tensor:
    """Interpolation, circular shift and sharpening, in this order (section 3.3.2, eqs. 7-9).

    weights: (..., N) from the content; g: (..., 1) in [0, 1]; s: (..., S), sums to 1;
    gamma: (..., 1), >= 1; previous: (..., N), the head's last weights, uniform where None.
    Returns (..., N).
    """
    if previous is None:
        previous = torch.full_like(weights, 1.0 / weights.shape[-1])
    return sharpen(circular_shift(interpolate(weights, previous, g), s), gamma, sharpening)


class AddressingSystem:
    """The two mechanisms in sequence, content then location, with one form of sharpening.

    Raises ValueError for another form of sharpening.
    """

    def __init__(self, sharpening: Sharpening = "power") -> None:
        require_sharpening(sharpening)
        self.sharpening: Sharpening = sharpening

    def content_based_addressing(self, key: Tensor, memory: Tensor, beta: Tensor) -> Tensor:
        """See `content_based_addressing`."""
        return content_based_addressing(key, memory, beta)

    def location_based_addressing(
        self, weights: Tensor, g: Tensor, s: Tensor, gamma: Tensor, previous: Tensor | None = None
    ) -> Tensor:
        """See `location_based_addressing`."""
        return location_based_addressing(weights, g, s, gamma, previous, self.sharpening)
