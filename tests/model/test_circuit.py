import pytest
import torch
from torch import Tensor

from model.circuit import ARGUMENTS, Circuit, allowed, choose, run
from model.modules14 import MODULES
from tests.model import slow_nram

B, R, M = 3, 2, 5
C, V = ARGUMENTS + R, R + len(MODULES)


def logits(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, C, V, generator=generator, dtype=torch.float64) * 2


def machine(seed: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(B, R + M, M, generator=generator, dtype=torch.float64).mul(2)
    return drawn[:, :R].softmax(dim=2), drawn[:, R:].softmax(dim=2)


def test_a_step_is_the_papers_in_loops_with_every_choice_a_softmax_of_what_came_before() -> None:
    registers, tape = machine()
    chosen, entropy = choose(logits(), allowed(R), discrete=False)
    got_registers, got_tape = run(chosen, registers, tape)
    assert got_registers.shape == (B, R, M) and got_tape.shape == (B, M, M)
    for row in range(B):
        wanted = slow_nram.step(logits()[row].tolist(), registers[row].tolist(), tape[row].tolist())
        for got, want in zip((got_registers[row], got_tape[row]), wanted, strict=False):
            torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64))
        assert entropy[row].item() == pytest.approx(wanted[2])


def test_no_module_takes_what_a_later_one_gives() -> None:
    may, place = allowed(R), 0
    for number, module in enumerate(MODULES):
        for _ in range(module.arguments):
            assert may[place, : R + number].all() and not may[place, R + number :].any()
            place += 1
    assert place == ARGUMENTS and may[place:].all()
    chosen, _ = choose(logits(), may, discrete=False)
    assert (torch.cat(chosen, dim=1)[:, ~may] == 0).all()


def test_a_discrete_circuit_takes_the_likeliest_of_what_each_choice_may_take() -> None:
    soft = torch.cat(choose(logits(), allowed(R), discrete=False)[0], dim=1)
    chosen, entropy = choose(logits(), allowed(R), discrete=True)
    hard = torch.cat(chosen, dim=1)
    assert hard.argmax(dim=2).equal(soft.argmax(dim=2)) and (hard.sum(dim=2) == 1).all()
    assert set(hard.unique().tolist()) == {0.0, 1.0} and (entropy == 0).all()


def test_a_discrete_step_keeps_certain_integers_certain() -> None:
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(0, M, (B, R + M), generator=generator)
    certain = torch.eye(M)[drawn]
    chosen, _ = choose(logits().float(), allowed(R), discrete=True)
    for part in run(chosen, certain[:, :R], certain[:, R:]):
        assert set(part.unique().tolist()) == {0.0, 1.0} and (part.sum(dim=2) == 1).all()


def test_distributions_stay_distributions() -> None:
    chosen, _ = choose(logits(), allowed(R), discrete=False)
    for part in run(chosen, *machine()):
        assert (part >= 0).all()
        torch.testing.assert_close(part.sum(dim=2), torch.ones_like(part[:, :, 0]))


def test_the_gradient_of_a_whole_step_is_right() -> None:
    registers, tape = machine()
    inputs = (logits()[:1].requires_grad_(), registers[:1].requires_grad_(), tape[:1])

    def step(emitted: Tensor, held: Tensor, cells: Tensor) -> tuple[Tensor, ...]:
        chosen, entropy = choose(emitted, allowed(R), discrete=False)
        return *run(chosen, held, cells), entropy

    assert torch.autograd.gradcheck(step, (*inputs[:2], inputs[2].requires_grad_()), fast_mode=True)


def test_what_rounding_adds_to_a_sum_does_not_grow_from_step_to_step() -> None:
    """A register that is its own double in each step: its sum would square itself, 30 times."""
    values = R + len(MODULES)
    add = R + [module.name for module in MODULES].index("ADD")
    sources = torch.zeros(B, R, values)
    sources[:, :, add] = 1
    arguments = torch.zeros(B, ARGUMENTS, values)
    arguments[:, :, 0] = 1
    registers, tape = (part.float() for part in machine())
    registers = registers * (1 + 1e-6)
    for _ in range(30):
        registers, _ = run(Circuit(arguments, sources), registers, tape)
    torch.testing.assert_close(registers.sum(dim=2), torch.ones(B, R))


def test_registers_of_zeros_give_numbers() -> None:
    chosen, _ = choose(logits(), allowed(R), discrete=True)
    for part in run(chosen, torch.zeros(B, R, M).double(), torch.zeros(B, M, M).double()):
        assert torch.isfinite(part).all()
