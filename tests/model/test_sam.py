"""The SAM as a whole: one step against the dense equations, its invariants, and its sizes."""

from typing import Any

import pytest
import torch
from torch import Tensor

from model.options import options_of, recipe_from
from model.rows import Rows
from model.sam import SAM, SAMState
from model.state import flatten, unflatten
from tests.model import slow
from tests.model import slow_sam as paper
from tests.model.machines import assert_as_specified
from tests.model.resuming import assert_resumes_exactly

B, T, X, Y, N, M, R, K, H = 3, 6, 9, 10, 7, 5, 2, 4, 8
INDEXED = {"index": 3, "room": 2}


def sam(**options: Any) -> SAM:
    torch.manual_seed(1)
    sizes: dict[str, Any] = {"controller_size": H, "read_heads": R, "reads": K} | options
    return SAM(X, Y, sizes.pop("memory_size", N), M, **sizes)


def rows(steps: int = T, seed: int = 1) -> Tensor:
    return 2 * torch.randn(B, steps, X, generator=torch.Generator().manual_seed(seed))


def spread(slots: Tensor, weights: Tensor, count: int) -> Tensor:
    """Weights of all slots from those of a few. slots, weights: (R, K). Returns (R, N)."""
    return weights.new_zeros(len(slots), count).scatter_add(1, slots, weights)


def times(state: SAMState, b: int, count: int) -> list[int]:
    return state.last_access[b].flatten()[:count].tolist()


def by_the_paper(network: SAM, state: SAMState, trace: Any, b: int) -> dict[str, Any]:
    """Row b's next memory, reads and times, slot by slot, from what the heads were given."""
    told = {name: part[b].tolist() for name, part in trace._asdict().items()}
    last = times(state, b, N)
    least = paper.least_recent(last)
    had = spread(state.read_slots[b], state.read_shares[b], N).tolist()
    written = [
        paper.write_weights(write, reuse, read, least)
        for (write,), (reuse,), read in zip(
            told["write_gate"], told["reuse_gate"], had, strict=True
        )
    ]
    memory = paper.write(state.memory[b].tolist(), written, told["add"], least)
    read = [
        paper.read_weights(key, memory, strength, network.reads)
        for key, (strength,) in zip(told["key"], told["strength"], strict=True)
    ]
    return {
        "memory": memory,
        "read_weights": read,
        "reads": [slow.read(memory, weights) for weights in read],
        "last": paper.accessed(last, int(state.time[b]) + 1, read, written),
    }


@pytest.mark.parametrize("reads", [2, K, N])
@pytest.mark.parametrize("begun", [0, 2, 9])
def test_a_step_is_the_dense_form_with_all_but_the_nearest_left_out(reads: int, begun: int) -> None:
    """At K = N nothing is left out: the dense access memory itself."""
    network = sam(reads=reads).double()
    state = network.run(rows(9).double()[:, :begun])[1] if begun else network.initial_state(B)
    x = rows(1, seed=6)[:, 0].double()
    y, after, trace = network.step_traced(x, state)
    hidden, _ = network.controller(x, state.reads, state.controller)
    for b in range(B):
        wanted = by_the_paper(network, state, trace, b)
        got = {
            "memory": after.memory[b],
            "reads": after.reads[b],
            "read_weights": spread(after.read_slots[b], after.read_shares[b], N),
        }
        for name, numbers in got.items():
            dense = torch.tensor(wanted[name], dtype=torch.float64)
            if name == "read_weights" and not begun:
                continue  # of empty slots, which of them is read is a matter of their order
            torch.testing.assert_close(numbers, dense, rtol=1e-5, atol=1e-5, msg=name)
        if begun:
            assert times(after, b, N) == wanted["last"]
        shown = torch.cat([hidden[b], after.reads[b].flatten()])
        torch.testing.assert_close(y[b], network.output.weight @ shown + network.output.bias)


@pytest.mark.parametrize("options", [{}, INDEXED], ids=str)
def test_a_step_tells_each_row_it_changes_and_no_other(options: dict[str, Any]) -> None:
    network = sam(memory_size=11, **options)
    state = network.run(rows())[1]
    x = rows(1, seed=5)[:, 0]
    _, changed, _ = network.updates(x, state)
    _, after, _ = network.step_traced(x, state)
    parts: dict[str, Any] = dict(
        zip(state._fields, zip(state, changed, after, strict=True), strict=True)
    )
    sparse = [spec for spec in network.state_spec if spec.update == "sparse"]
    assert [spec.name for spec in sparse] == ["memory", "last_access", "cells"][: 2 + bool(options)]
    for spec in sparse:
        before, told, whole = parts[spec.name]
        assert isinstance(told, Rows) and told.indices.shape == (B, spec.rows)
        assert told.values.shape == (B, spec.rows, *spec.dims[1:])
        by_hand = before.clone()
        for b in range(B):
            for value, index in zip(told.values[b], told.indices[b].tolist(), strict=True):
                again = (told.indices[b] == index).nonzero().flatten()
                torch.testing.assert_close(
                    told.values[b][again], value.expand(len(again), *value.shape)
                )
                by_hand[b, index] = value
        torch.testing.assert_close(by_hand, whole)


@pytest.mark.parametrize("options", [{}, INDEXED, {"controller": "feedforward"}], ids=str)
def test_states_and_traces_are_what_their_specs_state(options: dict[str, Any]) -> None:
    network = sam(**options)
    assert_as_specified(network, rows()[:, 0])


