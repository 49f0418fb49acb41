"""Episodes written by hand: a machine that copies three vectors, each head where it is told."""

import torch
from torch import Generator, Tensor

from model.episodes import Episodes
from model.tasks.copy import Copy

B, L, N, M = 4, 3, 6, 5  # sequences, vectors, slots, width
T = 2 * L + 1
WRITES = (0, 1, 2, 3, 3, 3, 3)  # slot of the write head, row by row
READS = (0, 0, 0, 0, 0, 1, 2)


def one_hot(slots: tuple[int, ...]) -> Tensor:
    """(B, T, 1, N): the same slots in every sequence."""
    return torch.eye(N)[list(slots)].view(1, T, 1, N).expand(B, -1, -1, -1).clone()


def episodes(writes: tuple[int, ...] = WRITES, reads: tuple[int, ...] = READS) -> Episodes:
    """Slot `writes[t]` holds row t's bits (and 1) from row t on, t < L; nothing else is written."""
    batch = Copy(width=M - 1).at_length(Generator().manual_seed(1), B, L)
    first = torch.zeros(B, N, M)
    memory = first.unsqueeze(1).repeat(1, T, 1, 1)
    for row in range(L):
        memory[:, row:, writes[row], : M - 1] = batch.inputs[:, row : row + 1, : M - 1]
        memory[:, row:, writes[row], M - 1] = 1
    weights = {"write_weights": one_hot(writes), "read_weights": one_hot(reads)}
    gate = torch.full((B, T, 1, 1), 0.25)
    shift = torch.tensor([0.5, 0.125, 0.375]).expand(B, T, 1, 3)
    trace = {
        f"{kind}_{name}": value.clone()
        for kind in ("read", "write")
        for name, value in (
            ("gate", gate),
            ("shift", shift),
            ("strength", 4 * gate),
            ("sharpness", 8 * gate),
        )
    }
    logits = (2 * batch.targets - 1) * 9
    return Episodes(batch, logits, {"memory": memory, **weights}, trace, {"memory": first})
