"""What hash tables find, against a search of all slots."""

import math

import torch
from torch import Tensor

from model.hashed_index import Size, buckets_of, draw_planes, insert, nearest, size_for
from model.rows import Rows, with_rows
from model.sparse_access import firsts
from model.sparse_access import nearest as exact

B, N, M, R, K, W = 3, 300, 16, 2, 4, 6


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(size: Size) -> tuple[Tensor, Tensor]:
    """A memory (B, N, M) that was written a few slots at a time, and its cells."""
    memory, cells = torch.zeros(B, N, M), torch.zeros(B, size.cells, dtype=torch.int64)
    planes, words = draw_planes(size, M), normal(B, N, M)
    for at in range(0, N, W):
        slots = torch.arange(at, at + W).expand(B, W)
        change = insert(planes, slots, words[:, at : at + W], size)
        cells = with_rows(cells, change, firsts(change.indices))
        memory = with_rows(memory, Rows(words[:, at : at + W], slots), firsts(slots))
    return memory, cells


def a_write() -> Rows:
    return Rows(normal(B, W, M, seed=7), torch.tensor([[5, 9, 5, 200, 31, 299]] * B))


def with_same(written: Rows) -> Rows:
    """Slot 5 comes up twice, and has the same row."""
    rows = written.values.clone()
    rows[:, 2] = rows[:, 0]
    return Rows(rows, written.indices)


def test_one_bucket_with_room_for_all_is_the_search_of_all_slots() -> None:
    size = Size(2, 0, N)
    memory, cells = filled(size)
    written, key = with_same(a_write()), normal(B, R, M, seed=3)
    got = nearest(key, memory, written, cells, draw_planes(size, M), size, K)
    assert got.shape == (B, R, K)
    assert torch.equal(got, exact(key, memory, written, K))


def test_a_key_like_a_word_finds_it_among_many() -> None:
    """A cosine of 0.95 or so, eight tables: all but a few in a hundred."""
    size = size_for(N, 8, 16)
    memory, cells = filled(size)
    planes, asked = draw_planes(size, M), torch.arange(20, N, 7)
    keys = memory[:, asked] + 0.3 * normal(B, len(asked), M, seed=5)
    got = nearest(keys, memory, with_same(a_write()), cells, planes, size, K)[:, :, 0]
    wanted = exact(keys, memory, with_same(a_write()), K)[:, :, 0]
    assert (got == wanted).float().mean() > 0.95


def test_no_slot_is_found_twice_and_what_was_just_written_is_found() -> None:
    size = size_for(N, 4, 16)
    memory, cells = filled(size)
    written = with_same(a_write())
    key = written.values[:, :R] * 3
    got = nearest(key, memory, written, cells, draw_planes(size, M), size, K)
    assert torch.equal(got[:, :, 0], written.indices[:, :R])
    assert all(len(set(slots)) == K for row in got.tolist() for slots in row)


def test_words_are_hashed_by_the_angle_between_them_alone() -> None:
    size = Size(500, 1, 1)
    planes = draw_planes(size, M)
    one, other = normal(1, 1, M), normal(1, 1, M, seed=2)
    assert torch.equal(buckets_of(one, planes, size), buckets_of(3 * one, planes, size))
    angle = torch.arccos(torch.cosine_similarity(one, other, dim=2)).item()
    same = (buckets_of(one, planes, size) == buckets_of(other, planes, size)).float().mean()
    assert abs(same.item() - (1 - angle / math.pi)) < 0.08
    buckets = buckets_of(normal(2, 9, M), planes, size)
    assert buckets.shape == (2, 9, 500)
    tables = torch.arange(500)
    assert ((buckets == 2 * tables) | (buckets == 2 * tables + 1)).all()


def test_a_cell_that_two_slots_come_to_at_once_has_the_later_one_each_time() -> None:
    size = Size(1, 0, 4)
    slots = torch.tensor([[2, 6, 3]])  # 2 and 6 have the same place
    told = insert(draw_planes(size, M), slots, normal(1, 3, M), size)
    assert told.indices.tolist() == [[2, 2, 3]] and told.values.tolist() == [[7, 7, 4]]


def test_an_index_has_room_for_every_slot_twice_over() -> None:
    assert size_for(65_536, 8, 64) == Size(8, 11, 64)
    assert 2 * 65_536 <= 2**11 * 64
    assert size_for(5, 3, 64).bits == 1
