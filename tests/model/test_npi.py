from __future__ import annotations

import random
from typing import cast

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from model.npi import ACTED, CALLED, NOTHING, NPI, RETURNED, TYPED
from model.npi_interpreter import Interpreter
from model.npi_layout import BLANK, LAYOUTS, OFF, RETURN, Decision
from model.rollout import rollout
from model.state import flatten
from model.tasks import make_task
from model.tasks.problems import PROBLEMS
from model.tasks.program_task import ProgramTask
from tests.model.npis import ENVIRONMENTS, B, D, H, L, M, N, assert_same, npi, random_row, row_of

ADDITION = LAYOUTS["addition"]


def go_on(network: NPI, batch: int = B) -> torch.Tensor:
    return torch.zeros(batch, network.input_size)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_state_and_trace_have_the_dims_of_their_specs(environment: str) -> None:
    network = npi(environment)
    state = network.initial_state(B)
    y, after, trace = network.step_traced(go_on(network), state)
    assert y.shape == (B, network.output_size)
    for told, spec in ((state, network.state_spec), (after, network.state_spec)):
        assert [part.shape[1:] for part in flatten(told)] == [one.dims for one in spec]
    assert [part.shape[1:] for part in trace] == [one.dims for one in network.trace_spec]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("seed", range(6))
def test_told_decisions_are_carried_out_as_the_interpreter_in_plain_python_does(
    environment: str, seed: int
) -> None:
    network, draw = npi(environment), random.Random(seed)
    plain = [Interpreter(network.layout, N) for _ in range(B)]
    state = network.initial_state(B)
    for _ in range(60):
        rows = [random_row(network.layout, draw, len(one.stack), D) for one in plain]
        state = network.step(torch.stack(rows), state)[1]
        for number, (one, row) in enumerate(zip(plain, rows, strict=True)):
            size = network.layout.decision_size
            if row[size]:
                one.type([int(value) for value in row[size + 1 :]])
            else:
                one.carry_out(network.layout.decide(row[:size].tolist()))
            assert_same(one, state, number)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("seed", range(12))
def test_a_network_left_to_itself_does_what_its_own_answers_say(
    environment: str, seed: int
) -> None:
    network = npi(environment, seed)
    layout, draw = network.layout, random.Random(seed)
    with torch.no_grad():  # so that it calls, acts and returns by turns
        network.core.end.bias.fill_(-0.2)
        network.core.end.weight.mul_(8)
        network.core.program_keys.mul_(4)
    plain, state = Interpreter(layout, N), network.initial_state(1)
    for _ in range(4):
        values = tuple(draw.randint(0, 9) for _ in range(layout.typed))
        plain.type(values)
        state = network.step(row_of(layout, typed=values)[None], state)[1]
    for _ in range(40):
        y, state, trace = network.step_traced(go_on(network, 1), state)
        decision = layout.decide(torch.sigmoid(y[0]).tolist())
        assert trace[3][0].tolist() == plain.seen
        assert [trace[1].item(), *trace[2][0].tolist()] == list(plain.stack[-1])
        if len(plain.stack) == D and decision.program > 0:
            assert y[0, -2:].tolist() == [-OFF, OFF]
            return
        plain.carry_out(decision)
        assert_same(plain, state)
        assert (y[0, -2] > 0) == (not plain.stack)
        if not plain.stack:
            return


def test_every_kind_of_tick_is_told_and_answered() -> None:
    network, layout = npi(), ADDITION
    state, told = network.initial_state(1), []
    rows = [
        row_of(layout, typed=(3, BLANK)),
        row_of(layout, layout.call("ADD1")),
        row_of(layout, layout.call("ACT", "write", "out", 3)),
        row_of(layout, Decision(RETURN)),
        row_of(layout, Decision(RETURN)),
        row_of(layout, layout.call("ADD1")),
    ]
    for row in rows:
        y, state, trace = network.step_traced(row[None], state)
        told.append((int(trace[0].item()), (y[0, -2:] > 0).tolist(), bool((y[0] > -OFF).any())))
    halts, goes_on = [True, False], [False, False]
    assert told == [
        (TYPED, goes_on, False),
        (CALLED, goes_on, True),
        (ACTED, goes_on, True),
        (RETURNED, goes_on, True),
        (RETURNED, halts, True),
        (NOTHING, halts, True),
    ]
    assert state.pad[0, :, -1].tolist() == [3, BLANK, BLANK, 3]


