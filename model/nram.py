"""The Neural Random-Access Machine of Kurach et al. 2016 (arXiv 1511.06392)."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from model import circuit, sequences
from model.circuit import ARGUMENTS, Circuit
from model.controllers import ControllerState, FeedForwardController, LSTMController
from model.modules14 import MODULES
from model.sizes import require_positive
from model.state import StateSpec, TensorSpec

CONTROLLERS = {"feedforward": FeedForwardController, "lstm": LSTMController}
OUTPUTS = ("willing", "halted", "entropy")  # what y tells, in order
START_WILLING = -2.0  # the bias of f_t's logit at first: a step in eight


class NRAMState(NamedTuple):
    """All the machine carries from one step to the next: distributions over integers."""

    tape: Tensor  # (B, M, M): cell, integer
    registers: Tensor  # (B, R, M)
    running: Tensor  # (B, 1), the probability that it has not halted yet
    controller: ControllerState


class NRAM(nn.Module):
    """R registers, a tape of M cells and 14 modules that a controller wires anew in each step.

    integers: M, of a new session; a state with another M is stepped as it is, by the same weights.
    A row x is one number: above 1/2 the machine makes a step, else it waits. y tells f_t, the
    willingness to halt in this step, the probability to have halted by its end, and the mean
    entropy of the circuit's choices in nats. discrete: outside of training every choice takes its
    likeliest value, the machine halts where f_t >= 1/2, and from then on nothing changes.
    Raises ValueError for sizes and names that make no machine.
    """

    family = "nram"

    def __init__(
        self,
        integers: int,
        *,
        registers: int = 4,
        controller: Literal["feedforward", "lstm"] = "feedforward",
        controller_size: int = 64,
        controller_layers: int = 1,
        discrete: bool = False,
    ) -> None:
        super().__init__()
        require_positive(integers=integers, registers=registers)
        require_positive(controller_size=controller_size, controller_layers=controller_layers)
        if controller not in CONTROLLERS:
            raise ValueError(f"controller must be one of {list(CONTROLLERS)}, got {controller!r}")
        if integers < 3:
            raise ValueError(f"integers must be at least 3, for there is a TWO, got {integers}")
        self.input_size, self.output_size = 1, len(OUTPUTS)
        self.integers, self.registers, self.discrete = integers, registers, discrete
        self.controller = CONTROLLERS[controller](registers, controller_size, controller_layers)
        self.choices, self.values = ARGUMENTS + registers, registers + len(MODULES)
        self.emit = nn.Linear(controller_size, self.choices * self.values)
        self.halt = nn.Linear(controller_size, 1)
        nn.init.constant_(self.halt.bias, START_WILLING)
        # A constant, so in no file of weights.
        self.register_buffer("may", circuit.allowed(registers), persistent=False)

    @property
    def state_spec(self) -> StateSpec:
        """Names, dims and roles of the state, in the order `flatten` gives its tensors."""
        return (
            TensorSpec("tape", (self.integers, self.integers), "memory"),
            TensorSpec("registers", (self.registers, self.integers), "register"),
            TensorSpec("running", (1,), "other"),
            *self.controller.state_spec,
        )

    @property
    def trace_spec(self) -> StateSpec:
        """The circuit of a step: `Circuit` tells the order of its choices."""
        return (
            TensorSpec("arguments", (ARGUMENTS, self.values), "other"),
            TensorSpec("sources", (self.registers, self.values), "other"),
        )

    def initial_state(self, batch: int) -> NRAMState:
        """Zero in every cell and register. The same for each of B rows."""
        require_positive(batch=batch)
        return self._zeros(batch, self.integers)

    def begin(self, given: Mapping[str, Tensor]) -> NRAMState:
        """The first state with the given tape, (B, M, M), and registers, (B, R, M), M any.

        Raises ValueError for no tape, and for other names.
        """
        if "tape" not in given or given.keys() - {"tape", "registers"}:
            raise ValueError(f"state must be a tape and perhaps registers, got {sorted(given)}")
        batch, cells = given["tape"].shape[:2]
        return self._zeros(batch, cells)._replace(**given)

    def _zeros(self, batch: int, integers: int) -> NRAMState:
        zero = self.halt.weight.new_zeros(integers)
        zero[0] = 1
        return NRAMState(
            zero.expand(batch, integers, -1),
            zero.expand(batch, self.registers, -1),
            zero.new_ones(batch, 1),
            self.controller.initial_state(batch),
        )

    def step_traced(self, x: Tensor, state: NRAMState) -> tuple[Tensor, NRAMState, Circuit]:
        """x: (B, 1). Returns y (B, 3), the next state and the circuit of this step."""
        discrete = self.discrete and not self.training
        zero = state.registers[:, :, 0]  # all it may know of a register: is it 0?
        output, controller = self.controller(
            zero, zero.new_zeros(zero.shape[0], 0, 1), state.controller
        )
        logits = self.emit(output).unflatten(1, (self.choices, self.values))
        chosen, entropy = circuit.choose(logits, cast(Tensor, self.may), discrete)
        registers, tape = circuit.run(chosen, state.registers, state.tape)
        willing = torch.sigmoid(self.halt(output))
        go = x > 0.5
        if discrete:
            willing = (willing >= 0.5).to(willing.dtype)
            go = go & (state.running > 0.5)
        running = torch.where(go, state.running * (1 - willing), state.running)
        following = NRAMState(
            torch.where(go.unsqueeze(2), tape, state.tape),
            torch.where(go.unsqueeze(2), registers, state.registers),
            running,
            tuple(
                torch.where(go, new, old)
                for new, old in zip(controller, state.controller, strict=True)
            ),
        )
        told = torch.cat([willing, entropy], dim=1) * go.to(willing.dtype)
        y = torch.cat([told[:, :1], 1 - running, told[:, 1:]], dim=1)
        return y, following, chosen

    def step(self, input_t: Tensor, state: NRAMState) -> tuple[Tensor, NRAMState]:
        """input_t: (B, 1). Returns y (B, 3) and the next state.

        Raises ValueError for other dims, and for rows that are not as many as the state's.
        """
        sequences.require_row(input_t, state.tape.shape[0], self.input_size)
        y, following, _ = self.step_traced(input_t, state)
        return y, following

    def forward(self, inputs: Tensor, state: NRAMState | None = None) -> Tensor:
        """A whole sequence, from fresh state where none is given. inputs: (B, T, 1). Returns y
        (B, T, 3)."""
        return sequences.run(self, inputs, state)[0]
