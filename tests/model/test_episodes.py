import torch
from torch import Tensor

from model.episodes import record
from model.tasks import Batch
from model.tasks.copy import Copy
from tests.model.machines import B, M, N, R, T, W, X, machine, rows


def batch() -> Batch:
    mask = torch.zeros(B, T, dtype=torch.bool)
    mask[:, 4:] = True
    return Batch(rows(), torch.zeros(B, T, 10), mask)


def test_the_record_holds_every_row_of_what_the_steps_gave() -> None:
    ntm, seen = machine(), record(machine(), batch())
    state = ntm.initial_state(B)
    assert seen.first["memory"].equal(state.memory)
    for number, row in enumerate(rows().unbind(dim=1)):
        y, state, trace = ntm.step_traced(row, state)
        assert seen.logits[:, number].equal(y)
        assert seen.state["memory"][:, number].equal(state.memory)
        assert seen.state["controller_cell"][:, number].equal(state.controller[1])
        assert seen.trace["write_erase"][:, number].equal(trace.write.erase)
        assert seen.trace["read_key"][:, number].equal(trace.read.key)
    assert seen.state["read_weights"].shape == (B, T, R, N)
    assert seen.trace["write_add"].shape == (B, T, W, M)


def test_rows_before_the_first_scored_one_are_seen() -> None:
    assert record(machine(), batch()).seeing.tolist() == [[True] * 4 + [False] * 2] * B
    mixed = Copy(width=X - 1).at_length(torch.Generator().manual_seed(1), 3, 2)
    assert record(machine(), mixed).seeing.sum(dim=1).tolist() == [3] * 3


def test_a_change_of_the_memory_counts_from_its_row_on() -> None:
    def wipe(row: int, memory: Tensor) -> Tensor:
        return torch.zeros_like(memory) if row == 3 else memory

    plain, changed = record(machine(), batch()), record(machine(), batch(), wipe)
    same = [plain.logits[:, row].equal(changed.logits[:, row]) for row in range(T)]
    assert same == [True, True, True, False, False, False]
