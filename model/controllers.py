"""Controllers: the network between input, reads and heads. Their state is a tuple of tensors."""

from typing import Literal

import torch
from torch import Tensor, nn

from model.sizes import require_positive
from model.state import StateSpec, TensorSpec

ControllerKind = Literal["lstm", "feedforward", "attention"]
ControllerState = tuple[Tensor, ...]
INPUT_LIMIT = 1e6  # a larger input counts as this, so that no finite row overflows to Inf or NaN


class LSTMController(nn.Module):
    """A stack of LSTM layers. State: a hidden and a cell tensor (B, H) a layer."""

    def __init__(self, input_size: int, hidden_size: int, layers: int = 1) -> None:
        super().__init__()
        sizes = [input_size, *[hidden_size] * (layers - 1)]
        self.cells = nn.ModuleList(nn.LSTMCell(size, hidden_size) for size in sizes)
        self.initial = nn.Parameter(torch.zeros(2 * layers, hidden_size))
        self.state_spec: StateSpec = tuple(
            TensorSpec(f"controller_{part}{layer or ''}", (hidden_size,), "controller")
            for layer in range(layers)
            for part in ("hidden", "cell")
        )

    def initial_state(self, batch: int) -> ControllerState:
        """The learned bias state every episode starts with."""
        return tuple(row.unsqueeze(0).expand(batch, -1) for row in self.initial)

    def forward(
        self, inputs: Tensor, reads: Tensor, state: ControllerState
    ) -> tuple[Tensor, ControllerState]:
        """inputs: (B, X), reads: (B, R, M). Returns the output (B, H) and the next state."""
        output = torch.cat([inputs, reads.flatten(1)], dim=1)
        following: list[Tensor] = []
        for layer, cell in enumerate(self.cells):
            hidden, memory = cell(output, (state[2 * layer], state[2 * layer + 1]))
            following += [hidden, memory]
            output = hidden
        return output, tuple(following)


class FeedForwardController(nn.Module):
    """One or more tanh layers. No state: everything it knows of the past it has read."""

    def __init__(self, input_size: int, hidden_size: int, layers: int = 1) -> None:
        super().__init__()
        sizes = [input_size, *[hidden_size] * (layers - 1)]
        self.layers = nn.Sequential()
        for size in sizes:
            self.layers.extend([nn.Linear(size, hidden_size), nn.Tanh()])
        self.state_spec: StateSpec = ()

    def initial_state(self, batch: int) -> ControllerState:
        """Empty."""
        return ()

    def forward(
        self, inputs: Tensor, reads: Tensor, state: ControllerState
    ) -> tuple[Tensor, ControllerState]:
        """inputs: (B, X), reads: (B, R, M). Returns the output (B, H) and the empty state."""
        return self.layers(torch.cat([inputs, reads.flatten(1)], dim=1)), state


class AttentionController(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) over this step's input, the last reads and a
    window of its own L past outputs.

    State: the window (B, L, H), newest last, zero before the first outputs. The query is the
    input's token; a learned position marks each token's place.
    Raises ValueError for a size below 1, or a hidden_size that the heads do not divide.
    """

    def __init__(
        self,
        input_size: int,
        read_heads: int,
        memory_width: int,
        hidden_size: int,
        heads: int = 4,
        window: int = 8,
    ) -> None:
        super().__init__()
        require_positive(attention_heads=heads, window=window)
        if hidden_size % heads:
            raise ValueError(
                f"controller_size must be a multiple of {heads} attention heads, got {hidden_size}"
            )
        self.window = window
        self.embed_input = nn.Linear(input_size, hidden_size)
        self.embed_read = nn.Linear(memory_width, hidden_size)
        self.input_position = nn.Parameter(torch.randn(hidden_size) * 0.02)
        self.read_position = nn.Parameter(torch.randn(read_heads, hidden_size) * 0.02)
        self.window_position = nn.Parameter(torch.randn(window, hidden_size) * 0.02)
        self.attention = nn.MultiheadAttention(hidden_size, heads, batch_first=True)
        self.mix = nn.Linear(2 * hidden_size, hidden_size)
        self.state_spec: StateSpec = (
            TensorSpec("controller_window", (window, hidden_size), "controller"),
        )

    def initial_state(self, batch: int) -> ControllerState:
        """An empty window."""
        return (self.window_position.new_zeros(batch, self.window, self.mix.out_features),)

    def forward(
        self, inputs: Tensor, reads: Tensor, state: ControllerState
    ) -> tuple[Tensor, ControllerState]:
        """inputs: (B, X), reads: (B, R, M). Returns the output (B, H) and the next window."""
        window = state[0]
        query = (self.embed_input(inputs) + self.input_position).unsqueeze(1)
        seen = self.embed_read(reads) + self.read_position
        tokens = torch.cat([query, seen, window + self.window_position], dim=1)
        context, _ = self.attention(query, tokens, tokens, need_weights=False)
        output = torch.tanh(self.mix(torch.cat([query, context], dim=2)).squeeze(1))
        return output, (torch.cat([window[:, 1:], output.unsqueeze(1)], dim=1),)


class NTMController(nn.Module):
    """The controller of an NTM, by kind: "lstm", "feedforward" or "attention".

    input_size: X; read_heads, memory_width: R and M of the reads it is shown; hidden_size: H;
    layers: of the kinds that stack them. Inputs beyond +-1e6 count as +-1e6.
    Raises ValueError for another kind, a size below 1 or layers where the kind has none.
    """

    def __init__(
        self,
        kind: ControllerKind,
        input_size: int,
        hidden_size: int,
        read_heads: int,
        memory_width: int,
        layers: int = 1,
    ) -> None:
        super().__init__()
        require_positive(input_size=input_size, controller_size=hidden_size)
        require_positive(read_heads=read_heads, memory_width=memory_width)
        require_positive(controller_layers=layers)
        if kind == "attention" and layers > 1:
            raise ValueError(f"an attention controller has 1 layer, got controller_layers={layers}")
        self.kind = kind
        joined = input_size + read_heads * memory_width
        if kind == "lstm":
            self.core = LSTMController(joined, hidden_size, layers)
        elif kind == "feedforward":
            self.core = FeedForwardController(joined, hidden_size, layers)
        elif kind == "attention":
            self.core = AttentionController(input_size, read_heads, memory_width, hidden_size)
        else:
            raise ValueError(
                f'controller must be "lstm", "feedforward" or "attention", got {kind!r}'
            )

    @property
    def state_spec(self) -> StateSpec:
        """The controller's part of the network's state."""
        return self.core.state_spec

    def initial_state(self, batch: int) -> ControllerState:
        """The controller's state at the start of an episode, for B rows."""
        return self.core.initial_state(batch)

    def forward(
        self, inputs: Tensor, reads: Tensor, state: ControllerState
    ) -> tuple[Tensor, ControllerState]:
        """inputs: (B, X), reads: (B, R, M). Returns the output (B, H) and the next state."""
        return self.core(inputs.clamp(-INPUT_LIMIT, INPUT_LIMIT), reads, state)
