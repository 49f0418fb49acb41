"""The MANN as a whole: one step against the paper, its invariants, and what its options change."""

from typing import Any

import pytest
import torch
from torch import Tensor

from model.lrua import GRAIN
from model.mann import MANN, MANNState
from model.options import options_of, recipe_from
from model.state import flatten, unflatten
from tests.model import slow, slow_dnc
from tests.model import slow_mann as paper
from tests.model.machines import assert_as_specified
from tests.model.resuming import assert_resumes_exactly

B, T, X, Y, N, M, R, H = 3, 6, 9, 10, 7, 5, 2, 8
ALL: dict[str, Any] = {"key_strength": True, "separate_add": True}
OPTIONS = [
    {},
    {"key_strength": True},
    {"separate_add": True},
    ALL | {"usage_decay": 0.9},
    {"controller": "feedforward"},
]


def mann(**options: Any) -> MANN:
    torch.manual_seed(1)
    return MANN(X, Y, N, M, controller_size=H, read_heads=R, **options)


def rows(steps: int = T, seed: int = 1) -> Tensor:
    return 2 * torch.randn(B, steps, X, generator=torch.Generator().manual_seed(seed))


def by_the_paper(
    network: MANN, state: MANNState, trace: dict[str, Tensor], b: int
) -> dict[str, Any]:
    """The memory's part of row b's next state, slot by slot, from what the heads were given."""
    had = {name: part[b].tolist() for name, part in state._asdict().items() if name != "controller"}
    told = {name: part[b].tolist() for name, part in trace.items()}
    gates = [gate for (gate,) in told["write_gate"]]
    least = paper.first_of(had["usage"], R, GRAIN)
    written = [
        paper.write_weights(gate, read, least)
        for gate, read in zip(gates, had["read_weights"], strict=True)
    ]
    keys, added = told["read_key"], told.get("write_add", told["read_key"])
    wiped = paper.first_of(had["usage"], 1, GRAIN)
    memory = paper.write(had["memory"], written, added, wiped)
    strengths = [value for (value,) in told.get("read_strength", [[1.0]] * R)]
    reads = [
        slow_dnc.content(key, memory, strength, [1.0] * M)
        for key, strength in zip(keys, strengths, strict=True)
    ]
    return {
        "memory": memory,
        "usage": paper.usage(had["usage"], reads, written, network.usage_decay),
        "read_weights": reads,
        "write_weights": written,
        "reads": [slow.read(memory, weights) for weights in reads],
    }


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_step_wipes_writes_reads_and_counts_as_the_paper_has_it(options: dict[str, Any]) -> None:
    network = mann(**options, memory_init="random").double()
    state = network.run(rows(5).double())[1]
    x = rows(1, seed=5)[:, 0].double()
    y, after, trace = network.step_traced(x, state)
    names = [spec.name for spec in network.trace_spec]
    told = dict(zip(names, trace, strict=True))
    hidden, _ = network.controller(x, state.reads, state.controller)
    for b in range(B):
        for name, numbers in by_the_paper(network, state, told, b).items():
            got = getattr(after, name)[b]
            wanted = torch.tensor(numbers, dtype=torch.float64)
            torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5, msg=name)
        shown = torch.cat([hidden[b], after.reads[b].flatten()])
        torch.testing.assert_close(y[b], network.output.weight @ shown + network.output.bias)


def test_what_the_heads_are_given_is_in_range() -> None:
    heads = mann(**ALL).head_parameters(9 * torch.randn(B, H))
    assert heads.strength is not None and heads.add is not None
    assert (heads.key.abs() <= 1).all() and (heads.add.abs() <= 1).all()
    assert ((heads.gate >= 0) & (heads.gate <= 1)).all() and (heads.strength >= 1).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_states_and_traces_are_what_their_specs_state(options: dict[str, Any]) -> None:
    network = mann(**options)
    assert_as_specified(network, rows()[:, 0])
    assert "usage" in {spec.role for spec in network.state_spec}


def test_a_sequence_goes_on_from_the_state_it_stopped_in() -> None:
    network, inputs = mann(**ALL), rows()
    first, halfway = network.run(inputs[:, :2])
    rest, _ = network.run(inputs[:, 2:], halfway)
    assert torch.equal(torch.cat([first, rest], dim=1), network(inputs))


