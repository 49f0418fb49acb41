"""Sorting with a network that learned priority sort."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.families import Network
from model.tasks.priority_sort import PrioritySort


class SortingNTM(nn.Module):
    """A network trained on priority sort, as a function from items and priorities to their order.

    network: of the task's sizes, e.g. `load(Path("model/zoo/priority-sort"))[0]`.
    Raises ValueError for one of other sizes.
    """

    def __init__(self, network: Network, task: PrioritySort | None = None) -> None:
        super().__init__()
        self.task = PrioritySort() if task is None else task
        sizes = (self.task.input_size, self.task.output_size)
        if (network.input_size, network.output_size) != sizes:
            raise ValueError(
                f"expected a network with {sizes[0]} inputs and {sizes[1]} outputs, "
                f"got {network.input_size} and {network.output_size}"
            )
        self.network = network

    @torch.no_grad()
    def sort_sequence(self, items: Tensor, priorities: Tensor | Sequence[float]) -> Tensor:
        """What the network takes to be the items of highest priority, highest first.

        items: (n, width) bits; priorities: n numbers in [-1, 1]. Returns (4 n // 5, width) bits,
        as the network answers: right to the measure its card states, and trained on 20 items.
        Raises ValueError for other shapes, fewer than two items, or priorities out of range.
        """
        ranks = torch.as_tensor(priorities, dtype=torch.float32)
        self._check(items, ranks)
        count = items.shape[0]
        rows = torch.zeros(1, count + 1 + 4 * count // 5, self.task.input_size)
        rows[0, :count, : self.task.width] = items
        rows[0, :count, self.task.width + 1] = ranks
        rows[0, count, self.task.width] = 1
        state = self.network.initial_state(1)
        answers: list[Tensor] = []
        for row in rows.unbind(dim=1):
            logits, state = self.network.step(row, state)
            answers.append(logits)
        return (torch.cat(answers[count + 1 :]) > 0).float()

    def _check(self, items: Tensor, priorities: Tensor) -> None:
        if items.dim() != 2 or items.shape[0] < 2 or items.shape[1] != self.task.width:
            raise ValueError(
                f"items must be (n, {self.task.width}) with n >= 2, got {tuple(items.shape)}"
            )
        if priorities.shape != items.shape[:1] or not bool((priorities.abs() <= 1).all()):
            raise ValueError(
                f"priorities must be {items.shape[0]} numbers in [-1, 1], got {priorities.tolist()}"
            )
