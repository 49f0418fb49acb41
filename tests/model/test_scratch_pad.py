import pytest
import torch

from model.npi_layout import ACTIONS, BLANK, LAYOUTS
from model.scratch_pad import act, blank_pad, places, read, typed

ADDITION, SORTING = LAYOUTS["addition"], LAYOUTS["sorting"]
N = 6


def pads(*rows: list[int]) -> torch.Tensor:
    return torch.tensor([[float(value) for value in row] for row in rows])[None]


def given(action: str, pointer: int = 0, value: int = 0) -> torch.Tensor:
    return torch.tensor([[float(ACTIONS.index(action)), pointer, value]])


YES, NO = torch.tensor([[True]]), torch.tensor([[False]])


def test_a_place_is_one_flag_and_a_place_that_is_none_has_no_flag() -> None:
    flags = places(torch.tensor([[0.0, 2.0], [-1.0, 3.0]]), 3)
    assert flags.tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]]


def test_a_pad_begins_blank_with_the_pointers_where_values_come_in() -> None:
    pad, pointers = blank_pad(ADDITION, N, torch.zeros(1), 3)
    assert pad.shape == (3, 4, N) and pad.eq(BLANK).all() and pointers.eq(N - 1).all()
    assert blank_pad(SORTING, N, torch.zeros(1), 3)[1].eq(0).all()


def test_pointers_see_their_own_rows_and_blank_off_the_pad() -> None:
    pad = pads([1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 1, 2])
    assert read(ADDITION, pad, torch.tensor([[0.0, 2, -1, 3]])).tolist() == [[1, 6, BLANK, BLANK]]
    assert read(SORTING, pad[:, :1], torch.tensor([[0.0, 2, 1]])).tolist() == [[1, 3, 2]]


@pytest.mark.parametrize("rubbish", [1e30, -1e30, 3e9, 10.0, -2.0])
def test_what_is_no_digit_and_a_pointer_that_is_nowhere_are_seen_as_blank(rubbish: float) -> None:
    pad = pads([1, 2, 3]).clone()
    pad[0, 0, 1] = rubbish
    assert read(SORTING, pad, torch.tensor([[1.0, 0.0, rubbish]])).tolist() == [[BLANK, 1, BLANK]]


def test_moving_a_pointer_stops_one_step_off_the_pad() -> None:
    pad, pointers = pads([1, 2, 3]), torch.tensor([[0.0, 1, 2]])
    for expected in (-1, -1):
        pad, pointers = act(SORTING, pad, pointers, given("left", 1), YES)
        assert pointers.tolist() == [[expected, 1, 2]]
    for expected in (3, 3):
        pad, pointers = act(SORTING, pad, pointers, given("right", 3), YES)
        assert pointers.tolist() == [[-1, 1, expected]]
    assert pad.equal(pads([1, 2, 3]))


def test_a_value_is_written_where_its_pointer_is_and_nowhere_off_the_pad() -> None:
    pad, pointers = pads([1, 2], [3, 4], [5, 6], [7, 8]), torch.tensor([[0.0, 1, 2, -1]])
    written, moved = act(ADDITION, pad, pointers, given("write", 2, 10), YES)
    assert written.equal(pads([1, 2], [3, 9], [5, 6], [7, 8])) and moved.equal(pointers)
    assert act(ADDITION, pad, pointers, given("write", 2), YES)[0][0, 1].tolist() == [3, BLANK]
    for nowhere in (0, 3, 4):
        assert act(ADDITION, pad, pointers, given("write", nowhere, 1), YES)[0].equal(pad)


def test_swapping_exchanges_what_the_first_two_pointers_see() -> None:
    pad, pointers = pads([1, 2, 3]), torch.tensor([[0.0, 2, 1]])
    assert act(SORTING, pad, pointers, given("swap"), YES)[0].equal(pads([3, 2, 1]))


@pytest.mark.parametrize("action", ACTIONS)
def test_a_row_that_does_not_act_stays_as_it_is(action: str) -> None:
    pad, pointers = pads([1, 2, 3]), torch.tensor([[0.0, 2, 1]])
    after = act(SORTING, pad, pointers, given(action, 1, 5), NO)
    assert after[0].equal(pad) and after[1].equal(pointers)


def test_typed_values_push_on_what_is_there_and_leave_the_other_rows() -> None:
    pad = pads([BLANK, 1, 2], [BLANK, BLANK, 3], [4, 5, 6], [7, 8, 9])
    after = typed(ADDITION, pad, torch.tensor([[7.0, BLANK]]), YES)
    assert after.equal(pads([1, 2, 7], [BLANK, 3, BLANK], [4, 5, 6], [7, 8, 9]))
    assert typed(SORTING, pad[:, 3:], torch.tensor([[1.0]]), YES).equal(pads([1, 7, 8]))
    assert typed(ADDITION, pad, torch.tensor([[7.0, 1]]), NO).equal(pad)


def test_a_typed_value_beyond_the_digits_counts_as_the_nearest() -> None:
    after = typed(ADDITION, pads(*[[0, 0]] * 4), torch.tensor([[1e30, -1e30]]), YES)
    assert after[0, :2].tolist() == [[0, 9], [0, BLANK]]
