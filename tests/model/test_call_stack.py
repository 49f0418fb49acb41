import torch
from torch.autograd import gradcheck

from model.call_stack import CallStack, Choice, advanced, is_running, new_stack, top_of

B, D, F = 3, 4, 5
ALL = torch.ones(B, 1, dtype=torch.bool)


def choice(program: int, returns: bool = False) -> Choice:
    given = torch.tensor([[1.0, 2.0, 3.0]]).expand(B, 3)
    return Choice(ALL & returns, torch.full((B, 1), float(program)), given)


def core(value: float) -> torch.Tensor:
    return torch.full((B, F), value)


def stack() -> CallStack:
    return new_stack(torch.zeros(1), B, D, 2, (3, F))


def test_a_stack_begins_with_one_program_that_has_done_nothing() -> None:
    frame = top_of(stack())
    assert frame.program.eq(2).all() and frame.arguments.eq(0).all() and frame.core.eq(0).all()
    assert [part.shape for part in frame] == [(B, 1), (B, 3), (B, F)] and is_running(stack()).all()


def test_a_call_keeps_the_callers_core_and_begins_with_one_of_zeros() -> None:
    called = advanced(stack(), core(7), choice(3), ALL)
    frame = top_of(called)
    assert frame.program.eq(3).all() and frame.arguments.eq(torch.tensor([1, 2, 3])).all()
    assert frame.core.eq(0).all() and called.frames[:, 0].eq(7).all()
    back = advanced(called, core(8), choice(1, returns=True), ALL)
    assert top_of(back).core.eq(7).all() and top_of(back).program.eq(2).all()


def test_an_act_keeps_the_frame_on_top_and_moves_its_core_on() -> None:
    acted = advanced(stack(), core(7), choice(0), ALL)
    assert acted.depth.eq(1).all() and top_of(acted).core.eq(7).all()
    assert top_of(acted).program.eq(2).all()


def test_a_last_return_halts_and_what_has_halted_stays_as_it_is() -> None:
    halted = advanced(stack(), core(7), choice(1, returns=True), ALL)
    assert halted.depth.eq(0).all() and not is_running(halted).any()
    frame = top_of(halted)
    assert all(part.eq(0).all() for part in frame)
    after = advanced(halted, core(9), choice(3), is_running(halted))
    assert all(a.equal(b) for a, b in zip(after, halted, strict=True))


def test_a_call_without_room_halts_one_above_the_depth_and_harms_no_frame() -> None:
    full = stack()
    for _ in range(D - 1):
        full = advanced(full, core(7), choice(3), ALL)
    assert is_running(full).all() and full.depth.eq(D).all()
    over = advanced(full, core(8), choice(1), ALL)
    assert over.depth.eq(D + 1).all() and not is_running(over).any()
    assert over.programs.equal(full.programs) and over.frames[:, :-1].equal(full.frames[:, :-1])


def test_a_frame_put_away_on_the_stack_keeps_its_gradient() -> None:
    torch.manual_seed(1)

    def through(frames: torch.Tensor, following: torch.Tensor) -> tuple[torch.Tensor, ...]:
        held = new_stack(frames, B, D, 2, (3, F))._replace(frames=frames)
        called = advanced(held, following, choice(3), ALL)
        back = advanced(called, following.sin(), choice(1, returns=True), ALL)
        return top_of(held).core, top_of(back).core, back.frames

    inputs = [
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((B, D, F), (B, F))
    ]
    assert gradcheck(through, inputs)
