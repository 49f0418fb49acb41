"""Reading and writing, and the three ways a memory begins."""

import pytest
import torch
from torch import Tensor

from model.memory import CONSTANT, MemoryBank, read, write
from tests.model import slow

B, N, M, R, W = 3, 7, 5, 4, 2


def draw(heads: int = W, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    memory = torch.randn(B, N, M, dtype=dtype)
    weights = torch.softmax(torch.randn(B, heads, N, dtype=dtype), dim=2)
    erase = torch.rand(B, heads, M, dtype=dtype)
    return memory, weights, erase, torch.randn(B, heads, M, dtype=dtype)


def close(got: Tensor, wanted: list) -> None:
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=got.dtype), atol=1e-6, rtol=1e-5)


def test_a_read_mixes_the_slots_by_their_weights():
    memory = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    weights = torch.tensor([[[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]]])
    close(read(memory, weights), [[[2.5, 3.5], [5.0, 6.0]]])


def test_reads_match_the_loop():
    torch.manual_seed(0)
    memory, weights, _, _ = draw(R)
    got = read(memory, weights)
    assert got.shape == (B, R, M)
    close(
        got,
        [
            [slow.read(memory[b].tolist(), weights[b, r].tolist()) for r in range(R)]
            for b in range(B)
        ],
    )


def test_a_write_erases_then_adds():
    memory = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    got = write(
        memory,
        torch.tensor([[[0.5, 0.0]]]),
        torch.tensor([[[1.0, 0.5]]]),
        torch.tensor([[[10.0, -10.0]]]),
    )
    # Slot 0: 1 (1 - 0.5) + 5 and 2 (1 - 0.25) - 5. Slot 1 has no weight.
    close(got, [[[5.5, -3.5], [3.0, 4.0]]])


def test_two_heads_on_one_slot_multiply_their_erasures_and_sum_their_additions():
    memory = torch.tensor([[[8.0], [8.0]]])
    weights = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    erase, add = torch.tensor([[[0.5], [1.0]]]), torch.tensor([[[1.0], [2.0]]])
    # Slot 0: 8 (1 - 0.5) (1 - 0.5) + 1 + 1. Slot 1: 8 (1 - 0.5) + 1.
    close(write(memory, weights, erase, add), [[[4.0], [5.0]]])


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_writes_match_the_loop(heads):
    torch.manual_seed(heads)
    memory, weights, erase, add = draw(heads)
    got = write(memory, weights, erase, add)
    assert got.shape == (B, N, M)
    close(got, [slow.write(*(part[b].tolist() for part in (memory, weights, erase, add)))
                for b in range(B)])  # fmt: skip


def test_the_order_of_the_heads_does_not_matter():
    torch.manual_seed(0)
    memory, weights, erase, add = draw(4)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(
        write(memory, weights[:, order], erase[:, order], add[:, order]),
        write(memory, weights, erase, add),
    )


def test_one_head_may_leave_out_its_axis():
    torch.manual_seed(0)
    memory, weights, erase, add = draw(1)
    alone = read(memory, weights[:, 0])
    assert alone.shape == (B, M)
    assert torch.equal(alone, read(memory, weights)[:, 0])
    assert torch.equal(
        write(memory, weights[:, 0], erase[:, 0], add[:, 0]), write(memory, weights, erase, add)
    )


def test_a_write_leaves_the_memory_it_was_given_alone():
    memory, weights, erase, add = draw()
    before = memory.clone()
    write(memory, weights, erase, add)
    assert torch.equal(memory, before)


def test_a_write_then_a_read_at_one_slot_gives_back_what_was_written():
    memory, _, _, add = draw(1)
    focus = torch.eye(N)[4].expand(B, 1, N)
    got = read(write(memory, focus, torch.ones(B, 1, M), add), focus)
    torch.testing.assert_close(got, add)


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    inputs = [part.requires_grad_() for part in draw(W, torch.float64)]
    assert torch.autograd.gradcheck(write, inputs)
    assert torch.autograd.gradcheck(read, inputs[:2])


def test_the_bank_reads_and_writes_as_the_functions():
    bank = MemoryBank(N, M)
    memory, weights, erase, add = draw()
    assert torch.equal(bank.read(memory, weights), read(memory, weights))
    assert torch.equal(bank.write(memory, weights, erase, add), write(memory, weights, erase, add))


@pytest.mark.parametrize("init", ["constant", "learned", "random"])
def test_every_row_begins_with_the_same_memory(init):
    bank = MemoryBank(N, M, init)
    got = bank.initial_memory(B)
    assert got.shape == (B, N, M)
    assert torch.equal(got, bank.get_memory_contents().expand(B, N, M))
    assert "initial" in bank.state_dict()


def test_a_constant_memory_is_one_small_number_and_is_not_trained():
    bank = MemoryBank(N, M)
    assert torch.equal(bank.initial_memory(B), torch.full((B, N, M), CONSTANT))
    assert CONSTANT == 1e-6 and not list(bank.parameters())


def test_a_learned_memory_is_trained():
    bank = MemoryBank(N, M, "learned")
    before = bank.get_memory_contents()
    target = torch.randn(N, M)
    optimiser = torch.optim.SGD(bank.parameters(), lr=0.1)
    loss = (bank.initial_memory(B) - target).square().sum()
    loss.backward()
    optimiser.step()
    # d loss / d initial = 2 B (initial - target), and the step is 0.1 of it.
    torch.testing.assert_close(bank.get_memory_contents(), before - 0.6 * (before - target))


def test_a_random_memory_is_drawn_once_and_travels_with_the_weights():
    torch.manual_seed(0)
    bank, other = MemoryBank(N, M, "random"), MemoryBank(N, M, "random")
    first = bank.initial_memory(B)
    assert torch.equal(first, bank.initial_memory(B))
    assert not torch.equal(first, other.initial_memory(B))
    assert not list(bank.parameters())
    assert 0.1 < first.abs().max() <= (N + M) ** -0.5
    other.load_state_dict(bank.state_dict())
    assert torch.equal(first, other.initial_memory(B))


def test_contents_are_a_copy_cut_from_the_graph():
    bank = MemoryBank(N, M, "learned")
    for memory in (None, bank.initial_memory(B)):
        contents = bank.get_memory_contents(memory)
        assert not contents.requires_grad
        contents.fill_(9)
        assert not (bank.initial == 9).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, M), "memory_size must be an integer of at least 1, got 0"),
        ((N, -1), "memory_width must be an integer of at least 1, got -1"),
        ((N, 2.5), "memory_width must be an integer of at least 1, got 2.5"),
        ((N, M, "zeros"), 'memory_init must be "constant", "learned" or "random", got \'zeros\''),
    ],
)
def test_what_makes_no_memory_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MemoryBank(*arguments)
