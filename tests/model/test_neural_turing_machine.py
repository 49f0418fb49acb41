"""The machine as a whole: one step against the paper, states as values, numbers that stay sane."""

import pytest
import torch
from torch import Tensor

from model.controllers import ControllerKind
from model.neural_turing_machine import MultiHeadNTM, NeuralTuringMachine, NTMState
from model.state import flatten, unflatten
from tests.model import slow

B, T, X, Y, N, M, R, W, H = 4, 6, 9, 10, 7, 5, 2, 3, 8
CONTROLLERS: tuple[ControllerKind, ...] = ("lstm", "feedforward", "attention")


def machine(controller: ControllerKind = "lstm", **options) -> NeuralTuringMachine:
    torch.manual_seed(0)
    heads = {"read_heads": R, "write_heads": W, **options}
    return NeuralTuringMachine(X, Y, N, M, controller=controller, controller_size=H, **heads)


def rows(steps: int = T, seed: int = 1, batch: int = B) -> Tensor:
    return torch.randn(batch, steps, X, generator=torch.Generator().manual_seed(seed))


def same(left, right) -> bool:
    return all(torch.equal(a, b) for a, b in zip(flatten(left), flatten(right), strict=True))


def lived_in(ntm: NeuralTuringMachine) -> NTMState:
    """A state with rows that differ, some steps from the start."""
    return ntm.run(rows(4, seed=9))[1]


def assert_weights(state: NTMState) -> None:
    for weights in (state.read_weights, state.write_weights):
        assert (weights >= 0).all()
        assert (weights.double().sum(dim=2) - 1).abs().max() <= 1e-6


def test_the_first_example_of_the_readme_runs():
    ntm = NeuralTuringMachine(9, 8, 128, 20)
    outputs = ntm(torch.zeros(3, 11, 9))
    assert outputs.shape == (3, 11, 8)
    state = ntm.initial_state(3)
    y, state = ntm.step(torch.zeros(3, 9), state)
    assert y.shape == (3, 8)
    assert ntm.get_memory_state(state).shape == (3, 128, 20)
    assert ntm.get_memory_state().shape == (1, 128, 20)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_step_writes_then_reads_as_the_paper_has_it(controller):
    ntm = machine(controller).double()
    state = ntm.run(rows(4).double())[1]
    x = rows(1, seed=5).double()[:, 0]
    y, after, trace = ntm.step_traced(x, state)
    hidden, _ = ntm.controller(x, state.reads, state.controller)
    for b in range(B):

        def focus(head, k, memory, previous, b=b):
            numbers = [part[b, k].tolist() for part in head]
            key, (beta,), (g,), s, (gamma,) = numbers
            return slow.address(key, beta, g, s, gamma, memory, previous[b, k].tolist())

        memory = state.memory[b].tolist()
        written = [focus(trace.write.address, k, memory, state.write_weights) for k in range(W)]
        erase, add = trace.write.erase[b].tolist(), trace.write.add[b].tolist()
        memory = slow.write(memory, written, erase, add)
        looked = [focus(trace.read, k, memory, state.read_weights) for k in range(R)]
        reads = [slow.read(memory, weights) for weights in looked]
        wanted = (memory, looked, written, reads)
        for got, numbers in zip(flatten(after)[:4], wanted, strict=True):
            torch.testing.assert_close(got[b], torch.tensor(numbers, dtype=torch.float64))
        shown = torch.cat([hidden[b], torch.tensor(reads, dtype=torch.float64).flatten()])
        torch.testing.assert_close(y[b], ntm.output.weight @ shown + ntm.output.bias)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_states_and_traces_are_what_their_specs_state(controller):
    ntm = machine(controller)
    state = ntm.initial_state(B)
    y, after, trace = ntm.step_traced(rows()[:, 0], state)
    assert y.shape == (B, Y)
    names = [spec.name for spec in (*ntm.state_spec, *ntm.trace_spec)]
    assert len(set(names)) == len(names)
    for tensors, spec in (
        (state, ntm.state_spec),
        (after, ntm.state_spec),
        (trace, ntm.trace_spec),
    ):
        got = [(tuple(t.shape), str(t.dtype)) for t in flatten(tensors)]
        assert got == [((B, *one.dims), f"torch.{one.dtype}") for one in spec]
    assert after.memory is flatten(after)[0] and ntm.state_spec[0].role == "memory"
    assert trace.write.add is flatten(trace)[-1] and ntm.trace_spec[-1].role == "add"


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_forward_is_a_loop_of_steps_and_run_tells_the_state_too(controller):
    ntm, inputs = machine(controller), rows()
    state, outputs = ntm.initial_state(B), []
    for t in range(T):
        y, state = ntm.step(inputs[:, t], state)
        outputs.append(y)
    together = torch.stack(outputs, dim=1)
    assert together.shape == (B, T, Y)
    assert torch.equal(ntm(inputs), together)
    ran, last = ntm.run(inputs)
    assert torch.equal(ran, together) and same(last, state)


