"""Where a DNC's heads look by content (Graves et al. 2016, Nature 538, Methods)."""

import torch
from torch import Tensor

from model.addressing import EPSILON

# The cosine of a word does not change with its length, and so tells what no more than rounding has
# written of a slot that is as good as empty: the difference of a gate from 1 in the last bit.
# Words far shorter than this count as unlike any key.
FAINT = 0.1


def content_weights(
    key: Tensor, memory: Tensor, strength: Tensor | float, mask: Tensor | None = None
) -> Tensor:
    """softmax over slots of beta D(k, M(i)), D(k, m) = k.m / (|k| sqrt(|m|^2 + FAINT^2)).

    mask: key and words are compared through it, k o m and M(i) o m (Csordas and Schmidhuber 2019).
    No tensor has all of K, N and M: sums over the width are products with the mask's square.
    key, mask: (B, K, M), the mask in [0, 1]; memory: (B, N, M); strength: (B, K, 1), >= 1, or one
    for all. Returns (B, K, N), sums to 1.
    """
    words = memory.transpose(1, 2)
    if mask is None:
        squares = (memory * memory).sum(dim=2, keepdim=True).transpose(1, 2)
    else:
        squares = torch.matmul(mask * mask, words * words)
        key = key * mask
    dots = torch.matmul(key if mask is None else key * mask, words)
    key_norm = torch.linalg.vector_norm(key, dim=2, keepdim=True)
    slot_norm = torch.sqrt(squares + FAINT**2)
    return torch.softmax(strength * dots / (key_norm * slot_norm + EPSILON), dim=2)
