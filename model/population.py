"""`ntm train --population K`: networks trained side by side, the best of which is kept.

Where few first weights lead to a program, as for the Neural Random-Access Machine, its paper draws
many sets of hyperparameters and seeds (Kurach et al. 2016, section 4). One step of K machines
costs little more than one of a single machine, whose tensors are small.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import torch
from torch import Tensor, nn

from model.distributed import processes
from model.families import Network, build
from model.guard import NonFiniteError, find_nonfinite
from model.recipe import Recipe, fading, learning_rate_at, make_optimizer
from model.rollout import first_state, judging, rollout
from model.tasks import Batch, Task
from model.tasks.task import Undecided
from model.trainer import ENTROPY_FADES, NOISE_FADES, Candidate, Trainer

# A machine's own value is up to so many times the recipe's or as small a part of it.
SPREADS = {"learning_rate": 3.0, "entropy": 5.0, "noise": 10.0}
LOOKED_AT = 4  # machines that an evaluation measures: those of least loss of late
MACHINE = "machine "
WITHOUT = ("write_cost", "ema", "clip_state", "start")  # of a recipe: a population has none


class Population(Trainer):
    """K networks of one recipe, each with first weights and hyperparameters of its own, and all
    with the same batches. The best of late decides when the task gets harder.

    Raises ValueError for a bad recipe, and for what a population has not.
    """

    def __init__(self, recipe: Recipe, notify: Callable[[str], None] = print) -> None:
        if processes() > 1:
            raise ValueError("--population trains in one process: start one a device instead")
        if used := [name for name in WITHOUT if getattr(recipe, name)]:
            raise ValueError(f"--population goes without {', '.join(used)}")
        super().__init__(msgspec.structs.replace(recipe, compile="off"), notify)
        if any(isinstance(part, nn.LSTMCell) for part in self.network.modules()):
            raise ValueError(
                "--population steps no LSTM, for vmap has none: --controller feedforward"
            )
        others = [build(recipe.family, recipe.network) for _ in range(recipe.population - 1)]
        self.machines = [self.network, *(other.to(self.device) for other in others)]
        self.optimizer = make_optimizer(recipe, *self.machines)
        self.factors = {name: _drawn(len(self.machines), most) for name, most in SPREADS.items()}
        self.lately = torch.zeros(len(self.machines), dtype=torch.float64)

    def advance(self) -> None:
        """One optimiser step of every machine. Raises NonFiniteError before any is touched."""
        self.step += 1
        rate = learning_rate_at(self.recipe, self.step)
        for group, factor in zip(
            self.optimizer.param_groups, self.factors["learning_rate"], strict=True
        ):
            group["lr"] = rate * factor
        batch = self.curriculum.sample(self.generator, self.recipe.batch).to(self.device)
        answers, entropies, told = self._side_by_side(batch)
        bonus = self.recipe.entropy * fading(self.step, ENTROPY_FADES)
        factors = torch.tensor(self.factors["entropy"], device=self.device)
        losses = answers - bonus * factors * entropies
        self.optimizer.zero_grad()
        losses.sum().backward()
        norms = [self._clip_one(machine, batch) for machine in self.machines]
        self._add_noise()
        self.optimizer.step()
        self._note(answers.detach(), losses.detach(), told.detach(), norms)

    def evaluate(self) -> list[Candidate]:
        """Measures the machines of least loss since the last time, as they will be served."""
        found = self.lately.argsort()[:LOOKED_AT].tolist()
        self.lately.zero_()
        return self._keep([(f"{MACHINE}{place}", self.machines[place]) for place in found])

    def told(self) -> dict[str, Any]:
        """How many machines there are and how many came to the target, served, at the lengths of
        training; the hyperparameters of the best, as parts of the recipe's."""
        measured = [self._measure("", machine) for machine in self.machines]
        judged = [getattr(candidate, self.task.judged_by) for candidate in measured]
        best = int(self.choose().weights.removeprefix(MACHINE))
        own = {name: round(factors[best], 6) for name, factors in self.factors.items()}
        solved = sum(value <= self.recipe.target for value in judged)
        return {"population": {"machines": len(judged), "solved": solved, "factors": own}}

    def state(self) -> dict[str, Any]:
        """See `Trainer`; the machines' weights besides."""
        machines = [machine.state_dict() for machine in self.machines]
        more = {"machines": machines, "factors": self.factors, "lately": self.lately}
        return {**super().state(), **more}

    def restore(self, state: dict[str, Any]) -> None:
        """See `Trainer`."""
        super().restore(state)
        for machine, weights in zip(self.machines, state["machines"], strict=True):
            machine.load_state_dict(weights)
        self.factors = state["factors"]
        self.lately.copy_(state["lately"])

    def _side_by_side(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of each machine the loss (K,), the entropy (K,), and wrong and cross-entropy bits (K, 2),
        means over the batch."""
        sequence = _Sequence(cast(Network, self.network), self.task)
        weights = _stacked([nn.ModuleDict({"network": machine}) for machine in self.machines])

        def run(own: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
            return torch.func.functional_call(sequence, own, (batch,))

        return torch.vmap(run)(weights)

    def _measure(self, weights: str, network: nn.Module) -> Candidate:
        network.eval()
        try:
            return super()._measure(weights, network)
        finally:
            network.train()

    def _clip_one(self, machine: nn.Module, batch: Batch) -> Tensor:
        parameters = list(machine.parameters())
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        if not torch.isfinite(norm):
            raise NonFiniteError(self.step, find_nonfinite(machine, batch))
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
        """What the log tells is of the machine that did best in this step."""
        self.lately += answers.cpu()
        self.curriculum.note(*answers.tolist())
        best = int(answers.argmin())
        row = [losses[best], *told[best], norms[best], torch.ones_like(norms[best])]
        self.window += torch.stack(row).cpu().double()


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


def _stacked(modules: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Each parameter of all of them as one (K, *dims), whose gradient comes to each its own."""
    each = [dict(module.named_parameters()) for module in modules]
    return {name: torch.stack([own[name] for own in each]) for name in each[0]}


def _drawn(count: int, most: float) -> list[float]:
    """Factors, their logarithm uniform between those of 1 / most and most."""
    return (math.log(most) * (2 * torch.rand(count) - 1)).exp().tolist()
