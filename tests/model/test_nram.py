import pytest
import torch
from torch import Tensor

from model.families import build
from model.nram import NRAM, NRAMState
from model.rollout import first_state
from model.state import flatten, unflatten
from model.tasks.task import Batch, BegunBatch
from tests.model import slow_nram

B, R, M, H, T = 3, 2, 5, 6, 7
KINDS = ("feedforward", "lstm")


def nram(**options: object) -> NRAM:
    torch.manual_seed(1)
    sizes = {"integers": M, "registers": R, "controller_size": H}
    return NRAM(**{**sizes, **options})  # pyright: ignore[reportArgumentType]


def some_state(network: NRAM, seed: int = 2) -> NRAMState:
    """Blurred tapes and registers, as training has them."""
    generator = torch.Generator().manual_seed(seed)
    fresh = network.initial_state(B)
    drawn = torch.randn(B, M + R, M, generator=generator).mul(2).softmax(dim=2)
    return fresh._replace(tape=drawn[:, :M], registers=drawn[:, M:])


def go() -> Tensor:
    return torch.ones(B, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_spec_tells_the_state_that_a_session_begins_with(kind: str) -> None:
    network = nram(controller=kind)
    state = network.initial_state(B)
    for spec, part in zip(network.state_spec, flatten(state), strict=True):
        assert part.shape == (B, *spec.dims)
    assert [spec.role for spec in network.state_spec][:3] == ["memory", "register", "other"]
    zero = torch.eye(M)[0]
    assert (state.tape == zero).all() and (state.registers == zero).all()
    assert (state.running == 1).all()


def test_a_step_is_the_loops_on_what_the_controller_emits_from_the_zeros_it_sees() -> None:
    network = nram().double()
    state = some_state(network)
    state = NRAMState(state.tape.double(), state.registers.double(), state.running.double(), ())
    zero = state.registers[:, :, 0]
    first = network.controller.layers[0]
    hidden = torch.tanh(zero @ first.weight.T + first.bias)
    logits = (hidden @ network.emit.weight.T + network.emit.bias).view(B, -1, R + 14)
    willing = torch.sigmoid(hidden @ network.halt.weight.T + network.halt.bias)
    y, following = network.step(go().double(), state)
    for row in range(B):
        wanted = slow_nram.step(
            logits[row].tolist(), state.registers[row].tolist(), state.tape[row].tolist()
        )
        torch.testing.assert_close(following.registers[row], torch.tensor(wanted[0]).double())
        torch.testing.assert_close(following.tape[row], torch.tensor(wanted[1]).double())
        assert y[row, 2].item() == pytest.approx(wanted[2])
    torch.testing.assert_close(y[:, :1], willing)
    torch.testing.assert_close(y[:, 1:2], willing)  # it has run for certain until now


@pytest.mark.parametrize("kind", KINDS)
def test_the_controller_learns_of_a_register_only_whether_it_is_zero(kind: str) -> None:
    network = nram(controller=kind)
    state = some_state(network)
    turned = torch.cat([state.registers[:, :, :1], state.registers[:, :, 1:].flip(2)], dim=2)
    tape = state.tape.flip(1)
    _, _, seen = network.step_traced(go(), state)
    _, _, same = network.step_traced(go(), state._replace(registers=turned, tape=tape))
    assert seen.arguments.equal(same.arguments) and seen.sources.equal(same.sources)


def test_the_probability_to_have_halted_is_that_of_any_step_so_far() -> None:
    network = nram()
    state, going = some_state(network), torch.ones(B, 1)
    for _ in range(T):
        y, state = network.step(go(), state)
        going = going * (1 - y[:, :1])
        torch.testing.assert_close(y[:, 1:2], 1 - going)
        torch.testing.assert_close(state.running, going)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("discrete", [False, True])
def test_a_row_of_zero_changes_nothing_in_that_sequence_alone(kind: str, discrete: bool) -> None:
    network = nram(controller=kind, discrete=discrete).eval()
    state = some_state(network)
    x = torch.tensor([[1.0], [0.0], [1.0]])
    y, following = network.step(x, state)
    for before, after in zip(flatten(state), flatten(following), strict=True):
        assert after[1].equal(before[1])
    assert not following.tape[0].equal(state.tape[0])
    assert y[1].tolist() == [0, 0, 0]


def always(network: NRAM, willing: float) -> NRAM:
    with torch.no_grad():
        network.halt.weight.zero_()
        network.halt.bias.fill_(willing)
    return network


def test_a_discrete_machine_that_has_halted_keeps_its_tape_and_says_so() -> None:
    network = always(nram(discrete=True).eval(), 3.0)
    state = network.begin({"tape": torch.eye(M).expand(B, -1, -1)})
    y, halted = network.step(go(), state)
    assert y.tolist() == [[1, 1, 0]] * B and not halted.registers.equal(state.registers)
    y, later = network.step(go(), halted)
    assert y.tolist() == [[0, 1, 0]] * B
    assert all(a.equal(b) for a, b in zip(flatten(halted), flatten(later), strict=True))


def test_a_discrete_machine_that_is_not_willing_goes_on_with_certain_integers() -> None:
    network = always(nram(discrete=True).eval(), -3.0)
    state = network.begin({"tape": torch.eye(M).expand(B, -1, -1)})
    for _ in range(T):
        y, state = network.step(go(), state)
        assert y.tolist() == [[0, 0, 0]] * B
        for part in (state.tape, state.registers):
            assert set(part.unique().tolist()) <= {0.0, 1.0} and (part.sum(dim=2) == 1).all()


def test_in_training_a_discrete_machine_is_a_soft_one() -> None:
    soft, discrete = nram(), nram(discrete=True)
    state = some_state(soft)
    assert soft.step(go(), state)[0].equal(discrete.step(go(), state)[0])
    assert not soft.eval().step(go(), state)[0].equal(discrete.eval().step(go(), state)[0])


def test_the_same_weights_step_a_tape_of_any_size() -> None:
    network = nram()
    tape = torch.eye(9).expand(B, -1, -1)
    batch = BegunBatch.of(Batch(torch.ones(B, T, 1), torch.zeros(B), torch.ones(B)), {"tape": tape})
    state = first_state(network, batch)
    assert state.registers.shape == (B, R, 9)
    y, following = network.step(go(), state)
    assert y.shape == (B, 3) and following.tape.shape == (B, 9, 9)


def test_registers_can_be_given_too_and_nothing_else() -> None:
    network, tape = nram(), torch.eye(M).expand(B, -1, -1)
    registers = torch.eye(M)[3].expand(B, R, M)
    assert network.begin({"tape": tape, "registers": registers}).registers.equal(registers)
    for given in ({}, {"registers": registers}, {"tape": tape, "running": torch.ones(B, 1)}):
        with pytest.raises(ValueError, match="state must be a tape"):
            network.begin(given)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_a_whole_step_is_right(kind: str) -> None:
    network = nram(controller=kind).double()
    state = some_state(network)
    parts = [part[:2].detach().clone() for part in flatten(state)]
    names, weights = zip(*network.named_parameters(), strict=True)

    def step(*tensors: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(names, tensors[: len(names)], strict=True))
        given = (torch.ones(2, 1).double(), unflatten(state, tensors[len(names) :]))
        y, following = torch.func.functional_call(network, values, given, {})
        return y, *flatten(following)

    network.forward = network.step  # type: ignore[method-assign]
    inputs = [part.detach().double().requires_grad_() for part in (*weights, *parts)]
    assert torch.autograd.gradcheck(step, inputs, fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_ever_nan_or_infinite_whatever_the_weights(kind: str) -> None:
    network = nram(controller=kind)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(100).add_(torch.randn_like(weight) * 30)
    state = network.begin({"tape": some_state(network).tape})
    for row in torch.tensor([1e30, -1e30, 1.0, 0.5]):
        y, state = network.step(row.expand(B, 1), state)
    loss = y.sum() + sum(part.sum() for part in flatten(state))
    loss.backward()
    assert all(torch.isfinite(part).all() for part in (y, *flatten(state)))
    assert all(w.grad is None or torch.isfinite(w.grad).all() for w in network.parameters())


def test_what_makes_no_machine_is_refused_by_name() -> None:
    for options, word in (
        ({"integers": 2}, "TWO"),
        ({"registers": 0}, "registers"),
        ({"controller": "attention"}, "controller"),
        ({"controller_size": 0}, "controller_size"),
    ):
        with pytest.raises(ValueError, match=word):
            nram(**options)
    with pytest.raises(ValueError, match="does not take"):
        build("nram", {"memory_size": 7})
    with pytest.raises(ValueError, match="input_t"):
        nram().step(torch.ones(B, 2), nram().initial_state(B))
