"""From easier stages of a task to the whole of it."""

from typing import Any

from torch import Generator

from model.tasks import Batch, Task
from model.tasks.task import sample_mixed

STAGE_STEPS = 50  # a stage is judged by the mean loss of as many steps


class Curriculum:
    """Owns which stage of a task is trained on; `threshold` 0 trains on the whole task at once.

    A stage ends once the mean loss of STAGE_STEPS steps in a row, nats a scored bit, is below
    `threshold`. mixed: each sequence of a batch has a length of its own.
    """

    def __init__(self, task: Task, threshold: float, mixed: bool) -> None:
        self.stages = task.stages if threshold else (task,)
        self.threshold, self.mixed = threshold, mixed
        self.stage, self.steps = 0, 0
        self.totals: list[float] = []

    def sample(self, generator: Generator, batch: int) -> Batch:
        """`batch` sequences of the stage reached."""
        task = self.stages[self.stage]
        return sample_mixed(task, generator, batch) if self.mixed else task.sample(generator, batch)

    def note(self, *losses: float) -> None:
        """Takes the loss of one step, of a population that of each network, always in one order,
        and goes on to the next stage where it is time for the best of them."""
        before = self.totals or [0.0] * len(losses)
        self.totals = [total + loss for total, loss in zip(before, losses, strict=True)]
        self.steps += 1
        if self.steps < STAGE_STEPS:
            return
        best = min(self.totals) / self.steps
        if best < self.threshold and self.stage + 1 < len(self.stages):
            self.stage += 1
        self.steps, self.totals = 0, []

    def state(self) -> dict[str, Any]:
        """All that decides what `sample` draws next."""
        return {"stage": self.stage, "steps": self.steps, "totals": self.totals}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what `state` gave."""
        self.stage, self.steps = state["stage"], state["steps"]
        self.totals = list(state["totals"])
