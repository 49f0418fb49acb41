"""Sparse access memory (Rae et al. 2016, arXiv 1610.09027): SAM."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from model import hashed_index, sequences, sparse_access
from model.controllers import ControllerKind, ControllerState, NTMController
from model.recency import block_dims, first_times, least_recent, touched
from model.rows import Rows, with_rows
from model.sizes import require_positive
from model.sparse_access import firsts
from model.state import StateSpec, TensorSpec, flatten, unflatten

# A key's strength at first, about: enough to tell one of K slots from the others.
FIRST_STRENGTH = 5.0
# First weights, in units of a linear layer's own: of keys and of what is written, so that they fill
# (-1, 1) rather than be all alike, and of the output. First biases of the gates: most of what is
# written goes to a slot that is wiped, so that words stay apart. Without these a SAM was at chance
# for more than two items after 96,000 sequences of associative recall.
FIRST_WORDS, FIRST_OUTPUTS = 5.0, 3.0
FIRST_WRITE, FIRST_REUSE = 1.0, -2.0


class SAMState(NamedTuple):
    """All a SAM carries from one step to the next. Of `updates`, the sparse ones are `Rows`."""

    memory: Any  # (B, N, M), sparse
    last_access: Any  # (B, blocks, width), sparse: see recency.py
    oldest_access: Tensor  # (B, blocks)
    time: Tensor  # (B, 1), steps so far
    read_slots: Tensor  # (B, R, K)
    read_shares: Tensor  # (B, R, K), the weights w~ of those slots
    reads: Tensor  # (B, R, M)
    controller: ControllerState
    cells: Any = ()  # (B, cells), sparse, where there is an index: see hashed_index.py


class SAMHeads(NamedTuple):
    """What the R heads are given; each reads K slots, and each writes."""

    key: Tensor  # q (B, R, M), in (-1, 1)
    strength: Tensor  # beta (B, R, 1), >= 1
    write_gate: Tensor  # alpha (B, R, 1), in (0, 1): how much is written at all
    reuse_gate: Tensor  # gamma (B, R, 1), in (0, 1): how much of it where the head has read
    add: Tensor  # a (B, R, M), in (-1, 1)


class SAM(sequences.Stepped[SAMState]):
    """A controller with R heads on an N x M memory, each of which reads K slots, and writes to
    those it read last and to the least recently accessed one.

    input_size: X, output_size: Y, memory_size: N, memory_width: M, controller_size: H, reads: K.
    No weight depends on N, so a machine trained on a small memory runs on a large one. index: hash
    tables that find the slots near a key, 0 compares with all of them; room: slots a bucket has
    place for. `forward` returns logits. Raises ValueError for sizes that make no machine.
    """

    family = "sam"

    def __init__(
        self,
        input_size: int,
        output_size: int,
        memory_size: int,
        memory_width: int,
        *,
        controller: ControllerKind = "lstm",
        controller_size: int = 100,
        controller_layers: int = 1,
        read_heads: int = 1,
        reads: int = 4,
        index: int = 0,
        room: int = 64,
    ) -> None:
        super().__init__()
        require_positive(input_size=input_size, output_size=output_size, room=room)
        require_positive(memory_size=memory_size, memory_width=memory_width)
        require_positive(read_heads=read_heads, reads=reads)
        if reads > memory_size or index < 0:
            raise ValueError(
                f"reads must be at most memory_size {memory_size} and index at least 0, "
                f"got {reads} and {index}"
            )
        self.input_size, self.output_size = input_size, output_size
        self.memory_size, self.memory_width = memory_size, memory_width
        self.read_heads, self.reads = read_heads, reads
        self.controller = NTMController(
            controller, input_size, controller_size, read_heads, memory_width, controller_layers
        )
        self.heads = nn.Linear(controller_size, read_heads * sum(self._sizes))
        self.output = nn.Linear(controller_size + read_heads * memory_width, output_size)
        self._begin()
        self.index = hashed_index.size_for(memory_size, index, room) if index else None
        if self.index is not None:  # constants, so in no file of weights
            planes = hashed_index.draw_planes(self.index, memory_width)
            self.register_buffer("planes", planes, persistent=False)

    @torch.no_grad()
    def _begin(self) -> None:
        weights = self.heads.weight.unflatten(0, (self.read_heads, -1)).split(self._sizes, dim=1)
        biases = self.heads.bias.unflatten(0, (self.read_heads, -1)).split(self._sizes, dim=1)
        for words in (weights[0], weights[-1]):
            words *= FIRST_WORDS
        _, strength, write, reuse, _ = biases
        strength.fill_(FIRST_STRENGTH - 1)
        write += FIRST_WRITE
        reuse += FIRST_REUSE
        self.output.weight *= FIRST_OUTPUTS

    @property
    def _sizes(self) -> list[int]:
        return [self.memory_width, 1, 1, 1, self.memory_width]

    @property
    def _written(self) -> int:
        """W: slots that a step writes to, at most."""
        return self.read_heads * self.reads + 1

    @property
    def state_spec(self) -> StateSpec:
        """Names, dims and roles of the state, in the order `flatten` gives its tensors."""
        heads, reads, width = self.read_heads, self.reads, self.memory_width
        memory, blocks = (self.memory_size, width), block_dims(self.memory_size)
        written, accessed = self._written, self._written + heads * reads
        return (
            TensorSpec("memory", memory, "memory", update="sparse", rows=written),
            TensorSpec("last_access", blocks, "other", "int64", "sparse", accessed),
            TensorSpec("oldest_access", blocks[:1], "other", "int64"),
            TensorSpec("time", (1,), "counter", "int64"),
            TensorSpec("read_slots", (heads, reads), "other", "int64"),
            TensorSpec("read_shares", (heads, reads), "other"),
            TensorSpec("reads", (heads, width), "read_vectors"),
            *self.controller.state_spec,
            *self._cells_spec,
        )

    @property
    def _cells_spec(self) -> StateSpec:
        if self.index is None:
            return ()
        rows = self._written * self.index.tables
        return (TensorSpec("cells", (self.index.cells,), "other", "int64", "sparse", rows),)

    @property
    def trace_spec(self) -> StateSpec:
        """Names, dims and roles of what `step_traced` tells, in order."""
        heads, width = self.read_heads, self.memory_width
        return (
            TensorSpec("read_key", (heads, width), "key"),
            TensorSpec("read_strength", (heads, 1), "strength"),
            TensorSpec("write_gate", (heads, 1), "gate"),
            TensorSpec("reuse_gate", (heads, 1), "gate"),
            TensorSpec("write_add", (heads, width), "add"),
        )

    def initial_state(self, batch: int) -> SAMState:
        """The state every episode starts with, for B rows: nothing written or accessed yet."""
        require_positive(batch=batch)
        like, (last, oldest) = self.output.weight, first_times(self.memory_size)
        heads, reads, width = self.read_heads, self.reads, self.memory_width
        slots = torch.arange(reads, device=like.device).expand(batch, heads, reads)
        cells = self.index and slots.new_zeros(batch, self.index.cells)
        return SAMState(
            like.new_zeros(batch, self.memory_size, width),
            last.to(like.device).expand(batch, *last.shape),
            oldest.to(like.device).expand(batch, -1),
            slots.new_zeros(batch, 1),
            slots,
            like.new_zeros(batch, heads, reads),
            like.new_zeros(batch, heads, width),
            self.controller.initial_state(batch),
            () if cells is None else cells,
        )

    def updates(self, x: Tensor, state: SAMState) -> tuple[Tensor, SAMState, SAMHeads]:
        """One step, which tells of sparsely updated tensors only the rows that change.

        x: (B, X). Returns logits (B, Y), the next state with `Rows` for those, and what the heads
        were given. The memory is written first, then read.
        """
        hidden, controller = self.controller(x, state.reads, state.controller)
        heads, now = self.head_parameters(hidden), state.time + 1
        written, shares = self._write(heads, state)
        slots = self._nearest(heads.key, written, state)
        words = sparse_access.words_after(state.memory, slots.flatten(1), written)
        words = words.unflatten(1, slots.shape[1:])
        weights = sparse_access.sparse_weights(heads.key, words, heads.strength)
        reads = torch.matmul(weights.unsqueeze(2), words).squeeze(2)
        accessed = torch.cat([written.indices, slots.flatten(1)], dim=1)
        amounts = torch.cat([shares, weights.flatten(1)], dim=1).detach()
        *last, oldest = touched(state.last_access, state.oldest_access, now, accessed, amounts)
        y = self.output(torch.cat([hidden, reads.flatten(1)], dim=1))
        cells = () if self.index is None else self._file(written)
        following = SAMState(
            written, Rows(*last), oldest, now, slots, weights, reads, controller, cells
        )
        return y, following, heads

    def _write(self, heads: SAMHeads, state: SAMState) -> tuple[Rows, Tensor]:
        """w^W = alpha (gamma w~^R_{t-1} + (1 - gamma) I^U) (eq. 5), of each head: what changes,
        and the weights (B, W) by which it does."""
        least = least_recent(state.last_access, state.oldest_access, self.memory_size)
        read_last = state.read_slots.flatten(1).clamp(0, self.memory_size - 1)
        slots = torch.cat([read_last, least], dim=1)
        again = heads.write_gate * heads.reuse_gate * state.read_shares  # (B, R, K)
        anew = heads.write_gate * (1 - heads.reuse_gate)  # (B, R, 1)
        where_read = heads.add.unsqueeze(2).expand(-1, -1, self.reads, -1).flatten(1, 2)
        at_least = (anew * heads.add).sum(dim=1, keepdim=True)
        weights = torch.cat([again.flatten(1), torch.ones_like(anew[:, 0])], dim=1)
        added = torch.cat([where_read, at_least], dim=1)
        rows = sparse_access.written_rows(state.memory, slots, weights, added, least)
        return Rows(rows, slots), torch.cat([again.flatten(1), anew.sum(dim=1)], dim=1)

    def _nearest(self, key: Tensor, written: Rows, state: SAMState) -> Tensor:
        if self.index is None:
            return sparse_access.nearest(key, state.memory, written, self.reads)
        planes = cast(Tensor, self.planes)
        return hashed_index.nearest(
            key, state.memory, written, state.cells, planes, self.index, self.reads
        )

    def _file(self, written: Rows) -> Rows:
        assert self.index is not None
        planes = cast(Tensor, self.planes)
        return hashed_index.insert(planes, written.indices, written.values, self.index)

    def head_parameters(self, controller_output: Tensor) -> SAMHeads:
        """controller_output: (B, H). Returns what the heads are given."""
        raw = self.heads(controller_output).view(-1, self.read_heads, sum(self._sizes))
        key, strength, write, reuse, add = torch.split(raw, self._sizes, dim=2)
        return SAMHeads(
            torch.tanh(key),
            1 + functional.softplus(strength),
            torch.sigmoid(write),
            torch.sigmoid(reuse),
            torch.tanh(add),
        )

    def step_traced(self, x: Tensor, state: SAMState) -> tuple[Tensor, SAMState, SAMHeads]:
        """One step, with what the heads were given. x: (B, X). Returns logits (B, Y), the next
        state, whole, and the trace."""
        y, changed, heads = self.updates(x, state)
        parts = applied(state, changed)
        return y, unflatten(state, parts), heads


def applied(state: SAMState, changed: SAMState) -> list[Tensor]:
    """The next state's tensors, in order, from the last one and what a step changed of it."""
    parts: list[Tensor] = []
    pairs: list[tuple[Any, Any]] = list(zip(state, changed, strict=True))
    for before, after in pairs:
        if isinstance(after, Rows):
            parts.append(with_rows(before, after, firsts(after.indices)))
        else:
            parts += flatten(after)
    return parts