def test_a_sequence_may_be_cut_anywhere_and_goes_on_from_its_state():
    ntm, inputs = machine(), rows()
    whole = ntm(inputs)
    first, state = ntm.run(inputs[:, :2])
    assert torch.equal(torch.cat([first, ntm(inputs[:, 2:], state)], dim=1), whole)


def test_a_traced_step_is_the_step():
    ntm, inputs = machine(), rows()
    state = lived_in(ntm)
    y, after = ntm.step(inputs[:, 0], state)
    traced_y, traced_after, _ = ntm.step_traced(inputs[:, 0], state)
    assert torch.equal(y, traced_y) and same(after, traced_after)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_step_changes_neither_the_module_nor_the_state_it_was_given(controller):
    ntm = machine(controller)
    state = lived_in(ntm)
    attributes = {name: dict(vars(part)) for name, part in ntm.named_modules()}
    weights = {name: tensor.clone() for name, tensor in ntm.state_dict().items()}
    before = unflatten(state, [part.clone() for part in flatten(state)])
    ntm.step(rows()[:, 0], state)
    ntm(rows())
    assert same(state, before)
    assert {name: dict(vars(part)) for name, part in ntm.named_modules()} == attributes
    assert ntm.state_dict().keys() == weights.keys()
    assert all(torch.equal(ntm.state_dict()[name], weights[name]) for name in weights)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_interleaved_sequences_answer_as_each_would_alone_and_twice_the_same(controller):
    ntm = machine(controller)
    sequences = [rows(seed=1), rows(seed=2)]
    states = [ntm.initial_state(B), ntm.initial_state(B)]
    outputs: list[list[Tensor]] = [[], []]
    for t in range(T):
        for i, inputs in enumerate(sequences):
            y, states[i] = ntm.step(inputs[:, t], states[i])
            outputs[i].append(y)
    for i, inputs in enumerate(sequences):
        alone = ntm(inputs)
        assert torch.equal(torch.stack(outputs[i], dim=1), alone)
        assert torch.equal(ntm(inputs), alone)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_row_does_not_see_its_batch_mates(controller):
    ntm, inputs = machine(controller), rows()
    together, state = ntm.run(inputs)
    other = inputs.clone()
    other[1:] = 100 * torch.randn(B - 1, T, X)
    for got in (ntm.run(inputs[:1]), ntm.run(other)):
        torch.testing.assert_close(got[0][:1], together[:1], atol=1e-6, rtol=1e-5)
        for mine, theirs in zip(flatten(got[1]), flatten(state), strict=True):
            torch.testing.assert_close(mine[:1], theirs[:1], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(ntm(other)[1:], together[1:], atol=1e-2)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_every_parameter_is_reached_by_the_gradient(controller):
    ntm = machine(controller, memory_init="learned")
    ntm(rows()).square().sum().backward()
    for name, parameter in ntm.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_ablating_the_window_of_past_outputs_changes_what_attention_answers():
    ntm, inputs = machine("attention"), rows()
    state, blind = lived_in(ntm), lived_in(ntm)
    assert [spec.name for spec in ntm.state_spec][-1] == "controller_window"
    whole, ablated = [], []
    for t in range(T):
        blind = blind._replace(controller=(torch.zeros_like(blind.controller[0]),))
        y, state = ntm.step(inputs[:, t], state)
        z, blind = ntm.step(inputs[:, t], blind)
        whole.append(y)
        ablated.append(z)
    difference = (torch.stack(whole) - torch.stack(ablated)).abs().amax(dim=2)
    assert difference.min() > 1e-4  # in every step and every row


def test_many_heads_are_as_many_readers_and_writers():
    ntm = MultiHeadNTM(X, Y, N, M, num_heads=4, controller_size=H)
    outputs, state = ntm.run(rows())
    assert outputs.shape == (B, T, Y)
    assert state.read_weights.shape == state.write_weights.shape == (B, 4, N)
    assert state.reads.shape == (B, 4, M)
    assert_weights(state)
    assert MultiHeadNTM(X, Y, N, M).heads.read_heads == 4


def test_the_memory_shown_is_a_copy_of_the_one_in_the_state():
    ntm = machine(memory_init="learned")
    state = lived_in(ntm)
    shown = ntm.get_memory_state(state)
    assert torch.equal(shown, state.memory) and not shown.requires_grad
    shown.zero_()
    assert not torch.equal(shown, state.memory)
    assert torch.equal(ntm.get_memory_state()[0], ntm.bank.initial)


def test_every_head_begins_on_the_first_slot_and_may_learn_another():
    ntm = NeuralTuringMachine(X, Y, 128, M, read_heads=R, write_heads=W)
    state = ntm.initial_state(B)
    assert_weights(state)
    assert (state.read_weights[:, :, 0] > 0.98).all() and (
        state.write_weights[:, :, 0] > 0.98
    ).all()
    names = {name for name, _ in ntm.named_parameters()}
    assert {"initial_read_focus", "initial_write_focus", "initial_reads"} <= names


@pytest.mark.parametrize("init", ["constant", "learned", "random"])
def test_an_episode_begins_from_the_memory_asked_for(init):
    ntm = machine(memory_init=init)
    assert torch.equal(ntm.initial_state(B).memory[2], ntm.bank.get_memory_contents())
    assert ("bank.initial" in dict(ntm.named_parameters())) == (init == "learned")
    assert "bank.initial" in ntm.state_dict()


def test_weights_and_seed_alone_decide_what_a_machine_answers():
    first, again = machine(memory_init="random"), machine(memory_init="random")
    assert torch.equal(first(rows()), again(rows()))
    torch.manual_seed(7)
    other = NeuralTuringMachine(
        X, Y, N, M, controller_size=H, read_heads=R, write_heads=W, memory_init="random"
    )
    assert not torch.equal(other(rows()), first(rows()))
    other.load_state_dict(first.state_dict())
    assert torch.equal(other(rows()), first(rows()))


@pytest.mark.parametrize("sharpening", ["power", "softmax"])
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_extreme_rows_and_states_make_no_nan(controller, sharpening):
    ntm = machine(controller, sharpening=sharpening)
    with torch.no_grad():
        for scale in (0.0, 1e-30, 1e4, 1e30, 3.4e38):
            inputs = scale * rows().sign()
            state = ntm.initial_state(B)._replace(memory=torch.zeros(B, N, M))
            outputs, state = ntm.run(inputs, state)
            assert torch.isfinite(outputs).all()
            assert all(torch.isfinite(part).all() for part in flatten(state))
            assert_weights(state)


@pytest.mark.parametrize("bias", [-1e30, 1e30])
def test_extreme_head_parameters_make_no_nan(bias):
    ntm = machine()
    with torch.no_grad():
        # Strengths, gates and sharpness of 0 or 1e30, keys, erasures and additions of +-1.
        ntm.heads.read_projection.bias.fill_(bias)
        ntm.heads.write_projection.bias.fill_(bias)
        for inputs in (rows(), 0 * rows()):
            state = ntm.initial_state(B)
            for t in range(T):
                y, state = ntm.step(inputs[:, t], state)
                assert torch.isfinite(y).all()
                assert all(torch.isfinite(part).all() for part in flatten(state))
                assert_weights(state)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_ten_thousand_steps_in_float32_stay_finite_and_weights_sum_to_one(controller):
    ntm = machine(controller, read_heads=1, write_heads=1)
    inputs = 3 * rows(10_000)
    with torch.inference_mode():
        state = ntm.initial_state(B)
        for t in range(10_000):
            y, state = ntm.step(inputs[:, t], state)
            if t % 100 == 99:  # a NaN or Inf never goes away again
                assert_weights(state)
        assert all(torch.isfinite(part).all() for part in (y, *flatten(state)))
    assert state.memory.dtype == torch.float32


@pytest.mark.parametrize("shape", [(T, X), (B, T, X - 1), (B, 0, X), (B, T, X, 2)])
def test_a_sequence_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"inputs must be \(B, T, 9\) with T >= 1, got \("):
        machine()(torch.zeros(shape))


