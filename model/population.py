"""`ntm train --population K`: networks trained side by side, the best of which is kept.

Where few first weights lead to a program, as for the Neural Random-Access Machine, its paper draws
many sets of hyperparameters and seeds (Kurach et al. 2016, section 4). One step of K machines
costs little more than one of a single machine, whose tensors are small.
"""

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import torch
from torch import Tensor, nn

from model.distributed import processes
from model.families import Network, build
from model.guard import NonFiniteError, find_nonfinite
from model.recipe import Recipe, fading, learning_rate_at, make_optimizer
from model.rollout import first_state, judging, rollout
from model.sighted import Sighted
from model.tasks import Batch, Task
from model.tasks.task import Undecided
from model.trainer import ENTROPY_FADES, NOISE_FADES, Candidate, Trainer

# A machine's own value is up to so many times the recipe's or as small a part of it.
SPREADS = {"learning_rate": 3.0, "entropy": 5.0, "noise": 10.0}
LOOKED_AT = 4  # machines that an evaluation measures: those of least loss of late
MACHINE = "machine "
WITHOUT = ("write_cost", "ema", "clip_state", "start")  # of a recipe: a population has none


class Population:
    """K networks of one recipe, each with first weights and hyperparameters of its own, and all
    with the same batches. The best of late decides when the task gets harder. A run takes it in
    the place of a `Trainer`, of which it has one, that of the first machine, for all they share.

    Raises ValueError for a bad recipe, and for what a population has not.
    """

    def __init__(self, recipe: Recipe, notify: Callable[[str], None] = print) -> None:
        if processes() > 1:
            raise ValueError("--population trains in one process: start one a device instead")
        if used := [name for name in WITHOUT if getattr(recipe, name)]:
            raise ValueError(f"--population goes without {', '.join(used)}")
        if recipe.compile in ("on", "graphs"):
            raise ValueError("--population is stepped by vmap, which is not compiled: no --compile")
        self.recipe = recipe
        self.first = Trainer(msgspec.structs.replace(recipe, compile="off"), notify)
        _require_steppable(self.first.network)
        others = [build(recipe.family, recipe.network) for _ in range(recipe.population - 1)]
        others = [other.to(self.first.device) for other in others]
        self.machines = [self.first.network, *others]
        self.optimizer = self.first.optimizer = make_optimizer(recipe, *self.machines)
        self.factors = {name: _drawn(len(self.machines), most) for name, most in SPREADS.items()}
        self.lately = torch.zeros(len(self.machines), dtype=torch.float64)

    @property
    def step(self) -> int:
        """Optimiser steps made."""
        return self.first.step

    @property
    def task(self) -> Task:
        """What is trained on."""
        return self.first.task

    @property
    def best_weights(self) -> dict[str, Tensor]:
        """See `Trainer`."""
        return self.first.best_weights

    @property
    def finished(self) -> bool:
        """See `Trainer`."""
        return self.first.finished

    def advance(self) -> None:
        """One optimiser step of every machine. Raises NonFiniteError before any is touched."""
        self.first.step += 1
        rate = learning_rate_at(self.recipe, self.step)
        for group, factor in zip(
            self.optimizer.param_groups, self.factors["learning_rate"], strict=True
        ):
            group["lr"] = rate * factor
        drawn = self.first.curriculum.sample(self.first.generator, self.recipe.batch)
        batch = drawn.to(self.first.device)
        answers, entropies, told = self._side_by_side(batch)
        bonus = self.recipe.entropy * fading(self.step, ENTROPY_FADES)
        losses = answers - bonus * torch.tensor(self.factors["entropy"]).to(answers) * entropies
        self.optimizer.zero_grad()
        losses.sum().backward()
        each = zip(self.machines, losses.detach(), strict=True)
        norms = [self._clip(machine, loss, batch) for machine, loss in each]
        self._add_noise()
        self.optimizer.step()
        self._note(answers.detach(), losses.detach(), told.detach(), norms)

    def evaluate(self) -> list[Candidate]:
        """Measures the machines of least loss since the last time, as they will be served."""
        found = self.lately.argsort()[:LOOKED_AT].tolist()
        self.lately.zero_()
        kept = [(f"{MACHINE}{place}", self.machines[place]) for place in found]
        with _served(self.machines):
            return self.first.keep(kept)

    def choose(self) -> Candidate:
        """The best candidate so far, those of this very step among them."""
        if self.first.best is None or self.lately.any():
            self.evaluate()
        return cast(Candidate, self.first.best)

    def told(self) -> dict[str, Any]:
        """How many machines there are and how many came to the target, served, at the lengths of
        training; the hyperparameters of the best, as parts of the recipe's."""
        best = int(self.choose().weights.removeprefix(MACHINE))
        with _served(self.machines):
            measured = [self.first.measure("", machine) for machine in self.machines]
        judged = [getattr(candidate, self.task.judged_by) for candidate in measured]
        own = {name: round(factors[best], 6) for name, factors in self.factors.items()}
        solved = sum(value <= self.recipe.target for value in judged)
        return {"population": {"machines": len(judged), "solved": solved, "factors": own}}

    def drain_window(self) -> dict[str, float]:
        """See `Trainer`; of the machine that did best in each step."""
        return self.first.drain_window()

    def state(self) -> dict[str, Any]:
        """See `Trainer`; the machines' weights besides."""
        machines = [machine.state_dict() for machine in self.machines]
        more = {"machines": machines, "factors": self.factors, "lately": self.lately}
        return {**self.first.state(), **more}

    def restore(self, state: dict[str, Any]) -> None:
        """See `Trainer`."""
        self.first.restore(state)
        for machine, weights in zip(self.machines, state["machines"], strict=True):
            machine.load_state_dict(weights)
        self.factors = state["factors"]
        self.lately.copy_(state["lately"])

    def _side_by_side(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of each machine the loss (K,), the entropy (K,), and wrong and cross-entropy bits (K, 2),
        means over the batch."""
        sequence = _Sequence(cast(Network, self.first.network), self.task)

        def run(own: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
            return torch.func.functional_call(sequence, own, (batch,))

        return torch.vmap(run)(_stacked(self.machines))

    def _clip(self, machine: nn.Module, loss: Tensor, batch: Batch) -> Tensor:
        parameters = [p for p in machine.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([cast(Tensor, p.grad) for p in parameters])
        if not bool(torch.isfinite(norm) & torch.isfinite(loss)):
            raise NonFiniteError(self.step, find_nonfinite(machine, batch))
        nn.utils.clip_grads_with_norm_(parameters, self.recipe.clip, norm)
        return norm

    @torch.no_grad()
    def _add_noise(self) -> None:
        deviation = self.recipe.noise * fading(self.step, NOISE_FADES)
        if not deviation:
            return
        for machine, factor in zip(self.machines, self.factors["noise"], strict=True):
            for gradient in (p.grad for p in machine.parameters() if p.grad is not None):
                gradient += torch.randn_like(gradient) * (deviation * factor)

    def _note(self, answers: Tensor, losses: Tensor, told: Tensor, norms: list[Tensor]) -> None:
        self.lately += answers.cpu()
        self.first.curriculum.note(*answers.tolist())
        best = int(answers.argmin())
        row = [losses[best], *told[best], norms[best], torch.ones_like(norms[best])]
        self.first.window += torch.stack(row).cpu().double()


class _Sequence(nn.Module):
    """A network over a batch, as `vmap` calls it: with weights of another machine's."""

    def __init__(self, network: Network, task: Task) -> None:
        super().__init__()
        self.network, self.task = cast(nn.Module, network), task

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, the entropy, and the mean of each measure (2,)."""
        network, task = cast(Network, self.network), self.task
        state = first_state(network, batch)
        logits = rollout(network.step, state, batch.inputs, view=judging(task, batch)).logits
        entropy = task.entropy(logits) if isinstance(task, Undecided) else logits.new_zeros(())
        measured = torch.stack([measure.mean() for measure in task.measures(logits, batch)])
        return task.loss(logits, batch), entropy, measured


@contextmanager
def _served(machines: Sequence[nn.Module]) -> Generator[None]:
    """The machines as they are outside of training."""
    for machine in machines:
        machine.eval()
    try:
        yield
    finally:
        for machine in machines:
            machine.train()


def _require_steppable(network: nn.Module) -> None:
    """Raises ValueError for a network that vmap cannot step, or that is more than its steps."""
    if isinstance(network, Sighted):
        raise ValueError("--population goes without --sighted")
    if any(isinstance(part, nn.LSTMCell) for part in network.modules()):
        raise ValueError("--population steps no LSTM, for vmap has none: --controller feedforward")


def _stacked(machines: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Each parameter and buffer of all of them as one (K, *dims), by its name in `_Sequence`. The
    gradient of a parameter comes to each machine's own."""
    each = [
        dict(machine.named_parameters()) | dict(machine.named_buffers()) for machine in machines
    ]
    return {f"network.{name}": torch.stack([own[name] for own in each]) for name in each[0]}


def _drawn(count: int, most: float) -> list[float]:
    """Factors, their logarithm uniform between those of 1 / most and most."""
    return (math.log(most) * (2 * torch.rand(count) - 1)).exp().tolist()
