"""The DNC as a whole: one step against the paper, its invariants, and what its options change."""

from typing import Any

import pytest
import torch
from torch import Tensor

from model.dnc import DNC, DNCState
from model.dnc_interface import MASK_FLOOR
from model.options import options_of, recipe_from
from model.state import flatten, unflatten
from tests.model import slow
from tests.model import slow_dnc as paper
from tests.model.machines import assert_as_specified
from tests.model.resuming import assert_resumes_exactly

B, T, X, Y, N, M, R, H = 3, 6, 9, 10, 7, 5, 2, 8
CURES = ("mask_content", "erase_freed", "sharpen_links")
ALL: dict[str, Any] = dict.fromkeys(CURES, True)
OPTIONS = [{}, *({cure: True} for cure in CURES), ALL, {"controller": "feedforward"}]


def dnc(**options: Any) -> DNC:
    torch.manual_seed(1)
    return DNC(X, Y, N, M, controller_size=H, read_heads=R, **options)


def rows(steps: int = T, seed: int = 1) -> Tensor:
    return 2 * torch.randn(B, steps, X, generator=torch.Generator().manual_seed(seed))


def same(left: Any, right: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(flatten(left), flatten(right), strict=True))


def by_the_paper(network: DNC, state: DNCState, trace: dict[str, Tensor], b: int) -> dict[str, Any]:
    """The memory's part of row b's next state, slot by slot, from what the heads were given."""
    had = {name: part[b].tolist() for name, part in state._asdict().items() if name != "controller"}
    told = {name: part[b].tolist() for name, part in trace.items()}
    free = [gate for (gate,) in told["read_free"]]
    kept = paper.retention(free, had["read_weights"])
    usage = paper.usage(had["usage"], had["write_weights"][0], kept)
    (key,), (erase,), (add,) = told["write_key"], told["write_erase"], told["write_add"]
    strength, gate = told["write_strength"][0][0], told["write_gate"][0][0]
    share, ones = told["write_allocation"][0][0], [1.0] * M
    mask = told.get("write_mask", [ones])[0]
    looked = paper.content(key, had["memory"], strength, mask)
    parts = [paper.allocation(usage, 2.0**-8), looked]
    written = paper.mix([gate * share, gate * (1 - share)], parts)
    wiped = kept if network.erase_freed else [1.0] * N
    held = [[wipe * v for v in word] for wipe, word in zip(wiped, had["memory"], strict=True)]
    memory = slow.write(held, [written], [erase], [add])
    link = paper.link(had["link"], written, had["precedence"])
    precedence = paper.precedence(had["precedence"], written)
    reads: list[list[float]] = []
    for r in range(R):
        backward, forward = paper.follow(link, had["read_weights"][r])
        if "read_sharpness" in told:
            backward = paper.sharpen(backward, told["read_sharpness"][r][0])
            forward = paper.sharpen(forward, told["read_sharpness"][r][1])
        mask = told["read_mask"][r] if "read_mask" in told else ones
        looked = paper.content(told["read_key"][r], memory, told["read_strength"][r][0], mask)
        reads.append(paper.mix(told["read_modes"][r], [backward, looked, forward]))
    return {
        "memory": memory,
        "usage": usage,
        "link": link,
        "precedence": precedence,
        "read_weights": reads,
        "write_weights": [written],
        "reads": [slow.read(memory, weights) for weights in reads],
    }


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_step_frees_writes_links_and_reads_as_the_paper_has_it(options: dict[str, Any]) -> None:
    network = dnc(**options, memory_init="random").double()
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


