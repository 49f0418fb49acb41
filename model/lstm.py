"""A plain LSTM: the baseline of Graves, Wayne and Danihelka 2014, with no memory but its cells."""

from typing import NamedTuple

from torch import Tensor, nn

from model import sequences
from model.controllers import INPUT_LIMIT, ControllerState, LSTMController
from model.sizes import require_positive
from model.state import StateSpec


class LSTMState(NamedTuple):
    """All an LSTM carries from one step to the next."""

    controller: ControllerState  # a hidden and a cell tensor (B, H) a layer


class LSTM(nn.Module):
    """A stack of LSTM layers and a linear output. `step` returns logits.

    input_size: X, output_size: Y, hidden_size: H. Inputs beyond +-1e6 count as +-1e6.
    Raises ValueError for a size below 1.
    """

    family = "lstm"

    def __init__(
        self, input_size: int, output_size: int, hidden_size: int = 256, layers: int = 3
    ) -> None:
        super().__init__()
        require_positive(input_size=input_size, output_size=output_size)
        require_positive(hidden_size=hidden_size, layers=layers)
        self.input_size, self.output_size = input_size, output_size
        self.core = LSTMController(input_size, hidden_size, layers)
        self.output = nn.Linear(hidden_size, output_size)

    @property
    def state_spec(self) -> StateSpec:
        """Names, dims and roles of the state, in the order `flatten` gives its tensors."""
        return self.core.state_spec

    @property
    def trace_spec(self) -> StateSpec:
        """Nothing: it has no heads."""
        return ()

    def initial_state(self, batch: int) -> LSTMState:
        """The learned state every episode starts with, for B rows; the same for each."""
        require_positive(batch=batch)
        return LSTMState(self.core.initial_state(batch))

    def step(self, input_t: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """input_t: (B, X). Returns logits (B, Y) and the next state.

        Raises ValueError for other dims, and for rows that are not as many as the state's.
        """
        sequences.require_row(input_t, state.controller[0].shape[0], self.input_size)
        nothing = input_t.new_zeros(input_t.shape[0], 0, 1)
        inputs = input_t.clamp(-INPUT_LIMIT, INPUT_LIMIT)
        output, controller = self.core(inputs, nothing, state.controller)
        return self.output(output), LSTMState(controller)

    def step_traced(
        self, x: Tensor, state: LSTMState
    ) -> tuple[Tensor, LSTMState, tuple[Tensor, ...]]:
        """x: (B, X). Returns logits (B, Y), the next state and an empty trace."""
        return *self.step(x, state), ()

    def forward(self, inputs: Tensor) -> Tensor:
        """A whole sequence from fresh state. inputs: (B, T, X). Returns logits (B, T, Y)."""
        return sequences.run(self, inputs)[0]
