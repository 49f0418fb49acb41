"""Sparse reads and writes against a loop a slot."""

import pytest
import torch
from torch import Tensor

from model.rows import Rows, rows_of, with_rows
from model.sparse_access import (
    GRAIN,
    firsts,
    nearest,
    similarity,
    sparse_weights,
    words_after,
    written_rows,
)
from tests.model import slow_sam as paper

B, N, M, R, K, W = 3, 11, 5, 2, 4, 6


def normal(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def some_slots(seed: int = 1) -> Tensor:
    """(B, W), some of them twice or thrice."""
    return torch.randint(0, 5, (B, W), generator=torch.Generator().manual_seed(seed)) * 2


def written(memory: Tensor, slots: Tensor) -> Rows:
    rows = written_rows(memory, slots, normal(B, W, seed=3), normal(B, W, M, seed=4), slots[:, -1:])
    return Rows(rows, slots)


def test_rows_are_those_at_the_indices() -> None:
    memory, slots = normal(B, N, M), some_slots()
    got = rows_of(memory, slots)
    assert got.shape == (B, W, M)
    for b in range(B):
        assert torch.equal(got[b], memory[b, slots[b]])
    assert torch.equal(rows_of(memory[:, :, 0], slots), got[:, :, 0])


def test_the_firsts_are_those_that_have_not_come_before() -> None:
    slots = torch.tensor([[4, 1, 4, 4, 1], [0, 0, 1, 2, 0]])
    assert firsts(slots).int().tolist() == [[1, 1, 0, 0, 0], [1, 0, 1, 1, 0]]


def test_similarity_is_a_cosine_that_is_none_for_an_empty_word() -> None:
    key, memory = normal(B, R, M), normal(B, N, M, seed=2)
    memory[:, 3] = 0
    got = similarity(key, memory.unsqueeze(1))
    assert got.shape == (B, R, N) and (got.abs() <= 1).all() and (got[:, :, 3] == 0).all()
    for b in range(B):
        for head in range(R):
            wanted = [paper.similarity(key[b, head].tolist(), word) for word in memory[b].tolist()]
            assert got[b, head].tolist() == pytest.approx(wanted)


def test_what_is_written_adds_up_where_slots_come_up_twice() -> None:
    memory, slots = normal(B, N, M), some_slots()
    weights, added = normal(B, W, seed=3), normal(B, W, M, seed=4)
    after = with_rows(memory, written(memory, slots), firsts(slots))
    for b in range(B):
        dense = [
            torch.zeros(N)
            .double()
            .index_add(0, slots[b, w : w + 1], weights[b, w : w + 1])
            .tolist()
            for w in range(W)
        ]
        wanted = paper.write(memory[b].tolist(), dense, added[b].tolist(), int(slots[b, -1]))
        torch.testing.assert_close(after[b], torch.tensor(wanted, dtype=torch.float64))


def test_the_nearest_are_those_of_the_memory_as_it_is_once_written() -> None:
    memory, key = normal(B, N, M), normal(B, R, M, seed=2)
    change = written(memory, some_slots())
    after = with_rows(memory, change, firsts(change.indices))
    got = nearest(key, memory, change, K)
    assert got.shape == (B, R, K)
    for b in range(B):
        for head in range(R):
            wanted = paper.nearest(key[b, head].tolist(), after[b].tolist(), K)
            assert got[b, head].tolist() == wanted
    words = words_after(memory, got.flatten(1), change)
    torch.testing.assert_close(words, rows_of(after, got.flatten(1)))


def test_of_like_words_the_first_are_read_whatever_their_last_bits_are() -> None:
    memory, key = normal(1, 1, M).expand(1, N, M).clone(), normal(1, 1, M)
    memory += normal(1, N, M, seed=6) * GRAIN / 1e6
    nothing = Rows(memory[:, :1], torch.zeros(1, 1, dtype=torch.int64))
    assert nearest(key, memory, nothing, K).flatten().tolist() == [0, 1, 2, 3]


def test_weights_of_all_slots_are_a_softmax_over_them() -> None:
    key, memory = normal(B, R, M), normal(B, N, M, seed=2)
    strength = normal(B, R, 1).abs() + 1
    words = memory.unsqueeze(1).expand(B, R, N, M)
    got = sparse_weights(key, words, strength)
    assert got.shape == (B, R, N)
    torch.testing.assert_close(got.sum(dim=2), torch.ones(B, R, dtype=torch.float64))
    for b in range(B):
        for head in range(R):
            told = key[b, head].tolist(), memory[b].tolist(), float(strength[b, head])
            assert got[b, head].tolist() == pytest.approx(paper.read_weights(*told, N))


def test_writing_and_reading_pass_gradcheck_where_slots_come_up_twice() -> None:
    slots = some_slots()
    chosen = torch.tensor([[0, 2, 3, 4]] * B)

    def write(memory: Tensor, weights: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        rows = written_rows(memory, slots, weights, added, slots[:, -1:])
        change = Rows(rows, slots)
        return with_rows(memory, change, firsts(slots)), words_after(memory, chosen, change)

    parts = normal(B, N, M), normal(B, W, seed=3), normal(B, W, M, seed=4)
    assert torch.autograd.gradcheck(write, [part.requires_grad_() for part in parts])


def test_weights_pass_gradcheck_also_for_an_empty_word() -> None:
    key, words, strength = normal(B, R, M), normal(B, R, K, M, seed=2), normal(B, R, 1).abs()
    words[:, :, 0] = 0
    parts = [part.requires_grad_() for part in (key, words, strength)]
    assert torch.autograd.gradcheck(sparse_weights, parts)
