"""One training run over time: a step, an evaluation, and the state that continues it exactly."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import torch
from torch import Tensor, nn

from model import distributed
from model.curriculum import Curriculum
from model.evaluation import summarise
from model.families import Network, build
from model.guard import NonFiniteError, find_nonfinite
from model.recipe import Recipe, fading, learning_rate_at, make_optimizer
from model.rollout import Rollout, Taught, TrainingStep, first_state, judging, rollout
from model.sighted import Sighted
from model.tasks import Batch, make_task
from model.tasks.task import SELECTION_SEED, VALIDATION_SEED, Judged, Undecided, drawn_for
from model.transfer import take_over

VALIDATION_BATCH = 8  # small, so that the validation set holds many lengths
# Steps until what eases the search at first is down to half of itself.
NOISE_FADES, ENTROPY_FADES = 1000.0, 500.0
WINDOW = ("loss", "wrong_bits", "cross_entropy_bits", "gradient_norm")


class Candidate(msgspec.Struct, frozen=True):
    """What one set of weights made of the validation sets; wrong bits are a sequence's mean."""

    weights: str  # "last" or "average", or which machine of a population
    step: int
    wrong_bits: float  # at the lengths of training
    cross_entropy_bits: float
    selected: dict[str, float]  # wrong bits by the lengths of --select-lengths
    # Summed over all sets, what the task is judged by first, then the other: less is better.
    score: tuple[float, float]


