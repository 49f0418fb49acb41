"""Slots that share a tensor, against slots that each have their own."""

from __future__ import annotations

import numpy as np
import pytest

from model.state import TensorSpec
from service.engine.sparse_slots import SparseSlots

N, M, R, SLOTS = 7, 3, 4, 6
SPEC = TensorSpec("memory", (N, M), "memory", update="sparse", rows=R)


def a_change(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices (R,), one of them twice, and rows (R, M), the same for the same index."""
    indices = random.integers(0, N, R)
    indices[-1] = indices[0]
    rows = random.standard_normal((R, M)).astype(np.float32)
    rows[-1] = rows[0]
    return indices, rows


@pytest.mark.parametrize("seed", range(8))
def test_every_slot_holds_what_it_would_hold_alone_whatever_is_done(seed: int) -> None:
    """Slots are forked, advanced, changed once and more, committed, aborted and overwritten."""
    random = np.random.default_rng(seed)
    slots, alone = SparseSlots(SPEC), dict[int, np.ndarray]()
    for _ in range(400):
        src, dst = (int(slot) for slot in random.integers(0, SLOTS, 2))
        match random.integers(0, 4):
            case 0:
                whole = random.standard_normal((N, M)).astype(np.float32)
                slots.write(dst, whole)
                alone[dst] = whole.copy()
            case 1:
                slots.free(dst)
                alone.pop(dst, None)
            case _ if src in alone and (src != dst or src in slots._own):
                slots.advance(src, dst)
                alone[dst] = alone[src].copy()
                for _ in range(random.integers(0, 3)):
                    indices, rows = a_change(random)
                    slots.change(dst, indices, rows)
                    alone[dst][indices] = rows
                assert np.array_equal(slots.view(dst), alone[dst])
            case _:
                pass
        for slot, whole in alone.items():
            assert np.array_equal(slots.read(slot), whole), slot


def committed(slots: SparseSlots, steps: int, random: np.random.Generator) -> None:
    """A session that goes to and fro between two slots, as its commits have it."""
    for step in range(steps):
        src, dst = 1 + step % 2, 2 - step % 2
        slots.advance(src, dst)
        slots.change(dst, *a_change(random))
        slots.free(src)


def test_a_session_steps_and_commits_without_one_copy() -> None:
    slots, random = SparseSlots(SPEC), np.random.default_rng(1)
    slots.write(1, np.ones((N, M), np.float32))
    committed(slots, 50, random)
    assert slots.copies == 0 and slots.nbytes == SPEC.nbytes


def test_a_fork_costs_one_copy_and_both_go_on() -> None:
    slots, random = SparseSlots(SPEC), np.random.default_rng(1)
    slots.write(3, np.ones((N, M), np.float32))
    slots.advance(3, 1)  # one session goes on, and slot 3 stays the other's
    slots.change(1, *a_change(random))
    committed(slots, 50, random)
    assert slots.copies == 1
    assert np.array_equal(slots.read(3), np.ones((N, M)))
    slots.advance(3, 4)
    assert slots.copies == 1  # it has a tensor of its own by now


def test_a_request_of_many_rows_keeps_no_more_than_a_tensor_of_what_is_to_be_put_back() -> None:
    slots, random = SparseSlots(SPEC), np.random.default_rng(1)
    before = random.standard_normal((N, M)).astype(np.float32)
    slots.write(1, before)
    slots.advance(1, 2)
    for _ in range(200):
        slots.change(2, *a_change(random))
    assert slots.copies == 1 and slots.nbytes == 2 * SPEC.nbytes and not slots._behind
    assert np.array_equal(slots.read(1), before)
    slots.free(2)
    assert np.array_equal(slots.view(1), before)


def test_an_abort_puts_back_every_row_of_a_request() -> None:
    slots, random = SparseSlots(SPEC), np.random.default_rng(1)
    before = random.standard_normal((N, M)).astype(np.float32)
    slots.write(1, before)
    slots.advance(1, 2)
    for _ in range(2):
        slots.advance(2, 2)
        slots.change(2, *a_change(random))
    assert np.array_equal(slots.read(1), before)
    slots.free(2)
    assert np.array_equal(slots.view(1), before) and slots.copies == 0
    assert (slots.read(2) == 0).all()


def test_what_is_read_of_a_slot_is_a_copy() -> None:
    slots = SparseSlots(SPEC)
    slots.write(1, np.ones((N, M), np.float32))
    slots.read(1)[:] = 5
    slots.advance(1, 2)
    slots.read(1)[:] = 5
    assert (slots.view(2) == 1).all() and (slots.read(1) == 1).all()
