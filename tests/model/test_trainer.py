from typing import Any

import pytest
import torch

from model.curriculum import STAGE_STEPS
from model.guard import NonFiniteError, find_nonfinite
from model.recipe import Recipe, learning_rate_at
from model.tasks import Batch, make_task
from model.trainer import Trainer

NETWORK = {
    "input_size": 9,
    "output_size": 8,
    "memory_size": 7,
    "memory_width": 5,
    "controller_size": 6,
}


def recipe(**changes: Any) -> Recipe:
    fields: dict[str, Any] = {
        "task": "copy",
        "network": NETWORK,
        "name": "copy",
        "out": "unused",
        "batch": 3,
        "compile": "off",
        "eval_sequences": 8,
    }
    return Recipe(**(fields | changes))


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


def test_schedules_equal_hand_worked_values() -> None:
    def rates(schedule: str) -> list[float]:
        chosen = recipe(schedule=schedule, steps=4, learning_rate=0.8)
        return [learning_rate_at(chosen, step) for step in (1, 2, 3, 4)]

    assert rates("constant") == [0.8] * 4
    assert rates("linear") == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert rates("cosine") == pytest.approx([0.8, 0.682843, 0.4, 0.117157], rel=1e-5)


def test_a_step_is_the_plain_loop_written_out() -> None:
    trainer = Trainer(recipe(seed=4, clip=0.01))
    twin = Trainer(recipe(seed=4))
    network, task = twin.network, twin.task
    batch = task.sample(torch.Generator().manual_seed(4), 3)
    loss = task.loss(network(batch.inputs), batch)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 0.01)
    twin.optimizer.step()
    trainer.advance()
    assert norm.item() > 0.01
    torch.testing.assert_close(weights(trainer), weights(twin), rtol=0, atol=1e-7)
    window = trainer.drain_window()
    assert window["loss"] == pytest.approx(loss.item())
    assert window["gradient_norm"] == pytest.approx(norm.item())


def test_the_write_cost_is_added_to_the_loss_and_has_a_gradient() -> None:
    free, dear = Trainer(recipe()), Trainer(recipe(write_cost=0.5))
    free.advance()
    dear.advance()
    paid, unpaid = dear.drain_window(), free.drain_window()
    assert paid["loss"] > unpaid["loss"]
    assert paid["cross_entropy_bits"] == unpaid["cross_entropy_bits"]
    assert paid["gradient_norm"] != unpaid["gradient_norm"]


def test_the_same_seed_trains_the_same_weights_and_another_seed_others() -> None:
    trainers = [Trainer(recipe(seed=seed)) for seed in (1, 1, 2)]
    for trainer in trainers:
        for _ in range(3):
            trainer.advance()
    first, again, other = (weights(trainer)["output.weight"] for trainer in trainers)
    assert first.equal(again) and not first.equal(other)


def test_evaluation_does_not_disturb_training() -> None:
    watched, alone = Trainer(recipe(ema=0.9)), Trainer(recipe(ema=0.9))
    for _ in range(3):
        watched.advance()
        watched.evaluate()
        alone.advance()
    assert all(value.equal(weights(alone)[name]) for name, value in weights(watched).items())


def test_the_average_follows_the_weights_with_a_growing_reach() -> None:
    trainer = Trainer(recipe(ema=0.25))
    assert trainer.average is not None
    mean = trainer.network.output.bias.detach().clone()  # pyright: ignore
    for decay in (2 / 11, 3 / 12, 0.25, 0.25):
        trainer.advance()
        mean = decay * mean + (1 - decay) * trainer.network.output.bias.detach()  # pyright: ignore
        torch.testing.assert_close(trainer.average.output.bias.detach(), mean)  # pyright: ignore


def test_the_best_weights_are_those_with_the_fewest_wrong_bits_over_all_sets() -> None:
    trainer = Trainer(recipe(ema=0.5, select_lengths=(2, 4), select_sequences=3))
    scores: list[tuple[float, float]] = []
    for _ in range(4):
        trainer.advance()
        scores += [candidate.score for candidate in trainer.evaluate()]
    assert len(scores) == 8
    assert trainer.best is not None and trainer.best.score == min(scores)
    trainer.network.load_state_dict(trainer.best_weights)
    trainer.average = None
    assert trainer.evaluate()[0].score == trainer.best.score


def poisoned(trainer: Trainer, batch: Batch) -> str:
    return find_nonfinite(trainer.network, batch)


def test_the_guard_names_the_first_tensor_that_is_not_finite() -> None:
    trainer = Trainer(recipe())
    batch = trainer.task.sample(torch.Generator().manual_seed(1), 3)
    broken = batch.inputs.clone()
    broken[1, 2, 0] = float("inf")
    assert poisoned(trainer, batch._replace(inputs=broken)) == "inputs at row 2"
    with torch.no_grad():
        trainer.network.bank.initial[3, 2] = float("nan")  # pyright: ignore
    assert poisoned(trainer, batch) == "state memory after row 0"
    with torch.no_grad():
        trainer.network.output.bias[1] = float("nan")  # pyright: ignore
    assert poisoned(trainer, batch) == "weight output.bias"


def test_a_bad_gradient_stops_training_before_the_weights_change() -> None:
    trainer = Trainer(recipe())
    trainer.advance()
    before = weights(trainer)
    bias = trainer.network.output.bias  # pyright: ignore
    bias.register_hook(lambda gradient: gradient * float("nan"))  # pyright: ignore
    with pytest.raises(NonFiniteError, match="step 2: .* gradient of output.bias") as raised:
        trainer.advance()
    assert (raised.value.step, raised.value.tensor) == (2, "gradient of output.bias")
    assert all(value.equal(before[name]) for name, value in weights(trainer).items())


def sized(task: str) -> dict[str, Any]:
    made = make_task(task)
    return NETWORK | {"input_size": made.input_size, "output_size": made.output_size}


def test_weights_for_a_task_without_certain_answers_are_chosen_by_cross_entropy() -> None:
    trainer = Trainer(recipe(task="ngram", network=sized("ngram"), eval_sequences=3, target=1e6))
    (candidate,) = trainer.evaluate()
    assert candidate.score == (candidate.cross_entropy_bits, candidate.wrong_bits)
    assert candidate.cross_entropy_bits > 100 and trainer.streak == 1
    strict = recipe(task="ngram", network=sized("ngram"), eval_sequences=3, target=100)
    trainer = Trainer(strict)
    assert trainer.evaluate()[0].wrong_bits < 100 + 100
    assert trainer.streak == 0


def test_a_curriculum_begins_easy_and_its_place_is_kept() -> None:
    chosen = recipe(task="priority-sort", network=sized("priority-sort"), curriculum=9.0)
    trainer = Trainer(chosen)
    seen: list[int] = []
    draw = trainer.curriculum.sample

    def watched(generator: torch.Generator, batch: int) -> Batch:
        drawn = draw(generator, batch)
        seen.append(drawn.inputs.shape[1])
        return drawn

    trainer.curriculum.sample = watched
    for _ in range(STAGE_STEPS + 1):
        trainer.advance()
    assert seen == [5 + 1 + 4] * STAGE_STEPS + [10 + 1 + 8]
    again = Trainer(chosen)
    again.restore(trainer.state())
    assert (again.curriculum.stage, again.curriculum.steps) == (1, 1)


def test_graphs_are_refused_without_a_cuda_device() -> None:
    with pytest.raises(ValueError, match="graphs are a CUDA device's, got device 'cpu'"):
        recipe(compile="graphs")
