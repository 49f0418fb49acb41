import math
from typing import Any, cast, get_args

import msgspec
import pytest
import torch
from torch import Generator, Tensor

from model.evaluation import describe, evaluate
from model.families import build
from model.omniglot import load
from model.options import options_of, recipe_from
from model.tasks import make_task
from model.tasks.few_shot import FewShot, placed
from model.tasks.task import Batch, Split, join
from model.trainer import Trainer


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def labels_of(targets: Tensor) -> Tensor:
    assert (targets.sum(dim=2) == 1).all()
    return targets.argmax(dim=2)


def nearest(rows: Tensor, ways: int) -> list[int]:
    """What a reader answers who keeps each drawing, learns its label a row later, and takes the
    label of the most alike; the least label he has not met where none is kept yet."""
    kept: list[tuple[Tensor, int]] = []
    answers: list[int] = []
    before: Tensor | None = None
    for row in rows:
        image, told = row[:-ways], row[-ways:]
        if before is not None:
            kept.append((before, int(told.argmax())))
        alike = [torch.cosine_similarity(image, seen, dim=0).item() for seen, _ in kept]
        answers.append(kept[alike.index(max(alike))][1] if kept else 0)
        before = image
    return answers


def test_each_character_is_shown_as_often_as_the_others_and_told_a_row_late() -> None:
    task = FewShot()
    inputs, targets, mask = task.sample(seeded(1), 4)
    labels = labels_of(targets)
    assert inputs.shape == (4, 50, 405) and mask.all()
    assert all(row.bincount().tolist() == [10] * 5 for row in labels)
    assert inputs[:, 0, 400:].eq(0).all()
    assert torch.equal(inputs[:, 1:, 400:], targets[:, :-1])
    assert (inputs >= 0).all() and (inputs <= 1).all()
    assert not torch.equal(labels[0], labels[1])


def test_in_pairs_a_drawing_is_asked_and_then_told_with_its_label() -> None:
    late, task = FewShot().sample(seeded(1), 4), make_task("few-shot-pairs")
    assert isinstance(task, FewShot) and task.form["told"] == "with"
    inputs, targets, mask = task.sample(seeded(1), 4)
    assert inputs.shape == (4, 100, 405) and mask[0].tolist() == [True, False] * 50
    assert torch.equal(inputs[:, ::2, :400], late.inputs[:, :, :400])
    assert torch.equal(inputs[:, 1::2, :400], late.inputs[:, :, :400])
    assert not inputs[:, ::2, 400:].any() and torch.equal(inputs[:, 1::2, 400:], late.targets)
    assert torch.equal(targets[:, ::2], late.targets)


def test_in_pairs_only_what_was_asked_is_measured() -> None:
    late, task = FewShot(), make_task("few-shot-pairs")
    assert isinstance(task, FewShot)
    batches = [kind.sample(seeded(1), 3) for kind in (late, task)]
    logits = torch.randn(3, 100, 5, generator=seeded(2))
    asked = logits[:, ::2]
    for got, wanted in zip(
        task.measures(logits, batches[1]), late.measures(asked, batches[0]), strict=True
    ):
        torch.testing.assert_close(got, wanted)
    shares = task.at_instances(logits, batches[1])
    assert torch.equal(shares, late.at_instances(asked, batches[0])) and shares.shape == (3, 10)
    torch.testing.assert_close(task.loss(logits, batches[1]), late.loss(asked, batches[0]))


def test_who_keeps_what_was_shown_answers_far_better_than_chance() -> None:
    task = FewShot().drawn_for("test")
    batch = task.sample(seeded(2), 8)
    labels = labels_of(batch.targets)
    answers = torch.tensor([nearest(rows, task.ways) for rows in batch.inputs])
    logits = torch.nn.functional.one_hot(answers, task.ways).float()
    shares = task.at_instances(logits, batch).mean(dim=0)
    assert shares.shape == (10,) and shares[0] < 0.3 and shares[9] > 0.55
    assert (answers == labels).float().mean() == pytest.approx(shares.mean().item())


