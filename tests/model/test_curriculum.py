import torch

from model.curriculum import STAGE_STEPS, Curriculum
from model.tasks import Batch
from model.tasks.copy import Copy


def longest(curriculum: Curriculum) -> int:
    generator = torch.Generator().manual_seed(1)
    batches: list[Batch] = [curriculum.sample(generator, 2) for _ in range(120)]
    return max((batch.inputs.shape[1] - 1) // 2 for batch in batches)


def note(curriculum: Curriculum, loss: float, steps: int = STAGE_STEPS) -> None:
    for _ in range(steps):
        curriculum.note(loss)


def test_a_stage_ends_once_its_mean_loss_is_low_enough() -> None:
    curriculum = Curriculum(Copy(), 0.25, mixed=False)
    assert longest(curriculum) == 5
    note(curriculum, 0.3)
    note(curriculum, 0.1, STAGE_STEPS - 1)
    assert longest(curriculum) == 5
    curriculum.note(0.1)
    assert longest(curriculum) == 10
    note(curriculum, 0.0)
    assert longest(curriculum) == 20
    note(curriculum, 0.0)
    assert longest(curriculum) == 20


def test_without_a_threshold_the_whole_task_is_there_from_the_start() -> None:
    curriculum = Curriculum(Copy(), 0.0, mixed=False)
    assert longest(curriculum) == 20
    note(curriculum, 0.0)
    assert longest(curriculum) == 20


def test_mixed_batches_have_many_lengths() -> None:
    generator = torch.Generator().manual_seed(1)
    batch = Curriculum(Copy(), 0.0, mixed=True).sample(generator, 12)
    assert len(set(batch.mask.sum(dim=1).tolist())) > 3


def test_a_restored_curriculum_goes_on_where_it_was() -> None:
    first, second = (Curriculum(Copy(), 0.25, mixed=False) for _ in range(2))
    note(first, 0.1)
    note(first, 0.1, STAGE_STEPS - 1)
    second.restore(first.state())
    assert longest(second) == 10
    second.note(0.1)
    assert longest(second) == 20


def test_the_best_of_a_population_decides() -> None:
    curriculum = Curriculum(Copy(), 0.25, mixed=False)
    for step in range(STAGE_STEPS):  # each is low now and then, none in the mean
        curriculum.note(*((0.1, 0.5) if step % 2 else (0.5, 0.1)))
    assert longest(curriculum) == 5
    for _ in range(STAGE_STEPS):
        curriculum.note(0.9, 0.2)
    assert longest(curriculum) == 10
