"""The machine as a whole: one step against the paper, and states as values."""

import re

import pytest
import torch
from torch import Tensor

from model.neural_turing_machine import MultiHeadNTM, NeuralTuringMachine
from model.state import flatten, unflatten
from tests.model import slow
from tests.model.machines import (
    CONTROLLERS,
    B,
    H,
    M,
    N,
    R,
    T,
    W,
    X,
    Y,
    assert_weights,
    lived_in,
    machine,
    rows,
    same,
)


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


@pytest.mark.parametrize("dims", [(2, 8), (9,), (3, 9), (2, 1, 9)])
def test_a_step_says_which_rows_it_takes(dims: tuple[int, ...]):
    ntm = NeuralTuringMachine(9, 8, 7, 5)
    state = ntm.initial_state(2)
    said = re.escape(f"must be (2, 9), a row of each in the state, got {dims}")
    with pytest.raises(ValueError, match=said):
        ntm.step(torch.zeros(dims), state)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_state_is_of_at_least_one_row(batch: int):
    with pytest.raises(ValueError, match=f"batch must be an integer of at least 1, got {batch}"):
        NeuralTuringMachine(9, 8, 7, 5).initial_state(batch)


def test_many_heads_take_every_option_of_the_machine():
    many = MultiHeadNTM(
        9, 8, 7, 5, 2, memory_init="learned", shift_range=2, sharpening="softmax",
        controller_layers=2,
    )  # fmt: skip
    alike = NeuralTuringMachine(
        9, 8, 7, 5, read_heads=2, write_heads=2, memory_init="learned", shift_range=2,
        sharpening="softmax", controller_layers=2,
    )  # fmt: skip
    dims = {name: value.shape for name, value in alike.named_parameters()}
    assert {name: value.shape for name, value in many.named_parameters()} == dims
    assert many.heads.addressing.sharpening == "softmax"