class Trainer:
    """Owns network, average, optimizer and data generator. Raises ValueError for a bad recipe."""

    def __init__(self, recipe: Recipe, notify: Callable[[str], None] = print) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, torch.device(distributed.own_device(recipe.device))
        self.task = make_task(recipe.task, data=recipe.data)
        self.curriculum = Curriculum(self.task, recipe.curriculum, recipe.mixed)
        self.network = build(recipe.family, recipe.network).to(self.device)
        if recipe.start:
            taken = take_over(self.network, recipe.family, Path(recipe.start))
            notify(f"begins with {len(taken)} weights of {recipe.start}")
        self.average = copy.deepcopy(self.network) if recipe.ema else None
        self.optimizer = make_optimizer(recipe, self.network)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        rows = distributed.own_share(recipe.batch)
        mode = recipe.compile
        if isinstance(self.task, Judged):
            notify("a first state decides the sizes of this task's steps: training runs eagerly")
            mode = "off"
        stepped = self.network.inner if isinstance(self.network, Sighted) else self.network
        self.forward = TrainingStep(cast(Network, stepped), rows, mode, notify)
        self.memory = self._memory_place() if recipe.write_cost else None
        if recipe.entropy and not isinstance(self.task, Undecided):
            raise ValueError(f"entropy: {recipe.task} does not tell how undecided a network is")
        self.step, self.streak = 0, 0
        self.window = torch.zeros(len(WINDOW) + 1, dtype=torch.float64)
        self.best: Candidate | None = None
        self.best_weights: dict[str, Tensor] = {}
        self.validation = self._validation_sets()

    def advance(self) -> None:
        """One optimiser step. Raises NonFiniteError before the weights are touched by it."""
        self.step += 1
        rate = learning_rate_at(self.recipe, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        drawn = self.curriculum.sample(self.generator, self.recipe.batch)
        batch = distributed.share(drawn).to(self.device)
        inputs, more = self._seen(batch)
        logits, change = self._run(batch, inputs)
        answer = self.task.loss(logits, batch)
        loss = answer + more + self.recipe.write_cost * change
        if isinstance(self.task, Undecided):
            bonus = self.recipe.entropy * fading(self.step, ENTROPY_FADES)
            loss = loss - bonus * self.task.entropy(logits)
        self.optimizer.zero_grad()
        loss.backward()
        told = self._told(loss.detach(), answer.detach(), logits.detach(), batch)
        distributed.average([*self._gradients(), told])
        norm = self._clip(told[0], batch)
        self._add_noise()
        self.optimizer.step()
        self._follow_average()
        self.curriculum.note(told[-1].item())
        self.window += torch.stack([*told[:-1], norm, torch.ones_like(norm)]).cpu().double()

    def evaluate(self) -> list[Candidate]:
        """The weights (and their average) as `keep` finds them."""
        kept = [("last", self.network)]
        if self.average is not None:
            kept.append(("average", self.average))
        return self.keep(kept)

    def keep(self, kept: Sequence[tuple[str, nn.Module]]) -> list[Candidate]:
        """Measures networks by their names, and keeps the best met so far."""
        candidates = [self.measure(name, network) for name, network in kept]
        for candidate, (_, network) in zip(candidates, kept, strict=True):
            if self.best is None or candidate.score < self.best.score:
                self.best = candidate
                self.best_weights = _copy_of(network)
        judged = [getattr(candidate, self.task.judged_by) for candidate in candidates]
        solved = min(judged) <= self.recipe.target
        self.streak = self.streak + 1 if solved else 0
        return candidates

    def choose(self) -> Candidate:
        """The best candidate so far, the weights of this very step among them."""
        if self.best is None or self.step % self.recipe.eval_every:
            self.evaluate()
        return cast(Candidate, self.best)

    @property
    def finished(self) -> bool:
        """All steps made, or solved for as many evaluations in a row as patience asks."""
        patient = 0 < self.recipe.patience <= self.streak
        return patient or self.step >= self.recipe.steps

    def told(self) -> dict[str, Any]:
        """What a card tells of the training besides."""
        return {}

    def drain_window(self) -> dict[str, float]:
        """Means over the steps since the last call, by name."""
        sums = self.window.tolist()
        self.window.zero_()
        return {name: value / max(sums[-1], 1) for name, value in zip(WINDOW, sums, strict=False)}

    def state(self) -> dict[str, Any]:
        """All that decides the next step, as data for `save_checkpoint`."""
        return {
            "step": self.step,
            "streak": self.streak,
            "window": self.window,
            "network": self.network.state_dict(),
            "average": {} if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "curriculum": self.curriculum.state(),
            "random": torch.get_rng_state(),
            "best": None if self.best is None else msgspec.to_builtins(self.best),
            "best_weights": self.best_weights,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave, of a trainer with the same recipe."""
        self.step, self.streak = state["step"], state["streak"]
        self.window.copy_(state["window"])
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"])
        if "curriculum" in state:
            self.curriculum.restore(state["curriculum"])
        best = state["best"]
        self.best = None if best is None else msgspec.convert(best, Candidate)
        self.best_weights = dict(state["best_weights"])

    def _seen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The rows as what is stepped takes them, and the loss of what looks at them first."""
        if not isinstance(self.network, Sighted):
            return batch.inputs, batch.inputs.new_zeros(())
        seen = self.network.look(batch.inputs)
        return seen, self.network.likeness_loss(seen, batch)

    def _run(self, batch: Batch, inputs: Tensor) -> Rollout:
        """Logits, and the memory's change where it costs something, of a training batch."""
        if isinstance(self.network, Taught):
            return Rollout(self.network.taught(inputs), inputs.new_zeros(()))
        state = first_state(cast(Network, self.network), batch)
        self.forward.begin()
        view, clip = judging(self.task, batch), self.recipe.clip_state
        return rollout(self.forward, state, inputs, self.memory, view, clip)

    def _memory_place(self) -> int:
        roles = [tensor.role for tensor in cast(Network, self.network).state_spec]
        if "memory" not in roles:
            raise ValueError(f"write_cost: a {self.recipe.family} has no memory to write")
        return roles.index("memory")

    def _told(self, loss: Tensor, answer: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Loss, wrong bits, cross-entropy bits, and the loss without the cost of writing."""
        wrong, bits = self.task.measures(logits, batch)
        return torch.stack([loss, wrong.mean(), bits.mean(), answer])

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self.network.parameters() if p.grad is not None]

    def _clip(self, loss: Tensor, batch: Batch) -> Tensor:
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(self._gradients())
        if not bool(torch.isfinite(norm) & torch.isfinite(loss)):
            raise NonFiniteError(self.step, find_nonfinite(self.network, batch))
        nn.utils.clip_grads_with_norm_(parameters, self.recipe.clip, norm)
        return norm

    @torch.no_grad()
    def _add_noise(self) -> None:
        """Gaussian noise on each gradient, after Neelakantan et al. 2015 (arXiv 1511.06807)."""
        if self.recipe.noise:
            deviation = self.recipe.noise * fading(self.step, NOISE_FADES)
            for gradient in self._gradients():
                gradient += torch.randn_like(gradient) * deviation

    @torch.no_grad()
    def _follow_average(self) -> None:
        if self.average is None:
            return
        # Early weights are far off, so the average starts short and grows to its full reach.
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        weights = zip(self.average.parameters(), self.network.parameters(), strict=True)
        for mean, value in weights:
            mean.lerp_(value, 1 - decay)

    def _validation_sets(self) -> dict[str, list[Batch]]:
        recipe, task = self.recipe, drawn_for(self.task, "validation")
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        count = -(-recipe.eval_sequences // VALIDATION_BATCH)
        sets = {"": [task.sample(generator, VALIDATION_BATCH) for _ in range(count)]}
        for length in recipe.select_lengths:
            generator = torch.Generator().manual_seed(SELECTION_SEED + length)
            sets[str(length)] = [task.at_length(generator, recipe.select_sequences, length)]
        return sets

    def measure(self, weights: str, network: nn.Module) -> Candidate:
        """What `network` makes of the validation sets."""
        results = {
            name: summarise(cast(Network, network), self.task, batches)
            for name, batches in self.validation.items()
        }
        wrong = sum(result.wrong_bits for result in results.values())
        bits = sum(result.cross_entropy_bits for result in results.values())
        score = (wrong, bits) if self.task.judged_by == "wrong_bits" else (bits, wrong)
        here = results.pop("")
        selected = {name: result.wrong_bits for name, result in results.items()}
        return Candidate(
            weights, self.step, here.wrong_bits, here.cross_entropy_bits, selected, score
        )


def _copy_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
