import copy
import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from model.evaluation import summarise
from model.families import Network, load
from model.guard import NonFiniteError
from model.population import SPREADS, Population
from model.recipe import Recipe
from model.rollout import first_state, judging, rollout
from model.run import Run
from model.tasks.tape_task import TapeTask
from tests.model.test_trainer import NETWORK
from tests.model.test_trainer import recipe as copying

MACHINE = {"integers": 20, "registers": 3, "controller": "feedforward", "controller_size": 8}


def recipe(**changes: Any) -> Recipe:
    fields: dict[str, Any] = {
        "task": "increment",
        "family": "nram",
        "network": MACHINE | {"discrete": True},
        "population": 3,
        "curriculum": 0.2,
        "eval_every": 2,
        "learning_rate": 0.02,
        "entropy": 0.1,
        "noise": 0.001,
        "clip": 0.05,
    }
    return copying(**(fields | changes))


def weights(population: Population) -> list[dict[str, torch.Tensor]]:
    return [copy.deepcopy(machine.state_dict()) for machine in population.machines]


def alone(population: Population, place: int, steps: int) -> nn.Module:
    """That machine of a fresh population, trained by itself on the population's batches."""
    machine = population.machines[place]
    factors = {name: each[place] for name, each in population.factors.items()}
    optimizer = torch.optim.Adam(machine.parameters(), 0.02 * factors["learning_rate"])
    task = cast(TapeTask, population.task.stages[0])
    for step in range(steps):
        batch = task.sample(population.first.generator, population.recipe.batch)
        network = cast(Network, machine)
        state = first_state(network, batch)
        told = rollout(network.step, state, batch.inputs, view=judging(task, batch)).logits
        bonus = 0.1 * factors["entropy"] * 500 / (500 + step)
        optimizer.zero_grad()
        (task.loss(told, batch) - bonus * task.entropy(told)).backward()
        nn.utils.clip_grad_norm_(machine.parameters(), 0.05)
        optimizer.step()
    return machine


def test_each_machine_is_trained_as_it_would_be_alone() -> None:
    population = Population(recipe(noise=0.0))
    for _ in range(3):
        population.advance()
    for place, machine in enumerate(population.machines):
        expected = alone(Population(recipe(noise=0.0)), place, steps=3)
        # Adam takes its first steps by a gradient's sign, so a rounding can be seen.
        torch.testing.assert_close(
            machine.state_dict(), expected.state_dict(), rtol=1e-3, atol=1e-4
        )


def test_machines_differ_in_weights_and_hyperparameters() -> None:
    population = Population(recipe())
    first = [machine.state_dict()["emit.weight"] for machine in population.machines]
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[1], first[2])
    for name, most in SPREADS.items():
        factors = population.factors[name]
        assert len(set(factors)) == 3
        assert all(1 / most <= factor <= most for factor in factors)
    population.advance()
    rates = [group["lr"] for group in population.optimizer.param_groups]
    assert rates == [0.02 * factor for factor in population.factors["learning_rate"]]


def test_those_of_least_loss_are_measured_as_served_and_the_best_is_kept() -> None:
    population = Population(recipe(population=6))
    population.advance()
    population.advance()
    order = population.lately.argsort()[:4].tolist()
    candidates = population.evaluate()
    assert [candidate.weights for candidate in candidates] == [f"machine {n}" for n in order]
    best = min(candidates, key=lambda candidate: candidate.score)
    assert population.first.best == best
    place = int(best.weights.removeprefix("machine "))
    machine = population.machines[place]
    torch.testing.assert_close(population.best_weights, dict(machine.state_dict()))
    assert machine.training
    machine.eval()
    served = summarise(cast(Network, machine), population.task, population.first.validation[""])
    assert served.wrong_bits == best.wrong_bits


def test_the_card_tells_how_many_came_to_the_target() -> None:
    population = Population(recipe(target=1e9))
    population.advance()
    told = population.told()["population"]
    assert told["machines"] == told["solved"] == 3
    assert set(told["factors"]) == set(SPREADS)
    assert Population(recipe(target=-1.0)).told()["population"]["solved"] == 0


def test_a_population_of_ntms_learns_too() -> None:
    network = NETWORK | {"controller": "feedforward"}
    population = Population(copying(population=2, learning_rate=0.01, network=network))
    before = weights(population)
    population.advance()
    for old, new in zip(before, weights(population), strict=True):
        assert not torch.equal(old["output.weight"], new["output.weight"])


def test_a_restored_population_goes_on_as_if_never_stopped() -> None:
    through = Population(recipe())
    for _ in range(4):
        through.advance()
    halted = Population(recipe())
    for _ in range(2):
        halted.advance()
    state = copy.deepcopy(halted.state())
    resumed = Population(recipe())
    resumed.restore(state)
    for _ in range(2):
        resumed.advance()
    for ours, theirs in zip(weights(resumed), weights(through), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert torch.equal(resumed.lately, through.lately)


@pytest.mark.parametrize(
    "option",
    [{"ema": 0.9}, {"write_cost": 0.1}, {"clip_state": 1.0}, {"start": "model/zoo/access"}],
)
def test_what_a_population_has_not_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"--population goes without {next(iter(option))}"):
        Population(recipe(**option))


@pytest.mark.parametrize("count", [1, -2])
def test_a_population_is_of_two_at_least(count: int) -> None:
    with pytest.raises(ValueError, match="population must be 0, or at least 2"):
        recipe(population=count)


def test_machines_keep_the_memories_they_were_drawn_with() -> None:
    """A buffer is a machine's own too: of alike weights those of other memories differ."""
    network = NETWORK | {"controller": "feedforward", "memory_init": "random"}
    population = Population(copying(population=2, network=network))
    ours, theirs = population.machines
    memory = theirs.state_dict()["bank.initial"].clone()
    theirs.load_state_dict(ours.state_dict())
    population.advance()
    alike = population.lately.clone()
    assert alike[0] == alike[1]
    theirs.load_state_dict(ours.state_dict() | {"bank.initial": memory})
    population.advance()
    assert (population.lately - alike).unique().numel() == 2


def test_numbers_that_are_none_stop_it_before_a_weight_is_touched() -> None:
    population = Population(recipe())
    with torch.no_grad():
        population.machines[1].get_parameter("emit.bias")[0] = torch.nan
    before = weights(population)[2]
    with pytest.raises(NonFiniteError, match="weight emit.bias"):
        population.advance()
    torch.testing.assert_close(weights(population)[2], before, rtol=0, atol=0)


def test_a_run_ends_with_the_best_machine_and_says_so(tmp_path: Path) -> None:
    changes = {"steps": 3, "test_sequences": 2, "test_within": 15, "out": str(tmp_path)}
    run = Run(recipe(**changes))
    assert run.train()
    run.finish("ntm train increment")
    training = json.loads((tmp_path / "card.json").read_bytes())["training"]
    place = int(training["chosen"]["weights"].removeprefix("machine "))
    population = cast(Population, run.trainer)
    told = training["population"]["factors"]["noise"]
    assert told == round(population.factors["noise"][place], 6)
    machine, _ = load(tmp_path)
    kept = cast(nn.Module, machine).state_dict()
    torch.testing.assert_close(kept, population.best_weights)


def test_a_network_that_cannot_be_stepped_side_by_side_is_refused() -> None:
    with pytest.raises(ValueError, match="--population steps no LSTM"):
        Population(copying(population=2))


def test_it_is_not_compiled() -> None:
    with pytest.raises(ValueError, match="no --compile"):
        Population(recipe(compile="on"))
