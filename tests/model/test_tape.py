import numpy as np
import pytest

from model.tape import decode, encode


def test_what_is_encoded_is_decoded_and_further_cells_are_zero() -> None:
    tape = encode([3, 0, 5], cells=6, integers=6)
    assert tape.shape == (6, 6) and tape.dtype == np.float32
    assert (tape.sum(axis=1) == 1).all() and tape[0, 3] == tape[2, 5] == 1
    assert decode(tape) == decode(tape.ravel()) == [3, 0, 5, 0, 0, 0]


def test_registers_are_fewer_than_integers() -> None:
    assert decode(encode([1], cells=2, integers=9)) == [1, 0]


@pytest.mark.parametrize("values", [[6], [-1], [0] * 7])
def test_what_is_no_tape_is_refused(values: list[int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        encode(values, cells=6, integers=6)
