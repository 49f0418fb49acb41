"""What a step costs against the number of slots: operations and bytes moved, counted."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from model.families import Network, build


class Traffic(TorchDispatchMode):
    """Counts the bytes of all tensors that operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.nbytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.nbytes += sum(_nbytes(value) for value in (*args, result))
        return result


def _nbytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, (list, tuple)):
        return sum(_nbytes(part) for part in value)  # pyright: ignore[reportUnknownVariableType]
    return 0


@torch.no_grad()
def step_costs(family: str, config: dict[str, Any], slots: Sequence[int]) -> list[dict[str, int]]:
    """For each number of slots: floating-point operations of the matrix products of one eager
    step of one session, bytes its operations read and write, and bytes of its state."""
    found: list[dict[str, int]] = []
    for count in slots:
        network: Any = build(family, config | {"memory_size": count}).requires_grad_(False)
        state, x = network.initial_state(1), torch.zeros(1, network.input_size)
        with FlopCounterMode(display=False) as flops:
            network.step(x, state)
        with Traffic() as traffic:
            network.step(x, state)
        found.append(
            {
                "slots": count,
                "flops": flops.get_total_flops(),
                "bytes_moved": traffic.nbytes,
                "bytes_of_state": bytes_of_state(network),
            }
        )
    return found


def bytes_of_state(network: Network) -> int:
    """Bytes of one session's state."""
    return sum(spec.nbytes for spec in network.state_spec)