def test_what_the_heads_are_given_is_in_the_papers_ranges() -> None:
    network = dnc(**ALL)
    read, write = network.interface(9 * torch.randn(B, H))
    assert (read.strength >= 1).all() and (write.strength >= 1).all()
    torch.testing.assert_close(read.modes.sum(dim=2), torch.ones(B, R))
    gates = (read.free, write.allocation, write.gate, write.erase)
    assert all(((gate >= 0) & (gate <= 1)).all() for gate in gates)
    assert write.add.abs().max() <= 1 and write.add.shape == (B, 1, M)
    assert read.mask is not None and write.mask is not None and read.sharpness is not None
    assert read.mask.shape == (B, R, M) and write.mask.shape == (B, 1, M)
    for mask in (read.mask, write.mask):
        assert (mask >= MASK_FLOOR - 1e-6).all() and (mask <= 1 + 1e-6).all()
    assert (read.sharpness >= 1).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_states_and_traces_are_what_their_specs_state(options: dict[str, Any]) -> None:
    network = dnc(**options)
    assert_as_specified(network, rows()[:, 0])
    assert network.step(rows()[:, 0], network.initial_state(B))[0].shape == (B, Y)
    names = [spec.name for spec in (*network.state_spec, *network.trace_spec)]
    assert len(set(names)) == len(names)
    roles = [spec.role for spec in network.state_spec[:7]]
    assert roles == [
        *("memory", "usage", "link", "precedence"),
        *("read_weights", "write_weights", "read_vectors"),
    ]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_whatever_is_read_the_state_keeps_its_bounds(options: dict[str, Any]) -> None:
    network = dnc(**options)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(5)  # gates near 0 and 1
        state = network.initial_state(B)
        for row in rows(60, seed=3).unbind(dim=1):
            _, state = network.step(row, state)
            assert all(part.isfinite().all() for part in flatten(state))
            assert (state.usage >= 0).all() and (state.usage <= 1).all()
            # In float32 a sum over 7 slots may be an ulp or two above 1.
            for part in (state.read_weights, state.write_weights, state.precedence):
                assert (part >= 0).all() and (part.sum(dim=-1) <= 1 + 1e-5).all()
            for axis in (1, 2):
                assert (state.link.sum(dim=axis) <= 1 + 1e-5).all()
            assert state.link.diagonal(dim1=1, dim2=2).eq(0).all()


def test_forward_is_a_loop_of_steps_and_may_be_cut_anywhere() -> None:
    network, inputs = dnc(), rows()
    state, outputs = network.initial_state(B), []
    for t in range(T):
        y, state = network.step(inputs[:, t], state)
        outputs.append(y)
    whole, last = network.run(inputs)
    assert torch.equal(torch.stack(outputs, dim=1), whole) and same(last, state)
    first, halfway = network.run(inputs[:, :2])
    rest = network(inputs[:, 2:], halfway)
    assert torch.equal(torch.cat([first, rest], dim=1), network(inputs))


def test_a_step_changes_neither_the_module_nor_the_state_it_was_given() -> None:
    network = dnc(**ALL)
    state = network.run(rows(4))[1]
    weights = {name: part.clone() for name, part in network.state_dict().items()}
    before = unflatten(state, [part.clone() for part in flatten(state)])
    attributes = {name: dict(vars(part)) for name, part in network.named_modules()}
    network.step(rows()[:, 0], state)
    assert same(state, before)
    assert {name: dict(vars(part)) for name, part in network.named_modules()} == attributes
    assert all(torch.equal(network.state_dict()[name], weights[name]) for name in weights)


