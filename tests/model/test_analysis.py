import math

import pytest
import torch
from torch import Generator

from model import analysis
from model.tasks.copy import Copy
from tests.model.machines import machine
from tests.model.scripted import B, M, N, episodes


def test_utilisation_counts_the_slots_heads_were_focused_on() -> None:
    found = analysis.utilisation(episodes())
    assert (found["slots"], found["write_focused"], found["read_focused"]) == (6, 4, 3)
    # Writes: 1, 1, 1, 4 of 7 rows; reads: 5, 1, 1 of 7.
    written = -3 / 7 * math.log(1 / 7) - 4 / 7 * math.log(4 / 7)
    read = -2 / 7 * math.log(1 / 7) - 5 / 7 * math.log(5 / 7)
    assert found["write_effective"] == pytest.approx(math.exp(written))
    assert found["read_effective"] == pytest.approx(math.exp(read))


def test_a_blurred_head_is_focused_nowhere() -> None:
    blurred = episodes()
    blurred.state["write_weights"].fill_(1 / N)
    found = analysis.utilisation(blurred)
    assert found["write_focused"] == 0 and found["write_effective"] == pytest.approx(N)
    assert analysis.persistence(blurred) == {"writes": 0, "rows": 0, "lost": 0}


def test_access_tells_seeing_from_answering() -> None:
    seen = episodes()
    seen.trace["read_gate"][:, 4:] = 0.75
    seen.state["read_weights"][:, 4:] *= 0.5
    found = analysis.access(seen)
    assert found["read"]["seeing"] == {
        "content": 0.25,
        "kept": 0.75,
        "shift": [0.5, 0.125, 0.375],
        "strength": 1.0,
        "sharpness": 2.0,
        "focus": 1.0,
    }
    assert (found["read"]["answering"]["content"], found["read"]["answering"]["focus"]) == (
        0.75,
        0.5,
    )
    assert found["write"]["answering"]["content"] == 0.25


def test_memory_change_is_what_each_row_wrote() -> None:
    seen = episodes()
    bits = seen.batch.inputs[:, :3, : M - 1].sum(dim=2).mean(dim=0) + 1
    assert analysis.memory_change(seen) == pytest.approx([*bits.tolist(), 0, 0, 0, 0])


def test_a_write_that_nothing_touches_lasts_to_the_end() -> None:
    # Rows 0, 1, 2 write for 7, 6, 5 rows; rows 3-6 are focused on an empty slot for 4, 3, 2, 1.
    found = analysis.persistence(episodes())
    assert found == {"writes": 7, "rows": (7 + 6 + 5 + 4 + 3 + 2 + 1) / 7, "lost": 0}


def test_a_write_over_another_ends_it() -> None:
    seen = episodes(writes=(0, 0, 2, 3, 3, 3, 3))
    memory = seen.state["memory"]
    memory[:, 0, 0] = torch.tensor([1.0, 0, 0, 0, 0])
    memory[:, 1:, 0] = torch.tensor([0.0, 0, 3, 0, 0])
    found = analysis.persistence(seen)
    assert found["rows"] == pytest.approx((1 + 6 + 5 + 4 + 3 + 2 + 1) / 7)
    assert found["lost"] == pytest.approx(1 / 7)


def test_the_probe_reads_what_the_slots_hold_and_guesses_where_they_hold_nothing() -> None:
    seen = episodes()
    found = analysis.probe(seen)
    assert [row["slot"] for row in found] == [0, 1, 2, 3]
    assert [row["accuracy"] for row in found[:3]] == [1, 1, 1]
    seen.state["memory"].zero_()
    assert min(row["accuracy"] for row in analysis.probe(seen)[:3]) < 0.9


def test_noise_of_deviation_zero_changes_nothing_and_much_noise_much() -> None:
    ntm = machine(read_heads=1, write_heads=1)
    task = Copy(width=8)
    batch = task.at_length(Generator().manual_seed(1), B, 4)
    batch = batch._replace(targets=torch.zeros(B, 9, 10))
    found = analysis.noise(ntm, task, batch, (0.0, 0.0, 50.0))
    assert found[0] == found[1] and found[0]["deviation"] == 0
    assert found[2]["wrong_bits"] != found[0]["wrong_bits"]