@pytest.mark.parametrize(
    "name",
    [
        "input_size",
        "output_size",
        "memory_size",
        "memory_width",
        "controller_size",
        "controller_layers",
        "read_heads",
        "write_heads",
    ],
)
@pytest.mark.parametrize("size", [0, -1, 2.0, "8", True])
def test_a_size_that_is_none_is_refused_by_name(name, size):
    sizes = {"input_size": X, "output_size": Y, "memory_size": N, "memory_width": M}
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, got {size!r}"):
        NeuralTuringMachine(**{**sizes, name: size})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift_range": 4}, "shift_range 4 needs memory_size >= 9, got 7"),
        ({"shift_range": -1}, "shift_range must be an integer of at least 0, got -1"),
        ({"controller": "gru"}, 'controller must be "lstm", "feedforward" or "attention"'),
        ({"memory_init": "zeros"}, 'memory_init must be "constant", "learned" or "random"'),
        ({"sharpening": "max"}, 'sharpening must be "power" or "softmax"'),
        ({"controller": "attention", "controller_size": 90}, "multiple of 4 attention heads"),
        ({"controller": "attention", "controller_layers": 2}, "attention controller has 1 layer"),
    ],
)
def test_options_that_make_no_machine_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        NeuralTuringMachine(X, Y, N, M, **options)


def test_the_widest_shift_that_fits_is_taken():
    assert NeuralTuringMachine(X, Y, N, M, shift_range=3)(rows()).shape == (B, T, Y)


def test_many_heads_need_at_least_one():
    with pytest.raises(ValueError, match="read_heads must be an integer of at least 1, got 0"):
        MultiHeadNTM(X, Y, N, M, num_heads=0)