def test_no_character_of_one_split_is_in_another_and_the_test_has_whole_alphabets() -> None:
    data, parts = load(""), {}
    for split in get_args(Split):
        indices = FewShot(split=split)._characters(data).tolist()
        parts[split] = {data.alphabets[index] for index in indices}
        assert len(indices) == sum(data.alphabets.count(name) for name in parts[split])
    assert parts["test"] == {"Balinese", "Early_Aramaic"} and parts["validation"] == {"Tagalog"}
    assert len(set.union(*parts.values())) == sum(map(len, parts.values())) == 8


def test_evaluation_draws_the_test_and_training_validates_on_its_own_part() -> None:
    task = make_task("few-shot")
    assert isinstance(task, FewShot) and task.split == "training"
    seen: list[str] = []

    class Spy(FewShot, frozen=True):
        def at_length(self, generator: Generator, batch: int, length: int) -> Any:
            seen.append(self.split)
            return super().at_length(generator, batch, length)

    sizes = {"input_size": task.input_size, "output_size": task.output_size, "hidden_size": 4}
    network: Any = build("lstm", sizes | {"layers": 1})
    evaluate(network, Spy(), [2], sequences=2, within=1)
    assert set(seen) == {"test"}
    line = "few-shot --family lstm --controller-size 4 --controller-layers 1 --compile off"
    recipe = recipe_from(options_of([*line.split(), "--eval-sequences", "8"]))
    batch = Trainer(recipe, lambda _: None).validation[""][0]
    wanted = FewShot(split="validation").sample(seeded(1_000_000_000), 8)
    assert torch.equal(batch.inputs, wanted.inputs)


def test_only_in_training_are_drawings_moved() -> None:
    still = FewShot(turn=0, shift=0)
    for split in ("validation", "test"):
        task = FewShot().drawn_for(split)
        same = still.drawn_for(split).sample(seeded(1), 2)
        assert torch.equal(task.sample(seeded(1), 2).inputs, same.inputs)
    moved, unmoved = FewShot().sample(seeded(1), 2).inputs, still.sample(seeded(1), 2).inputs
    assert not torch.equal(moved, unmoved)


def test_a_drawing_is_turned_counter_clockwise_then_moved_right_and_down() -> None:
    drawing = torch.zeros(1, 4, 35, 35)
    drawing[:, :, 14:21, 28:35] = 1  # at the right edge, half way up
    angle = torch.tensor([[0, math.pi / 2, math.pi, 0]])
    shift = torch.tensor([[[0.0, 0], [0, 0], [0, 0], [-5, 3]]])
    got = placed(drawing, 20, angle, shift)[0]
    assert got.shape == (4, 20, 20)
    rows = (got.sum(dim=2) * torch.arange(20)).sum(dim=1) / got.sum(dim=(1, 2))
    columns = (got.sum(dim=1) * torch.arange(20)).sum(dim=1) / got.sum(dim=(1, 2))
    places = torch.stack([rows, columns], dim=1).tolist()
    middles = [(9.5, 17.5), (1.5, 9.5), (9.5, 1.5), (12.5, 12.5)]
    for place, wanted in zip(places, middles, strict=True):
        assert place == pytest.approx(wanted, abs=0.3)
    assert got.sum(dim=(1, 2)).tolist() == pytest.approx([16] * 4, rel=0.02)


