"""Times of access in blocks against a list of them."""

import pytest
import torch

from model.recency import ACCESSED, block_dims, first_times, least_recent, touched
from model.rows import Rows, with_rows
from model.sparse_access import firsts
from tests.model import slow_sam as paper

B, T = 3, 6


@pytest.mark.parametrize("slots", [1, 2, 7, 16, 37, 1024, 65_536])
def test_blocks_have_room_for_every_slot_and_are_as_many_as_wide(slots: int) -> None:
    blocks, width = block_dims(slots)
    assert (blocks - 1) * width < slots <= blocks * width and 0 <= width - blocks <= 1 + width // 2
    last, oldest = first_times(slots)
    assert last.shape == (blocks, width) and (last.flatten()[:slots] == 0).all()
    assert (oldest == 0).all()


@pytest.mark.parametrize("slots", [5, 7, 16])
def test_the_oldest_slot_and_every_time_are_those_of_a_list(slots: int) -> None:
    last, oldest = (part.expand(B, *part.shape) for part in first_times(slots))
    lists = [[0] * slots for _ in range(B)]
    random = torch.Generator().manual_seed(slots)
    for now in range(1, 40):
        found = least_recent(last, oldest, slots)
        assert found.flatten().tolist() == [paper.least_recent(times) for times in lists]
        at = torch.randint(0, slots, (B, T), generator=random)
        at[:, :1] = found
        weights = torch.rand(B, T, generator=random) * (torch.rand(B, T, generator=random) > 0.5)
        time = torch.full((B, 1), now)
        values, blocks, oldest = touched(last, oldest, time, at, weights)
        last = with_rows(last, Rows(values, blocks), firsts(blocks))
        for b, times in enumerate(lists):
            dense = torch.zeros(slots).index_add(0, at[b], weights[b]).tolist()
            lists[b] = paper.accessed(times, now, [dense], [])
            assert last[b].flatten()[:slots].tolist() == lists[b]
        assert torch.equal(oldest, last.amin(dim=2))


def test_weights_that_are_small_alone_count_together() -> None:
    last, oldest = (part.expand(1, *part.shape) for part in first_times(9))
    part = torch.tensor([[0.6 * ACCESSED, 0.6 * ACCESSED, 0.9 * ACCESSED]])
    at, now = torch.tensor([[4, 4, 5]]), torch.tensor([[3]])
    values, blocks, _ = touched(last, oldest, now, at, part)
    last = with_rows(last, Rows(values, blocks), firsts(blocks))
    assert last.flatten().tolist() == [0, 0, 0, 0, 3, 0, 0, 0, 0]