def test_a_row_does_not_see_its_batch_mates() -> None:
    network, inputs = dnc(**ALL), rows()
    together, state = network.run(inputs)
    alone, own = network.run(inputs[:1])
    torch.testing.assert_close(alone, together[:1], atol=1e-6, rtol=1e-5)
    for mine, theirs in zip(flatten(own), flatten(state), strict=True):
        torch.testing.assert_close(mine, theirs[:1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_parameter_is_reached_by_a_finite_gradient(options: dict[str, Any]) -> None:
    network = dnc(**options, memory_init="learned")
    network(rows()).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_whole_step_passes_gradcheck() -> None:
    network = dnc(**ALL, memory_init="random").double()
    state = network.run(rows(4).double())[1]
    parts = [part.detach().requires_grad_() for part in flatten(state)]

    def step(x: Tensor, *state_parts: Tensor) -> tuple[Tensor, ...]:
        y, after = network.step(x, unflatten(state, state_parts))
        return (y, *flatten(after))

    x = rows(1, seed=8)[:, 0].double().requires_grad_()
    assert torch.autograd.gradcheck(step, (x, *parts), atol=1e-4)


def test_erasing_what_is_freed_changes_the_memory_alone() -> None:
    plain, erasing = dnc(), dnc(erase_freed=True)
    state = plain.run(rows(4))[1]
    x = rows(1, seed=5)[:, 0]
    (_, kept, told), (_, wiped, same_told) = (
        plain.step_traced(x, state),
        erasing.step_traced(x, state),
    )
    assert same(told, same_told) and plain.state_spec == erasing.state_spec
    for name in ("usage", "link", "precedence", "write_weights"):
        assert torch.equal(getattr(kept, name), getattr(wiped, name))
    assert not torch.equal(kept.memory, wiped.memory)
    assert plain.state_dict().keys() == erasing.state_dict().keys()


def test_a_mask_of_one_leaves_the_plain_network_and_another_mask_does_not() -> None:
    plain, masked = dnc(memory_init="random"), dnc(memory_init="random", mask_content=True)
    masked.load_state_dict(masked.state_dict() | _outside_the_interface(plain))
    with torch.no_grad():
        for kind, heads in (("read", R), ("write", 1)):
            old = getattr(plain.interface, f"{kind}_projection")
            new = getattr(masked.interface, f"{kind}_projection")
            for part in ("weight", "bias"):
                have, room = getattr(old, part), getattr(new, part)
                room = room.view(heads, -1, *room.shape[1:])  # the mask comes last
                room[:, :-M] = have.view(heads, -1, *have.shape[1:])
                room[:, -M:] = 40.0 if part == "bias" else 0.0
    torch.testing.assert_close(masked(rows()), plain(rows()), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        masked.interface.read_projection.bias.view(R, -1)[:, -M:-1] = -40.0
    assert (masked(rows()) - plain(rows())).abs().max() > 1e-3


def test_sharp_links_change_what_is_read_and_not_what_is_written() -> None:
    plain, sharp = dnc(), dnc(sharpen_links=True)
    state = plain.run(rows(4))[1]
    read, _ = sharp.interface(torch.randn(B, H))
    bare = read._replace(sharpness=None)
    looked = [
        sharp.read_weights(r, state.memory, state.link, state.read_weights) for r in (read, bare)
    ]
    assert (looked[0] - looked[1]).abs().max() > 1e-3
    only_content = read.modes * torch.tensor([0.0, 1.0, 0.0])
    looked = [
        sharp.read_weights(
            r._replace(modes=only_content), state.memory, state.link, state.read_weights
        )
        for r in (read, bare)
    ]
    assert torch.equal(looked[0], looked[1])
    assert plain.interface.write_sizes == sharp.interface.write_sizes


def _outside_the_interface(network: DNC) -> dict[str, Tensor]:
    return {name: part for name, part in network.state_dict().items() if "interface" not in name}


@pytest.mark.parametrize("cure", CURES)
def test_each_cure_adds_only_what_it_needs(cure: str) -> None:
    names = {spec.name for spec in dnc(**{cure: True}).trace_spec}
    names -= {spec.name for spec in dnc().trace_spec}
    more = {"mask_content": {"read_mask", "write_mask"}, "sharpen_links": {"read_sharpness"}}
    assert names == more.get(cure, set())
    assert dnc(**{cure: True}).state_spec == dnc().state_spec


def test_an_episode_begins_with_nothing_used_linked_or_read() -> None:
    state = dnc().initial_state(B)
    assert all(part.eq(0).all() for part in state[1:7]) and state.memory.eq(1e-6).all()


def test_constants_are_in_no_file_of_weights_and_follow_the_network() -> None:
    network = dnc()
    assert not {"margin", "same"} & network.state_dict().keys()
    assert {"margin", "same"} <= dict(network.named_buffers()).keys()


@pytest.mark.parametrize("dims", [(B, X + 1), (B + 1, X), (X,), (B, 2, X)])
def test_rows_of_other_dims_are_refused(dims: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"input_t must be \(3, 9\), a row of each"):
        dnc().step(torch.zeros(dims), dnc().initial_state(B))


@pytest.mark.parametrize("size", ["memory_size", "memory_width", "read_heads", "controller_size"])
def test_sizes_below_one_are_refused(size: str) -> None:
    sizes: dict[str, Any] = {"memory_size": N, "memory_width": M} | {size: 0}
    with pytest.raises(ValueError, match=f"{size} must be an integer of at least 1, got 0"):
        DNC(X, Y, **sizes)


def test_a_state_clip_bounds_the_controller_and_changes_nothing_within_it() -> None:
    network, inputs = dnc(), rows(40)
    free = network.run(inputs)[1].controller
    largest = max(float(part.detach().abs().max()) for part in free)
    # A cell grows by at most 1 a row.
    within, tight = dnc(state_clip=42), dnc(state_clip=0.5 * largest)
    assert same(within.run(inputs)[1], network.run(inputs)[1])
    bound = tight.run(inputs)[1].controller
    assert max(float(part.detach().abs().max()) for part in bound) <= 0.5 * largest
    asked = recipe_from(options_of(["copy", "--family", "dnc", "--state-clip", "20"])).network
    assert DNC(**asked).state_clip == 20
    for wrong in ({"state_clip": -1.0}, {"state_clip": 1.0, "controller": "feedforward"}):
        with pytest.raises(ValueError, match="state_clip must be"):
            dnc(**wrong)


def test_huge_inputs_stay_finite() -> None:
    y, state = dnc(**ALL).run(torch.full((B, T, X), 3e38))
    assert y.isfinite().all() and all(part.isfinite().all() for part in flatten(state))


def test_the_options_of_the_command_reach_the_network() -> None:
    plain = recipe_from(options_of(["copy", "--family", "dnc", "--read-heads", "2"])).network
    assert not set(CURES) & plain.keys() and "write_heads" not in plain
    cures = [f"--{cure.replace('_', '-')}" for cure in CURES]
    asked = recipe_from(options_of(["copy", "--family", "dnc", "--read-heads", "2", *cures]))
    assert asked.network == plain | ALL
    network = DNC(**asked.network)
    assert network.interface.read_heads == 2 and network.erase_freed


@pytest.mark.parametrize(
    ("family", "option"),
    [("dnc", "--write-heads 2"), ("dnc", "--shift-range 2"), ("ntm", "--mask-content")],
)
def test_another_familys_options_are_refused(family: str, option: str) -> None:
    name = option.split()[0][2:].replace("-", "_")
    with pytest.raises(ValueError, match=f"family '{family}' does not take {name}"):
        recipe_from(options_of(["copy", "--family", family, *option.split()]))


@pytest.mark.parametrize("task", ["copy", "graph-paths"])
def test_a_short_training_meets_no_nan_and_resumes_exactly(task: str, tmp_path: Any) -> None:
    tiny = (
        f"{task} --family dnc --mask-content --erase-freed --sharpen-links --batch 3 "
        "--memory-size 7 --memory-width 5 --controller-size 6 --read-heads 2 --compile off "
        "--eval-every 5 --eval-sequences 8 --test-sequences 2 --test-within 0 "
        "--learning-rate 0.02"
    ).split()
    assert_resumes_exactly(tiny, tmp_path, steps=20)
