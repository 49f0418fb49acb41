"""The tasks by name: one file each, and one line here."""

from collections.abc import Callable

from model.tasks.copy import Copy
from model.tasks.task import Batch, Measures, Task

__all__ = ["TASKS", "Batch", "Measures", "Task", "make_task"]

TASKS: dict[str, Callable[[], Task]] = {"copy": Copy}


def make_task(name: str) -> Task:
    """The task called `name`. Raises ValueError, naming those there are, for another."""
    if name not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {name!r}")
    return TASKS[name]()
