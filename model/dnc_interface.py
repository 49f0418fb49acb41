"""The interface vector of a DNC: from the controller's output to named, activated parameters."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.sizes import require_positive
from model.state import Role, StateSpec, TensorSpec

# The least of a mask (Csordas and Schmidhuber 2019): a part of a word that is masked out for good
# would get no gradient to come back by.
MASK_FLOOR = 0.1
MODES = ("backward", "content", "forward")


class ReadInterface(NamedTuple):
    """What the R read heads are given (Graves et al. 2016, Methods)."""

    key: Tensor  # k^r (B, R, M)
    strength: Tensor  # beta^r (B, R, 1), >= 1
    modes: Tensor  # pi (B, R, 3), sums to 1: backward, content, forward
    free: Tensor  # f (B, R, 1), in (0, 1)
    mask: Tensor | None  # (B, R, M), in (MASK_FLOOR, 1), where content is masked
    sharpness: Tensor | None  # (B, R, 2), >= 1, of backward and forward, where links are sharpened


class WriteInterface(NamedTuple):
    """What the write head is given."""

    key: Tensor  # k^w (B, 1, M)
    strength: Tensor  # beta^w (B, 1, 1), >= 1
    allocation: Tensor  # g^a (B, 1, 1), in (0, 1): how much goes to a free slot, not by content
    gate: Tensor  # g^w (B, 1, 1), in (0, 1): how much is written at all
    erase: Tensor  # e (B, 1, M), in (0, 1)
    # v (B, 1, M), in (-1, 1) as an NTM's, where the paper has no bound: trained words grow to 8
    # then, and rounding in the weights grows with them past what two runtimes may differ by.
    add: Tensor
    mask: Tensor | None  # (B, 1, M), in (MASK_FLOOR, 1), where content is masked


class DNCInterface(nn.Module):
    """One linear layer for each kind of head. controller_size: H; memory_width: M; read_heads: R.

    Raises ValueError for a size below 1.
    """

    def __init__(
        self,
        controller_size: int,
        memory_width: int,
        read_heads: int = 1,
        mask_content: bool = False,
        sharpen_links: bool = False,
    ) -> None:
        super().__init__()
        require_positive(controller_size=controller_size, memory_width=memory_width)
        require_positive(read_heads=read_heads)
        self.read_heads, self.memory_width = read_heads, memory_width
        width, masked = memory_width, [memory_width] if mask_content else []
        self.read_sizes = [width, 1, len(MODES), 1, *masked, *([2] if sharpen_links else [])]
        self.write_sizes = [width, 1, 1, 1, width, width, *masked]
        self.mask_content, self.sharpen_links = mask_content, sharpen_links
        self.read_projection = nn.Linear(controller_size, read_heads * sum(self.read_sizes))
        self.write_projection = nn.Linear(controller_size, sum(self.write_sizes))

    @property
    def trace_spec(self) -> StateSpec:
        """Names, dims and roles of `told`."""
        reads: tuple[tuple[str, Role], ...] = (
            *(("key", "key"), ("strength", "strength"), ("modes", "gate"), ("free", "gate")),
            *((("mask", "other"),) if self.mask_content else ()),
            *((("sharpness", "sharpness"),) if self.sharpen_links else ()),
        )
        writes: tuple[tuple[str, Role], ...] = (
            *(("key", "key"), ("strength", "strength"), ("allocation", "gate"), ("gate", "gate")),
            *(("erase", "erase"), ("add", "add")),
            *((("mask", "other"),) if self.mask_content else ()),
        )
        heads = (
            ("read", self.read_heads, zip(reads, self.read_sizes, strict=True)),
            ("write", 1, zip(writes, self.write_sizes, strict=True)),
        )
        return tuple(
            TensorSpec(f"{kind}_{name}", (count, size), role)
            for kind, count, parts in heads
            for (name, role), size in parts
        )

    def forward(self, controller_output: Tensor) -> tuple[ReadInterface, WriteInterface]:
        """controller_output: (B, H). Returns what the heads are given."""
        raw = self.read_projection(controller_output)
        raw = raw.view(-1, self.read_heads, sum(self.read_sizes))
        read = torch.split(raw, self.read_sizes, dim=2)
        raw = self.write_projection(controller_output).unsqueeze(1)
        write = torch.split(raw, self.write_sizes, dim=2)
        return self._read(read), self._write(write)

    def _read(self, parts: tuple[Tensor, ...]) -> ReadInterface:
        key, strength, modes, free = parts[:4]
        return ReadInterface(
            key,
            _one_plus(strength),
            torch.softmax(modes, dim=2),
            torch.sigmoid(free),
            _mask(parts[4]) if self.mask_content else None,
            _one_plus(parts[-1]) if self.sharpen_links else None,
        )

    def _write(self, parts: tuple[Tensor, ...]) -> WriteInterface:
        key, strength, allocation, gate, erase, add = parts[:6]
        return WriteInterface(
            key,
            _one_plus(strength),
            torch.sigmoid(allocation),
            torch.sigmoid(gate),
            torch.sigmoid(erase),
            torch.tanh(add),
            _mask(parts[6]) if self.mask_content else None,
        )


def told(read: ReadInterface, write: WriteInterface) -> tuple[Tensor, ...]:
    """The tensors that there are, in the order of `DNCInterface.trace_spec`."""
    return tuple(part for part in (*read, *write) if part is not None)


def _one_plus(x: Tensor) -> Tensor:
    return 1 + functional.softplus(x)


def _mask(x: Tensor) -> Tensor:
    return MASK_FLOOR + (1 - MASK_FLOOR) * torch.sigmoid(x)
