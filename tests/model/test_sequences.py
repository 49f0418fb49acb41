import pytest
import torch

from model.lstm import LSTM
from model.sequences import require_row, run


def test_a_sequence_is_its_steps_from_the_state_given_or_a_fresh_one() -> None:
    torch.manual_seed(1)
    network, inputs = LSTM(5, 4, 7, 2), torch.randn(3, 6, 5)
    whole, last = run(network, inputs)
    first, halfway = run(network, inputs[:, :2])
    rest, end = run(network, inputs[:, 2:], halfway)
    assert torch.equal(torch.cat([first, rest], dim=1), whole)
    assert all(map(torch.equal, last.controller, end.controller))


@pytest.mark.parametrize("dims", [(3, 6, 4), (3, 0, 5), (3, 5)])
def test_inputs_of_other_dims_are_refused(dims: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"inputs must be \(B, T, 5\) with T >= 1"):
        run(LSTM(5, 4, 7, 2), torch.zeros(dims))


def test_a_row_must_fit_the_state_and_the_network() -> None:
    require_row(torch.zeros(3, 5), 3, 5)
    with pytest.raises(ValueError, match=r"input_t must be \(3, 5\), a row of each.*got \(3, 6\)"):
        require_row(torch.zeros(3, 6), 3, 5)