@pytest.mark.parametrize("options", [{}, INDEXED], ids=str)
def test_a_sequence_goes_on_from_the_state_it_stopped_in(options: dict[str, Any]) -> None:
    network, inputs = sam(**options), rows()
    first, halfway = network.run(inputs[:, :2])
    before = [part.clone() for part in flatten(halfway)]
    rest, _ = network.run(inputs[:, 2:], halfway)
    assert torch.equal(torch.cat([first, rest], dim=1), network(inputs))
    assert all(torch.equal(a, b) for a, b in zip(flatten(halfway), before, strict=True))


@pytest.mark.parametrize("options", [{}, INDEXED], ids=str)
def test_a_row_does_not_see_its_batch_mates(options: dict[str, Any]) -> None:
    network, inputs = sam(**options), rows()
    together, state = network.run(inputs)
    alone, own = network.run(inputs[1:2])
    torch.testing.assert_close(alone, together[1:2], atol=1e-6, rtol=1e-5)
    for mine, theirs in zip(flatten(own), flatten(state), strict=True):
        torch.testing.assert_close(mine, theirs[1:2], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, INDEXED, {"reads": 1}, {"reads": N}], ids=str)
def test_every_parameter_is_reached_by_a_finite_gradient(options: dict[str, Any]) -> None:
    network = sam(**options)
    network(rows()).square().sum().backward()
    alone = options.get("reads") == 1  # one slot's weight is 1 whatever the key
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert alone or parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("reads", [2, N])
def test_a_whole_step_passes_gradcheck(reads: int) -> None:
    network = sam(reads=reads).double()
    state = network.run(rows(4).double())[1]
    parts = [part.detach() for part in flatten(state)]
    free = [part.requires_grad_(part.is_floating_point()) for part in parts]

    def step(x: Tensor, *state_parts: Tensor) -> tuple[Tensor, ...]:
        y, after = network.step(x, unflatten(state, state_parts))
        return (y, *(part for part in flatten(after) if part.requires_grad))

    x = rows(1, seed=8)[:, 0].double().requires_grad_()
    assert torch.autograd.gradcheck(step, (x, *free), atol=1e-4)


def test_what_the_heads_are_given_is_in_range() -> None:
    heads = sam().head_parameters(9 * torch.randn(B, H))
    assert (heads.key.abs() <= 1).all() and (heads.add.abs() <= 1).all()
    for gate in (heads.write_gate, heads.reuse_gate):
        assert ((gate >= 0) & (gate <= 1)).all()
    assert (heads.strength >= 1).all()


@pytest.mark.parametrize("dims", [(B, X + 1), (B + 1, X), (X,), (B, 2, X)])
def test_rows_of_other_dims_are_refused(dims: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"input_t must be \(3, 9\), a row of each"):
        sam().step(torch.zeros(dims), sam().initial_state(B))


@pytest.mark.parametrize("wrong", [{"reads": N + 1}, {"index": -1}])
def test_sizes_that_make_no_machine_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="reads must be at most memory_size 7"):
        sam(**wrong)
    with pytest.raises(ValueError, match="reads must be an integer of at least 1, got 0"):
        sam(reads=0)


@pytest.mark.parametrize("options", [{}, INDEXED], ids=str)
def test_huge_inputs_and_a_state_of_nonsense_stay_finite(options: dict[str, Any]) -> None:
    network = sam(**options)
    y, state = network.run(torch.full((B, T, X), 3e38))
    assert y.isfinite().all() and all(part.isfinite().all() for part in flatten(state))
    for wrong in (0, -5, 10**9):
        parts = [part if part.is_floating_point() else part * 0 + wrong for part in flatten(state)]
        y, after = network.run(rows(), unflatten(state, parts))
        assert y.isfinite().all() and all(part.isfinite().all() for part in flatten(after))


def test_the_weights_of_one_memory_size_run_at_another() -> None:
    small, large = sam(memory_size=40), sam(memory_size=400, **INDEXED)
    large.load_state_dict(small.state_dict())
    assert large.run(rows())[1].memory.shape == (B, 400, M)
    exact = sam(memory_size=400)
    exact.load_state_dict(small.state_dict())
    torch.testing.assert_close(exact(rows()), small(rows()))  # while neither is full


def test_the_options_of_the_command_reach_the_network() -> None:
    plain = recipe_from(options_of(["associative-recall", "--family", "sam"])).network
    assert not {"reads", "index", "room", "memory_init", "write_heads"} & plain.keys()
    more = "--reads 3 --index 2 --room 8".split()
    asked = recipe_from(options_of(["associative-recall", "--family", "sam", *more]))
    assert asked.network == plain | {"reads": 3, "index": 2, "room": 8}
    with pytest.raises(ValueError, match="family 'ntm' does not take reads"):
        recipe_from(options_of(["copy", "--reads", "3"]))


def test_a_short_training_meets_no_nan_and_resumes_exactly(tmp_path: Any) -> None:
    tiny = (
        "associative-recall --family sam --batch 3 --memory-size 7 --memory-width 5 --reads 2 "
        "--controller-size 6 --read-heads 2 --compile off --curriculum 9 --eval-every 5 "
        "--eval-sequences 2 --test-sequences 2 --test-within 2 --learning-rate 0.02"
    ).split()
    assert_resumes_exactly(tiny, tmp_path)
