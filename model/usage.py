"""Which slots are free: the dynamic memory allocation of Graves et al. 2016 (Nature 538, Methods).

Pure functions. Usage is in [0, 1]: 0 is a slot that holds nothing worth keeping, 1 one that does.
"""

import torch
from torch import Tensor

# Slots are put in order by their usage rounded to a multiple of this; those that tie, by index.
# Slots that nothing has told apart yet have the same usage but for the last bit, and which of them
# comes first decides where the next word goes. By the bare usage each runtime's own rounding would
# decide, and two runtimes part for good: of 256 sequences of 64 rows through untrained networks,
# each stepped in a batch and alone, 122 did, and none since.
GRAIN = 2.0**-8
# The logarithm of an unused slot is that of this, so that it is finite; it moves no allocation by
# more than 1e-6.
FLOOR = 1e-6


def retention(free: Tensor, read_weights: Tensor) -> Tensor:
    """psi_t(i) = prod_r [1 - f_t^r w_{t-1}^{r,r}(i)]: how much of each slot is not freed.

    free: (B, R, 1) in [0, 1], the free gates; read_weights: (B, R, N), the last ones. Returns
    (B, N) in [0, 1].
    """
    freed = free * read_weights
    kept = 1 - freed[:, 0]
    for head in range(1, freed.shape[1]):
        kept = kept * (1 - freed[:, head])
    return kept


def update_usage(usage: Tensor, write_weights: Tensor, kept: Tensor) -> Tensor:
    """u_t = (u_{t-1} + w_{t-1}^w - u_{t-1} o w_{t-1}^w) o psi_t.

    usage, write_weights: (B, N), the last ones; kept: (B, N), of `retention`. Returns (B, N),
    held in [0, 1] against rounding.
    """
    return ((usage + write_weights - usage * write_weights) * kept).clamp(0, 1)


def allocation(usage: Tensor, margin: Tensor | None = None) -> Tensor:
    """a_t(phi(j)) = (1 - u_t(phi(j))) prod_{i < j} u_t(phi(i)), phi the slots by rising usage.

    In the order of GRAIN. Without sort and cumulative product, which do not export: each slot's
    product is the exponential of a sum of logarithms over the slots that come before it, a product
    with an N x N matrix of zeros and ones. The order has no gradient, as in the paper.

    usage: (B, N) in [0, 1]; margin: `order_margin(N)`, made here where None. Returns (B, N) >= 0,
    which sums to at most 1, up to 1e-6.
    """
    margin = order_margin(usage.shape[1]).to(usage) if margin is None else margin
    rank = torch.round(usage.detach() / GRAIN)
    before = rank.unsqueeze(2) - rank.unsqueeze(1) >= margin  # (B, N, N): slot j before slot i?
    logarithms = torch.log(FLOOR + (1 - FLOOR) * usage)
    product = torch.matmul(before.to(usage.dtype), logarithms.unsqueeze(2)).squeeze(2)
    return (1 - usage) * torch.exp(product)


def order_margin(slots: int) -> Tensor:
    """(N, N): by how many grains row i's usage must exceed column j's for j to come before i: 0
    where j is the lower index, else 1."""
    return 1 - torch.ones(slots, slots).tril(-1)
