from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from model.neural_turing_machine import NeuralTuringMachine
from model.rollout import Compile, Step, TrainingStep, find_compiler, rollout
from model.state import StateSpec, TensorSpec

# Both are raised inside torch.compile, on torch's own code.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]

B, T, X, Y, N, M = 3, 4, 6, 2, 7, 5


def network() -> NeuralTuringMachine:
    torch.manual_seed(1)
    return NeuralTuringMachine(X, Y, N, M, controller_size=8)


def test_a_rollout_equals_the_networks_own_run() -> None:
    ntm, inputs = network(), torch.randn(B, T, X)
    logits = rollout(ntm.step, ntm.initial_state(B), inputs).logits
    assert logits.shape == (B, T, Y)
    torch.testing.assert_close(logits, ntm(inputs), rtol=0, atol=1e-6)


def test_the_change_of_memory_is_summed_over_cells_and_averaged_over_rows() -> None:
    ntm, inputs = network(), torch.randn(B, T, X)
    place = [spec.name for spec in ntm.state_spec].index("memory")
    change = rollout(ntm.step, ntm.initial_state(B), inputs, place).memory_change
    state, total = ntm.initial_state(B), 0.0
    for row in inputs.unbind(1):
        _, following = ntm.step(row, state)
        total += (following.memory - state.memory).abs().sum().item()
        state = following
    assert change.item() == pytest.approx(total / (B * T), rel=1e-5) and total > 0
    assert rollout(ntm.step, ntm.initial_state(B), inputs).memory_change.item() == 0


class Leaky(nn.Module):
    """The smallest network with state: what torch.compile makes of it is quick to build."""

    family, input_size, output_size = "leaky", X, Y
    state_spec: StateSpec = (TensorSpec("total", (Y,), "other"),)
    trace_spec: StateSpec = ()

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.mix = nn.Linear(X, Y)

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        return (self.mix.bias.expand(batch, -1),)

    def step(self, input_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Any]:
        total = torch.tanh(self.mix(input_t)) + 0.5 * state[0]
        return total, (total,)

    def step_traced(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Any, Any]:
        return *self.step(x, state), ()


class Branching(Leaky):
    """Decides by a number it has just computed, which no compiler can."""

    def step(self, input_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Any]:
        y, following = super().step(input_t, state)
        return (y, following) if y.sum().item() < 1e9 else (-y, following)


def outcome(network: Leaky, step: Step, inputs: Tensor) -> list[Tensor]:
    logits = rollout(step, network.initial_state(B), inputs).logits
    return [logits.detach(), *torch.autograd.grad(logits.sum(), list(network.parameters()))]


def test_mode_off_runs_the_step_itself() -> None:
    notices: list[str] = []
    network = Leaky()
    assert TrainingStep(network, B, "off", notices.append).run == network.step
    assert notices == []


def test_without_a_compiler_training_is_eager_with_a_notice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    notices: list[str] = []
    network = Leaky()
    assert TrainingStep(network, B, "auto", notices.append).run == network.step
    assert notices == ["no C++ compiler found: training runs eagerly, which is slower"]


def test_a_batch_of_one_is_eager_with_a_notice() -> None:
    notices: list[str] = []
    network = Leaky()
    assert TrainingStep(network, 1, "auto", notices.append).run == network.step
    assert notices == ["a batch of one is stepped eagerly, which is slower: --batch 16 compiles"]


@pytest.mark.skipif(find_compiler() is None, reason="torch.compile needs a C++ compiler")
def test_where_compiling_fails_training_is_eager_with_a_notice() -> None:
    network, inputs, notices = Branching(), torch.randn(B, T, X), list[str]()
    step = TrainingStep(network, B, "auto", notices.append)
    assert step.run == network.step
    assert len(notices) == 2 and notices[1].startswith("compiling failed (")
    assert len(outcome(network, step, inputs)) == 3
    with pytest.raises(TorchDynamoException):
        TrainingStep(network, B, "on", notices.append)


@pytest.mark.skipif(find_compiler() is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("mode", ["on", "graphs"])  # without a CUDA device there are no graphs
def test_a_compiled_step_gives_the_eager_outputs_and_gradients(mode: Compile) -> None:
    network, inputs = Leaky(), torch.randn(B, T, X)
    step = TrainingStep(network, B, mode, print)
    step.begin()
    assert step.run != network.step
    assert all(weight.grad is None for weight in network.parameters())
    pairs = zip(outcome(network, step, inputs), outcome(network, network.step, inputs), strict=True)
    for compiled, eager in pairs:
        torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-6)