def test_a_step_changes_neither_the_module_nor_the_state_it_was_given() -> None:
    network = mann(**ALL)
    state = network.run(rows(4))[1]
    before = [part.clone() for part in flatten(state)]
    attributes = {name: dict(vars(part)) for name, part in network.named_modules()}
    network.step(rows()[:, 0], state)
    assert all(torch.equal(a, b) for a, b in zip(flatten(state), before, strict=True))
    assert {name: dict(vars(part)) for name, part in network.named_modules()} == attributes


def test_a_row_does_not_see_its_batch_mates() -> None:
    network, inputs = mann(**ALL), rows()
    together, state = network.run(inputs)
    alone, own = network.run(inputs[:1])
    torch.testing.assert_close(alone, together[:1], atol=1e-6, rtol=1e-5)
    for mine, theirs in zip(flatten(own), flatten(state), strict=True):
        torch.testing.assert_close(mine, theirs[:1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_parameter_is_reached_by_a_finite_gradient(options: dict[str, Any]) -> None:
    network = mann(**options, memory_init="learned")
    network(rows()).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_whole_step_passes_gradcheck() -> None:
    network = mann(**ALL, memory_init="random").double()
    state = network.run(rows(4).double())[1]
    parts = [part.detach() for part in flatten(state)]
    usage = [spec.role for spec in network.state_spec].index("usage")
    free = [part.requires_grad_(place != usage) for place, part in enumerate(parts)]

    def step(x: Tensor, *state_parts: Tensor) -> tuple[Tensor, ...]:
        y, after = network.step(x, unflatten(state, state_parts))
        return (y, *(part for part in flatten(after) if part.requires_grad))

    x = rows(1, seed=8)[:, 0].double().requires_grad_()
    assert torch.autograd.gradcheck(step, (x, *free), atol=1e-4)


def test_slots_are_written_in_turn_before_any_is_written_twice() -> None:
    network = mann()
    with torch.no_grad():
        network.heads.bias.view(R, -1)[:, M] = -40.0  # never where it has read
    state, written = network.initial_state(1), torch.zeros(N)
    for row in rows(3)[:1].unbind(dim=1):
        _, state = network.step(row, state)
        written += state.write_weights[0].amax(dim=0).round()
    assert written.tolist() == [1.0] * 6 + [0.0]


def test_an_episode_begins_with_nothing_used_or_read() -> None:
    state = mann().initial_state(B)
    assert all(part.eq(0).all() for part in state[1:5]) and state.memory.eq(1e-6).all()


@pytest.mark.parametrize("dims", [(B, X + 1), (B + 1, X), (X,), (B, 2, X)])
def test_rows_of_other_dims_are_refused(dims: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"input_t must be \(3, 9\), a row of each"):
        mann().step(torch.zeros(dims), mann().initial_state(B))


@pytest.mark.parametrize("wrong", [{"read_heads": N + 1}, {"usage_decay": 1.0}])
def test_sizes_that_make_no_machine_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="read_heads must be at most memory_size 7"):
        MANN(X, Y, N, M, **wrong)
    with pytest.raises(ValueError, match="read_heads must be an integer of at least 1, got 0"):
        MANN(X, Y, N, M, read_heads=0)


def test_huge_inputs_stay_finite() -> None:
    y, state = mann(**ALL).run(torch.full((B, T, X), 3e38))
    assert y.isfinite().all() and all(part.isfinite().all() for part in flatten(state))


def test_the_options_of_the_command_reach_the_network() -> None:
    plain = recipe_from(options_of(["few-shot", "--family", "mann", "--read-heads", "2"])).network
    assert not {"usage_decay", "key_strength", "separate_add", "write_heads"} & plain.keys()
    more = "--usage-decay 0.95 --key-strength --separate-add".split()
    asked = recipe_from(options_of(["few-shot", "--family", "mann", "--read-heads", "2", *more]))
    assert asked.network == plain | ALL | {"usage_decay": 0.95}
    with pytest.raises(ValueError, match="family 'dnc' does not take key_strength"):
        recipe_from(options_of(["copy", "--family", "dnc", "--key-strength"]))


def test_a_short_training_meets_no_nan_and_resumes_exactly(tmp_path: Any) -> None:
    tiny = (
        "few-shot --family mann --key-strength --batch 3 --memory-size 7 --memory-width 5 "
        "--controller-size 6 --read-heads 2 --compile off --curriculum 9 --eval-every 5 "
        "--eval-sequences 2 --test-sequences 2 --test-within 2 --learning-rate 0.02"
    ).split()
    assert_resumes_exactly(tiny, tmp_path)