def test_measures_and_accuracies_are_those_worked_by_hand() -> None:
    task = FewShot(ways=2)
    labels = torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0]])
    answers = torch.tensor([[0, 0, 0, 1], [1, 0, 1, 0]])
    targets = torch.nn.functional.one_hot(labels, 2).float()
    inputs = torch.zeros(2, 4, task.input_size)
    batch = Batch(inputs, targets, torch.ones(2, 4, dtype=torch.bool))
    logits = torch.nn.functional.one_hot(answers, 2) * math.log(3)  # 3/4 for the answer
    wrong, bits = task.measures(logits, batch)
    assert wrong.tolist() == [1, 2]
    right = math.log2(4 / 3)
    assert bits.tolist() == pytest.approx([3 * right + 2, 2 * right + 2 * 2])
    assert task.loss(logits, batch).item() == pytest.approx(bits.mean().item() * math.log(2) / 4)
    assert task.at_instances(logits, batch).tolist() == [[0.5, 1.0], [0.5, 0.5]]
    assert task.optimum_bits(batch).tolist() == pytest.approx([1, 1])


def test_easier_stages_show_fewer_characters_under_any_of_the_labels() -> None:
    task = FewShot()
    assert [stage.shown for stage in cast(tuple[FewShot, ...], task.stages)] == [2, 3, 0]
    batch = msgspec.structs.replace(task, shown=2).sample(seeded(1), 40)
    times = batch.targets.sum(dim=1)  # of each label
    assert batch.inputs.shape == (40, 20, task.input_size)
    assert torch.equal(times.sort(dim=1).values, torch.tensor([0.0, 0, 0, 10, 10]).expand(40, 5))
    assert times.any(dim=0).all()
    easier = msgspec.structs.replace(task, shown=2)
    assert easier.optimum_bits(batch).tolist() == pytest.approx([math.log2(5 * 4)] * 40)


def test_padded_sequences_are_measured_as_they_are_alone() -> None:
    task = FewShot()
    batches = [task.at_length(seeded(seed), 2, 3) for seed in (1, 2)]
    joined = join([batches[0], task.at_length(seeded(3), 1, 4)])
    logits = torch.randn(joined.targets.shape, generator=seeded(4))
    wrong, bits = task.measures(logits, joined)
    alone = task.measures(logits[:2, :15], batches[0])
    assert torch.equal(wrong[:2], alone.wrong_bits)
    torch.testing.assert_close(bits[:2], alone.cross_entropy_bits)


def test_evaluation_tells_how_often_each_instance_was_right() -> None:
    task = FewShot()
    sizes = {"input_size": task.input_size, "output_size": task.output_size}
    torch.manual_seed(1)
    network: Any = build("mann", sizes | {"memory_size": 7, "memory_width": 5})
    results = evaluate(network, task, [3], sequences=40, within=0)
    told = results["lengths"]["3"]
    assert len(told["at_instances"]) == 3
    assert all(0.05 < share < 0.4 for share in told["at_instances"])
    assert told["optimum_bits"] == pytest.approx(math.log2(120), abs=1e-4)
    assert "right at the 1st, 2nd, ... instance: " in describe(results)


@pytest.mark.parametrize("length", [0, 21])
def test_more_instances_than_drawers_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"instances must be 1 to 20, got {length}"):
        FewShot().at_length(seeded(1), 2, length)


def test_a_split_without_enough_characters_and_another_tasks_data_are_refused() -> None:
    with pytest.raises(ValueError, match="test needs at least 5 characters, has 0"):
        FewShot(test=("Elvish",), split="test").sample(seeded(1), 2)
    with pytest.raises(ValueError, match="copy is made of no data, got 'somewhere'"):
        make_task("copy", data="somewhere")


def test_the_form_tells_a_client_how_to_write_a_row() -> None:
    form, task = FewShot().form, FewShot()
    assert form["kind"] == "glyph" and form["height"] * form["width"] + form["labels"] == 405
    assert task.input_size == 405


def test_the_data_of_seed_one_never_changes() -> None:
    batch = FewShot().sample(seeded(1), 2)
    assert labels_of(batch.targets)[0, :10].tolist() == [3, 2, 4, 2, 3, 0, 0, 2, 2, 4]
    assert batch.inputs[0, :3, :400].sum(dim=1).tolist() == pytest.approx(
        [30.311, 24.141, 43.265], rel=1e-4
    )
