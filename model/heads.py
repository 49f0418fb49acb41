"""Read and write heads: from the controller's output to named parameters, to weights."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model import memory as bank
from model.addressing import AddressingSystem, Sharpening
from model.sizes import require_positive


class HeadParameters(NamedTuple):
    """What a head emits for its addressing (Graves et al. 2014, section 3.3); K heads."""

    key: Tensor  # k_t (B, K, M), in (-1, 1)
    strength: Tensor  # beta_t (B, K, 1), > 0
    gate: Tensor  # g_t (B, K, 1), in (0, 1)
    shift: Tensor  # s_t (B, K, S), sums to 1
    sharpness: Tensor  # gamma_t (B, K, 1), >= 1


class WriteParameters(NamedTuple):
    """What a write head emits besides, for its W heads (section 3.2)."""

    address: HeadParameters
    erase: Tensor  # e_t (B, W, M), in (0, 1)
    add: Tensor  # a_t (B, W, M), in (-1, 1)


class ReadWriteHeads(nn.Module):
    """R read heads and W write heads over one memory.

    controller_size: H, width of the controller's output; memory_width: M;
    shift_range: furthest shift a step, so S = 2 shift_range + 1.
    Raises ValueError for a size below 1, a negative shift_range or another sharpening.
    """

    def __init__(
        self,
        controller_size: int,
        memory_width: int,
        read_heads: int = 1,
        write_heads: int = 1,
        shift_range: int = 1,
        sharpening: Sharpening = "power",
    ) -> None:
        super().__init__()
        require_positive(controller_size=controller_size, memory_width=memory_width)
        require_positive(read_heads=read_heads, write_heads=write_heads)
        if type(shift_range) is not int or shift_range < 0:
            raise ValueError(f"shift_range must be an integer of at least 0, got {shift_range!r}")
        self.read_heads, self.write_heads = read_heads, write_heads
        self.shifts = 2 * shift_range + 1
        self.memory_width = memory_width
        self.addressing = AddressingSystem(sharpening)
        self.address_sizes = [memory_width, 1, 1, self.shifts, 1]
        self.write_sizes = [*self.address_sizes, memory_width, memory_width]
        self.read_projection = nn.Linear(controller_size, read_heads * sum(self.address_sizes))
        self.write_projection = nn.Linear(controller_size, write_heads * sum(self.write_sizes))
        for layer in (self.read_projection, self.write_projection):
            nn.init.xavier_uniform_(layer.weight, gain=1.4)
            nn.init.normal_(layer.bias, std=0.01)

    def read_parameters(self, controller_output: Tensor) -> HeadParameters:
        """controller_output: (B, H). Returns the R read heads' parameters."""
        raw = self.read_projection(controller_output)
        raw = raw.view(-1, self.read_heads, sum(self.address_sizes))
        return _activate(torch.split(raw, self.address_sizes, dim=2))

    def write_parameters(self, controller_output: Tensor) -> WriteParameters:
        """controller_output: (B, H). Returns the W write heads' parameters."""
        raw = self.write_projection(controller_output)
        raw = raw.view(-1, self.write_heads, sum(self.write_sizes))
        parts = torch.split(raw, self.write_sizes, dim=2)
        return WriteParameters(_activate(parts[:5]), torch.sigmoid(parts[5]), torch.tanh(parts[6]))

    def weights(
        self, head: HeadParameters, memory: Tensor, previous: Tensor | None = None
    ) -> Tensor:
        """memory: (B, N, M); previous: (B, K, N), uniform where None. Returns the heads' new
        weights (B, K, N)."""
        content = self.addressing.content_based_addressing(head.key, memory, head.strength)
        return self.addressing.location_based_addressing(
            content, head.gate, head.shift, head.sharpness, previous
        )

    def compute_read_weights(
        self, controller_output: Tensor, memory: Tensor, previous: Tensor | None = None
    ) -> Tensor:
        """controller_output: (B, H); memory: (B, N, M); previous: (B, R, N), uniform where None.
        Returns (B, R, N)."""
        return self.weights(self.read_parameters(controller_output), memory, previous)

    def compute_write_weights(
        self, controller_output: Tensor, memory: Tensor, previous: Tensor | None = None
    ) -> Tensor:
        """controller_output: (B, H); memory: (B, N, M); previous: (B, W, N), uniform where None.
        Returns (B, W, N)."""
        return self.weights(self.write_parameters(controller_output).address, memory, previous)

    def read_memory(self, memory: Tensor, weights: Tensor) -> Tensor:
        """See `model.memory.read`."""
        return bank.read(memory, weights)

    def write_memory(self, memory: Tensor, weights: Tensor, erase: Tensor, add: Tensor) -> Tensor:
        """See `model.memory.write`."""
        return bank.write(memory, weights, erase, add)


def _activate(parts: tuple[Tensor, ...]) -> HeadParameters:
    key, strength, gate, shift, sharpness = parts
    return HeadParameters(
        torch.tanh(key),
        functional.softplus(strength),
        torch.sigmoid(gate),
        torch.softmax(shift, dim=2),
        1 + functional.softplus(sharpness),
    )
