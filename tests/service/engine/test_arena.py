"""Slots are counted by their holders, and nobody gets one that another holds."""

import pytest

from service.engine.arena import INITIAL, Arena


def test_an_arena_smaller_than_three_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 slots, got 2"):
        Arena(2)


def test_every_slot_but_the_initial_one_is_given_out_once() -> None:
    arena = Arena(5)

    taken = [arena.take() for _ in range(4)]

    assert sorted(taken) == [1, 2, 3, 4]
    assert arena.free == 0
    with pytest.raises(IndexError):
        arena.take()


def test_a_released_slot_is_free_again() -> None:
    arena = Arena(5)
    slot = arena.take()

    assert arena.release(slot)

    assert arena.free == 4
    assert {arena.take() for _ in range(4)} == {1, 2, 3, 4}


def test_a_shared_slot_is_free_when_its_last_holder_lets_go() -> None:
    arena = Arena(5)
    slot = arena.take()
    assert arena.share(slot) == slot
    arena.share(slot)

    freed = [arena.release(slot) for _ in range(3)]

    assert freed == [False, False, True]
    assert arena.free == 4


def test_the_initial_slot_is_never_given_out_however_often_it_is_shared() -> None:
    arena = Arena(3)

    for _ in range(4):
        arena.share(INITIAL)
    assert not any(arena.release(INITIAL) for _ in range(4))

    assert INITIAL not in {arena.take(), arena.take()}


def test_releasing_a_slot_more_often_than_it_is_held_raises_and_changes_nothing() -> None:
    arena = Arena(3)
    slot = arena.take()
    arena.release(slot)

    with pytest.raises(RuntimeError, match=f"slot {slot} was released more often than held"):
        arena.release(slot)

    assert arena.free == 2
    assert {arena.take(), arena.take()} == {1, 2}
