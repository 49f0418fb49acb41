"""What a network did over whole sequences, row by row: outputs, states, what its heads emitted."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from model.families import Network
from model.rollout import first_state
from model.state import flatten, unflatten
from model.tasks import Batch

Change = Callable[[int, Tensor], Tensor]  # the row to come, the memory (B, N, M) -> the memory


# Left out of what is recorded: N x N numbers a row, and nothing here looks at them.
TOO_LARGE = ("link",)


class Episodes(NamedTuple):
    """B sequences of T rows. State and trace by the names of the network's specs, without links."""

    batch: Batch
    logits: Tensor  # (B, T, Y)
    state: dict[str, Tensor]  # (B, T, *dims), after each row
    trace: dict[str, Tensor]  # (B, T, *dims), of each row
    first: dict[str, Tensor]  # (B, *dims), before the first row

    @property
    def seeing(self) -> Tensor:
        """(B, T), bool: the rows before the first that is scored."""
        return self.batch.mask.long().cumsum(dim=1) == 0


@torch.no_grad()
def record(network: Network, batch: Batch, change: Change | None = None) -> Episodes:
    """Runs `batch` from fresh states. change: called with the memory before each row."""
    device = next(cast(nn.Module, network).parameters()).device
    state = first_state(network, batch.to(device))
    names = [spec.name for spec in network.state_spec]
    kept = [place for place, spec in enumerate(network.state_spec) if spec.role not in TOO_LARGE]
    first = _chosen(flatten(state), kept)
    outputs: list[Tensor] = []
    states: list[tuple[Tensor, ...]] = []
    traces: list[tuple[Tensor, ...]] = []
    for number, row in enumerate(batch.inputs.to(device).unbind(dim=1)):
        if change is not None:
            state = _with_memory(state, names, lambda memory, row=number: change(row, memory))
        y, state, trace = network.step_traced(row, state)
        outputs.append(y)
        states.append(_chosen(flatten(state), kept))
        traces.append(flatten(trace))
    emitted = [spec.name for spec in network.trace_spec]
    return Episodes(
        batch,
        torch.stack(outputs, dim=1).cpu(),
        _stacked([names[place] for place in kept], states),
        _stacked(emitted, traces),
        {names[place]: part.cpu() for place, part in zip(kept, first, strict=True)},
    )


def _chosen(parts: tuple[Tensor, ...], places: list[int]) -> tuple[Tensor, ...]:
    return tuple(parts[place] for place in places)


def _with_memory(state: Any, names: list[str], change: Callable[[Tensor], Tensor]) -> Any:
    parts = list(flatten(state))
    place = names.index("memory")
    parts[place] = change(parts[place])
    return unflatten(state, parts)


def _stacked(names: list[str], rows: list[tuple[Tensor, ...]]) -> dict[str, Tensor]:
    columns = zip(*rows, strict=True)
    return {
        name: torch.stack(parts, dim=1).cpu() for name, parts in zip(names, columns, strict=True)
    }
