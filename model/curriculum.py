"""From easier stages of a task to the whole of it."""

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
        self.stage, self.steps, self.total = 0, 0, 0.0

    def sample(self, generator: Generator, batch: int) -> Batch:
        """`batch` sequences of the stage reached."""
        task = self.stages[self.stage]
        return sample_mixed(task, generator, batch) if self.mixed else task.sample(generator, batch)

    def note(self, loss: float) -> None:
        """Takes the loss of one step, and goes on to the next stage where it is time."""
        self.steps, self.total = self.steps + 1, self.total + loss
        if self.steps < STAGE_STEPS:
            return
        if self.total / self.steps < self.threshold and self.stage + 1 < len(self.stages):
            self.stage += 1
        self.steps, self.total = 0, 0.0

    def state(self) -> dict[str, float]:
        """All that decides what `sample` draws next."""
        return {"stage": self.stage, "steps": self.steps, "total": self.total}

    def restore(self, state: dict[str, float]) -> None:
        """Takes over what `state` gave."""
        self.stage, self.steps = int(state["stage"]), int(state["steps"])
        self.total = state["total"]