def test_the_core_is_torchs_own_lstm_on_what_the_frame_sees() -> None:
    network, layout = npi(), ADDITION
    core = network.core
    twin = nn.LSTM(H + M, H, num_layers=L, batch_first=True)
    for layer, cell in enumerate(core.cells):
        for name, value in cell.named_parameters():
            getattr(twin, f"{name}_l{layer}").data.copy_(value)
    state, entered, logits = network.initial_state(1), [], []
    for seen_out, value in ((BLANK, 3), (3, 5), (5, 8)):
        row = row_of(layout, layout.call("ACT", "write", "out", value))
        seen = torch.zeros(4 * 11)
        seen[[0, 11, 22, 33 + seen_out - BLANK]] = 1  # the first three are blank
        given = torch.zeros(sum(layout.widths[2:]))
        given[[0, 5, 5 + 5]] = 1  # none of each
        s = core.encoder(torch.cat([seen, given]))
        entered.append(torch.cat([s, core.program_embeddings[layout.programs.index("ADD")]]))
        y, state = network.step(row[None], state)
        logits.append(y[0, : layout.decision_size])
    hidden = twin(torch.stack(entered)[None])[0][0]
    scores = core.key(hidden) @ core.program_keys.T
    parts = [scores, *core.argument(hidden).split(core.choices, dim=1)]
    chances = [part.softmax(dim=1) for part in parts]
    expected = torch.cat([torch.sigmoid(core.end(hidden)), *chances], dim=1)
    torch.testing.assert_close(torch.sigmoid(torch.stack(logits)), expected)


@pytest.mark.parametrize(
    "name", ["addition", "recursive-addition", "bubble-sort", "recursive-bubble-sort"]
)
def test_teaching_whole_traces_gives_what_the_ticks_give_and_the_same_gradients(name: str) -> None:
    task = cast(ProgramTask, make_task(name))
    network = npi(task.environment, depth=30)
    drawn = PROBLEMS[task.environment](torch.Generator().manual_seed(3), B, 3)
    batch = task.of_problems(drawn, told=True)
    ticks = rollout(network.step, network.initial_state(B), batch.inputs).logits
    whole = network.taught(batch.inputs)
    torch.testing.assert_close(whole, ticks, rtol=0, atol=1e-6)
    weights = list(network.parameters())
    for slow, fast in zip(
        torch.autograd.grad(task.loss(ticks, batch), weights),
        torch.autograd.grad(task.loss(whole, batch), weights),
        strict=True,
    ):
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-7)


def test_rows_that_tell_nothing_cannot_teach() -> None:
    network = npi()
    with pytest.raises(ValueError, match="row 0 should be typed or have a decision"):
        network.taught(torch.zeros(2, 3, network.input_size))


def test_gradients_of_a_run_with_calls_and_returns_pass_gradcheck() -> None:
    network = npi(hidden_size=3, width=2, depth=3).double()
    layout = ADDITION
    decisions = [layout.call("ADD1"), layout.call("ACT", "write", "out", 7), Decision(RETURN)]
    rows = torch.stack([row_of(layout, one).double() for one in (*decisions, layout.call("ADD1"))])
    names = [name for name, _ in network.named_parameters()]

    def run(*weights: torch.Tensor) -> torch.Tensor:
        told = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(network, told, (rows[None],))

    weights = [value.detach().requires_grad_() for value in network.parameters()]
    assert gradcheck(run, weights, fast_mode=True)


@pytest.mark.parametrize("value", [1e30, -1e30, 0.5, -0.5])
def test_a_state_of_rubbish_gives_finite_numbers(value: float) -> None:
    network = npi()
    state = network.initial_state(B)
    flat = [torch.full_like(part, value) for part in flatten(state)]
    for depth in (value, 1.0, float(D)):
        flat[2] = torch.full_like(flat[2], depth)
        rubbish = type(state)(flat[0], flat[1], type(state.stack)(*flat[2:]))
        for x in (go_on(network), torch.full_like(go_on(network), value)):
            y, after, trace = network.step_traced(x, rubbish)
            assert all(part.isfinite().all() for part in (y, *flatten(after), *trace))


def test_sizes_and_names_that_make_no_machine_are_refused() -> None:
    with pytest.raises(ValueError, match="environment must be one of"):
        NPI(30, 29, "chess")
    with pytest.raises(ValueError, match=r"addition has rows of \d+ and \d+ numbers, got"):
        NPI(6, 4)
    with pytest.raises(ValueError, match="columns must be"):
        npi(columns=0)
    with pytest.raises(ValueError, match="input_t must be"):
        network = npi()
        network.step(torch.zeros(B, 3), network.initial_state(B))
