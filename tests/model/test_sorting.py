from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model.families import build
from model.sorting import SortingNTM
from model.state import StateSpec
from model.tasks.priority_sort import PrioritySort, sort_rows


class ByTheBook(nn.Module):
    """Sorts as it should: it keeps all rows and, after the delimiter, answers from them."""

    family, input_size, output_size = "sorter", 6, 4
    state_spec: StateSpec = ()
    trace_spec: StateSpec = ()

    def initial_state(self, batch: int) -> tuple[Tensor, int]:
        return torch.zeros(batch, 0, 6), -1

    def step(self, input_t: Tensor, state: tuple[Tensor, int]) -> tuple[Tensor, tuple[Tensor, int]]:
        rows, place = state
        if place >= 0:
            ranked = sort_rows(rows[:, :, :4], rows[:, :, 5])
            return 2 * ranked[:, place] - 1, (rows, place + 1)
        if input_t[0, 4]:
            return torch.zeros(1, 4), (rows, 0)
        return torch.zeros(1, 4), (torch.cat([rows, input_t.unsqueeze(1)], dim=1), -1)

    def step_traced(self, x: Tensor, state: tuple[Tensor, int]):
        return *self.step(x, state), ()


def test_the_items_of_highest_priority_come_out_highest_first() -> None:
    items = torch.tensor([[0.0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 1, 0]])
    sorter = SortingNTM(ByTheBook(), PrioritySort(width=4))
    ranked = sorter.sort_sequence(items, [0.1, -0.9, 0.9, -0.2, 0.3])
    assert ranked.equal(items[[2, 4, 0, 3]])


def test_it_shows_a_network_exactly_the_rows_of_the_task() -> None:
    task = PrioritySort()
    sizes = {"input_size": 10, "output_size": 8, "memory_size": 7, "memory_width": 5}
    torch.manual_seed(3)
    network: Any = build("ntm", sizes | {"controller_size": 6})
    batch = task.at_length(torch.Generator().manual_seed(2), 1, 10)
    logits = network(batch.inputs)[0, 11:]
    answer = SortingNTM(network).sort_sequence(batch.inputs[0, :10, :8], batch.inputs[0, :10, 9])
    assert answer.equal((logits > 0).float()) and answer.shape == (8, 8)


@pytest.mark.parametrize(
    ("items", "priorities", "message"),
    [
        (torch.zeros(3, 5), [0, 0, 0], r"items must be \(n, 4\) with n >= 2, got \(3, 5\)"),
        (torch.zeros(1, 4), [0], r"n >= 2, got \(1, 4\)"),
        (torch.zeros(3, 4), [0, 0], "priorities must be 3 numbers"),
        (torch.zeros(3, 4), [0, 0, 2], r"in \[-1, 1\], got \[0.0, 0.0, 2.0\]"),
        (torch.zeros(3, 4), [0, 0, float("nan")], "priorities must be 3 numbers"),
    ],
)
def test_what_is_no_list_of_items_is_refused(
    items: Tensor, priorities: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SortingNTM(ByTheBook(), PrioritySort(width=4)).sort_sequence(items, priorities)


def test_a_network_of_other_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match="10 inputs and 8 outputs, got 6 and 4"):
        SortingNTM(ByTheBook())
