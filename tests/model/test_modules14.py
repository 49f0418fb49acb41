from functools import partial

import pytest
import torch
from torch import Tensor

from model import modules14
from model.modules14 import BINARY, MODULES, UNARY
from tests.model import slow_nram

B, M = 3, 7


def distributions(*dims: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*dims, generator=generator, dtype=torch.float64).mul(4).softmax(dim=-1)


def one(value: int) -> Tensor:
    return torch.eye(M)[value].unsqueeze(0)


def test_the_modules_are_the_papers_fourteen_in_its_order() -> None:
    assert tuple(MODULES) == slow_nram.ORDER
    assert set(UNARY) | set(BINARY) | set(modules14.CONSTANTS) == set(slow_nram.INTEGERS)


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_a_module_of_distributions_is_the_sum_over_all_pairs_of_integers(name: str) -> None:
    a, b = distributions(B, M, seed=1), distributions(B, M, seed=2)
    got = UNARY[name](a) if name in UNARY else BINARY[name](a, b)
    assert got.shape == (B, M)
    for row in range(B):
        wanted = slow_nram.of_integers(name, a[row].tolist(), b[row].tolist())
        torch.testing.assert_close(got[row], torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_certain_integers_give_a_certain_integer_exactly(name: str) -> None:
    for i in range(M):
        for j in range(M):
            got = UNARY[name](one(i)) if name in UNARY else BINARY[name](one(i), one(j))
            assert got.equal(one(slow_nram.INTEGERS[name](i, j, M)))


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
@pytest.mark.parametrize("size", [3, 4])
def test_the_gradient_of_a_module_is_right(name: str, size: int) -> None:
    a, b = (distributions(2, size, seed=seed).requires_grad_() for seed in (1, 2))
    if name in UNARY:
        assert torch.autograd.gradcheck(UNARY[name], (a,))
    else:
        assert torch.autograd.gradcheck(BINARY[name], (a, b))


def test_a_constant_is_itself_modulo_the_integers_there_are() -> None:
    for size in (3, 7):
        like = torch.zeros(B, size, dtype=torch.float64)
        for value in (0, 1, 2, size + 1):
            got = modules14.constant(like, value)
            assert got.shape == (B, size) and got.dtype == torch.float64
            assert (got.argmax(dim=1) == value % size).all() and (got.sum(dim=1) == 1).all()


def test_reading_and_writing_are_the_loops_over_cells() -> None:
    tape, pointer, value = distributions(B, M, M), distributions(B, M), distributions(B, M, seed=4)
    got, written = modules14.read(tape, pointer), modules14.write(tape, pointer, value)
    assert got.shape == (B, M) and written.shape == (B, M, M)
    for row in range(B):
        cells, place = tape[row].tolist(), pointer[row].tolist()
        close = partial(torch.testing.assert_close, rtol=0, atol=1e-12)
        close(got[row], torch.tensor(slow_nram.read(cells, place), dtype=torch.float64))
        wanted = slow_nram.write(cells, place, value[row].tolist())
        close(written[row], torch.tensor(wanted, dtype=torch.float64))


def test_the_gradients_of_reading_and_writing_are_right() -> None:
    tape = distributions(2, 3, 3).requires_grad_()
    pointer, value = (distributions(2, 3, seed=seed).requires_grad_() for seed in (2, 3))
    assert torch.autograd.gradcheck(modules14.read, (tape, pointer))
    assert torch.autograd.gradcheck(modules14.write, (tape, pointer, value))


def test_what_is_written_at_a_certain_place_is_read_there_and_nothing_else_changes() -> None:
    tape = distributions(1, M, M).float()
    written = modules14.write(tape, one(4), one(6))
    assert modules14.read(written, one(4)).equal(one(6))
    kept = [cell for cell in range(M) if cell != 4]
    assert written[:, kept].equal(tape[:, kept])
