"""Which slots may be near a key, told by hashes: locality-sensitive hashing, one of the two indices
of Rae et al. 2016 (sec. 3.5), as one state tensor.

Words are hashed by which side of some planes through zero they are on, L times with other planes.
Two words an angle theta apart have the same hash of so many bits with (1 - theta / pi)^bits.

    cells: (B, L * 2^bits * C)      cell ((l * 2^bits + hash) * C + slot % C) has slot + 1, or 0

A slot has one place in each bucket, and whoever comes there last keeps it, so a bucket needs no
count, and a write changes one cell a table. A slot that has been written anew since stays in its
old buckets: words are compared as they are now, so it costs a look and no more.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.rows import Rows, rows_of
from model.sparse_access import NOWHERE, firsts, order, similarity

SEED = 20161027  # of the planes: they are no weights, and the same wherever they are drawn


class Size(NamedTuple):
    """Of an index."""

    tables: int  # L
    bits: int
    room: int  # C, slots a bucket

    @property
    def cells(self) -> int:
        """All there are."""
        return self.tables * 2**self.bits * self.room


def size_for(slots: int, tables: int, room: int) -> Size:
    """An index whose buckets have room for twice so many slots in each table."""
    return Size(tables, max(1, (2 * slots // room - 1).bit_length()), room)


def draw_planes(size: Size, width: int) -> Tensor:
    """Normals of the planes (M, L * bits), always the same."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(width, size.tables * size.bits, generator=generator)


def buckets_of(words: Tensor, planes: Tensor, size: Size) -> Tensor:
    """words: (B, S, M). Returns (B, S, L), the bucket of each in each table, over all tables."""
    sides = torch.matmul(words, planes) > 0
    sides = sides.unflatten(2, (size.tables, size.bits)).to(torch.int64)
    powers = 2 ** torch.arange(size.bits, device=words.device)
    tables = torch.arange(size.tables, device=words.device) * 2**size.bits
    return (sides * powers).sum(dim=3) + tables


def insert(planes: Tensor, slots: Tensor, rows: Tensor, size: Size) -> Rows:
    """Where `rows` (B, W, M), written at `slots` (B, W), are to be found from now on.

    Returns cells: values (B, W * L) and indices (B, W * L), where repeated with the same value.
    """
    buckets = buckets_of(rows.detach(), planes, size)
    cells = (buckets * size.room + (slots % size.room).unsqueeze(2)).flatten(1)
    values = (slots + 1).unsqueeze(2).expand_as(buckets).flatten(1)
    same = cells.unsqueeze(2) == cells.unsqueeze(1)
    return Rows((same * values.unsqueeze(1)).amax(dim=2), cells)


def nearest(
    key: Tensor,
    memory: Tensor,
    written: Rows,
    cells: Tensor,
    planes: Tensor,
    size: Size,
    count: int,
) -> Tensor:
    """The slots most similar to each key of those in its buckets and those just written.

    key: (B, R, M); memory: (B, N, M), before the write of `written`, of (B, W, M) at (B, W) with
    W > count; cells: (B, cells). Returns (B, R, count). Has no gradient.
    """
    key, memory, rows = key.detach(), memory.detach(), written.values.detach()
    heads, slots = key.shape[1], written.indices
    buckets = buckets_of(key, planes, size).flatten(1)
    filed = rows_of(cells.unflatten(1, (-1, size.room)), buckets).flatten(1)  # (B, R * L * C)
    found = (filed - 1).clamp(0, memory.shape[1] - 1)
    words = rows_of(memory, found).unflatten(1, (heads, -1))
    stale = (found.unsqueeze(2) == slots.unsqueeze(1)).to(key.dtype).sum(dim=2) > 0
    usable = ((filed > 0) & ~stale).unflatten(1, (heads, -1))
    found = found.unflatten(1, (heads, -1))
    fresh = slots.unsqueeze(1).expand(-1, heads, -1)
    places = torch.cat(
        [
            torch.where(usable, order(similarity(key, words), found, memory.shape[1]), NOWHERE),
            torch.where(
                firsts(slots).unsqueeze(1),
                order(similarity(key, rows.unsqueeze(1)), fresh, memory.shape[1]),
                NOWHERE,
            ),
        ],
        dim=2,
    )
    return _best(places, torch.cat([found, fresh], dim=2), count, size.tables)


def _best(places: Tensor, slots: Tensor, count: int, tables: int) -> Tensor:
    """The first `count` slots in order, each once: one may have come up in each table."""
    many = torch.topk(places, min(count * tables, places.shape[2]), dim=2)
    chosen = slots.gather(2, many.indices)
    once = firsts(chosen.flatten(0, 1)).unflatten(0, chosen.shape[:2])
    best = torch.topk(torch.where(once, many.values, NOWHERE), count, dim=2).indices
    return chosen.gather(2, best)
