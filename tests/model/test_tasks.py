"""What holds for every task."""

import math

import pytest
import torch
from torch import Generator

from model.families import build
from model.rollout import rollout
from model.tasks import TASKS, make_task
from model.tasks.task import Judged, join, sample_mixed


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


ROWS = [name for name in TASKS if not isinstance(make_task(name), Judged)]  # answered in y


@pytest.mark.parametrize("name", ROWS)
def test_a_task_is_made_by_its_name_and_gives_batches_of_its_sizes(name: str) -> None:
    task = make_task(name)
    inputs, targets, mask = task.sample(seeded(1), 3)
    rows = inputs.shape[1]
    assert task.name == name
    assert inputs.shape == (3, rows, task.input_size)
    assert targets.shape == (3, rows, task.output_size) and mask.shape == (3, rows)
    assert mask.any(dim=1).all() and targets[~mask].eq(0).all()
    assert task.unit in task.units and task.judged_by in ("wrong_bits", "cross_entropy_bits")


@pytest.mark.parametrize("name", ROWS)
def test_the_same_seed_gives_the_same_batches_and_another_seed_others(name: str) -> None:
    task = make_task(name)
    first, again, other = (task.sample(seeded(seed), 5) for seed in (3, 3, 4))
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert not first.inputs.equal(other.inputs)


@pytest.mark.parametrize("name", ROWS)
def test_undecided_outputs_cost_what_chance_costs_and_the_optimum_costs_less(name: str) -> None:
    task = make_task(name)
    batch = task.sample(seeded(1), 4)
    logits = torch.zeros_like(batch.targets)
    bits = task.measures(logits, batch).cross_entropy_bits
    # A bit for each of a row's outputs, or one choice among them all.
    one = task.activation == "softmax"
    row = math.log2(task.output_size) if one else task.output_size
    expected = batch.mask.sum(dim=1) * row
    assert bits.tolist() == pytest.approx(expected.tolist())
    nats = math.log(task.output_size if one else 2)
    assert task.loss(logits, batch).item() == pytest.approx(nats)
    optimum = task.optimum_bits(batch)
    assert optimum.shape == (4,) and (optimum < bits).all() and (optimum >= 0).all()


@pytest.mark.parametrize("name", TASKS)
def test_stages_end_with_the_task_and_get_no_easier(name: str) -> None:
    task = make_task(name)
    assert task.stages[-1] == task
    longest = [stage.train_lengths[1] for stage in task.stages]
    assert longest == sorted(longest)


@pytest.mark.parametrize("name", ROWS)
def test_a_network_can_run_every_task(name: str) -> None:
    task = make_task(name)
    sizes = {"input_size": task.input_size, "output_size": task.output_size}
    more = {"memory_size": 7, "memory_width": 5, "controller_size": 6}
    network = build("ntm", sizes | more)
    batch = task.sample(seeded(1), 3)
    logits = rollout(network.step, network.initial_state(3), batch.inputs).logits  # pyright: ignore
    task.loss(logits, batch).backward()
    wrong, bits = task.measures(logits.detach(), batch)
    assert logits.shape == batch.targets.shape and wrong.shape == bits.shape == (3,)


def test_joined_batches_are_padded_with_rows_that_are_not_scored() -> None:
    task = make_task("copy")
    short, long = task.at_length(seeded(1), 2, 3), task.at_length(seeded(2), 3, 5)
    inputs, targets, mask = join([short, long])
    assert inputs.shape == (5, 11, 9) and targets.shape == (5, 11, 8)
    assert inputs[:2, :7].equal(short.inputs) and inputs[2:].equal(long.inputs)
    assert (
        inputs[:2, 7:].eq(0).all()
        and not mask[:2, 7:].any()
        and mask[:, :7].equal(torch.cat([short.mask, long.mask[:, :7]]))
    )
    assert targets[:2, :7].equal(short.targets)


def test_measures_of_a_padded_sequence_equal_those_of_it_alone() -> None:
    task = make_task("repeat-copy")
    alone = [task.sample(seeded(seed), 1) for seed in (1, 2, 3)]
    joined = join(alone)
    logits = torch.randn(joined.targets.shape, generator=seeded(9))
    wrong, bits = task.measures(logits, joined)
    for number, batch in enumerate(alone):
        own = logits[number : number + 1, : batch.inputs.shape[1]]
        expected = task.measures(own, batch)
        assert wrong[number] == expected.wrong_bits[0]
        assert bits[number].item() == pytest.approx(expected.cross_entropy_bits.item())


def test_a_mixed_batch_has_sequences_of_different_lengths() -> None:
    batch = sample_mixed(make_task("copy"), seeded(1), 16)
    assert batch.inputs.shape[0] == 16
    assert len(set(batch.mask.sum(dim=1).tolist())) > 4


def test_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="one of copy, .*few-shot-pairs, got 'paste'"):
        make_task("paste")
