"""The tasks by name: one file each, and one line here."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import msgspec

from model.tasks.associative_recall import AssociativeRecall
from model.tasks.copy import Copy
from model.tasks.few_shot import FewShot
from model.tasks.graph_paths import GraphPaths
from model.tasks.ngram import NGram
from model.tasks.priority_sort import PrioritySort
from model.tasks.program_task import (
    ProgramTask,
    bubble_sort,
    recursive_addition,
    recursive_bubble_sort,
)
from model.tasks.repeat_copy import RepeatCopy
from model.tasks.tape_problems import PROBLEMS
from model.tasks.tape_task import TapeTask
from model.tasks.task import Batch, HeldOut, Measures, Task

__all__ = ["TASKS", "Batch", "Measures", "Task", "make_task"]

TASKS: dict[str, Callable[[], Task]] = {
    "copy": Copy,
    "repeat-copy": RepeatCopy,
    "associative-recall": AssociativeRecall,
    "ngram": NGram,
    "priority-sort": PrioritySort,
    "graph-paths": GraphPaths,
    "addition": ProgramTask,
    "recursive-addition": recursive_addition,
    "bubble-sort": bubble_sort,
    "recursive-bubble-sort": recursive_bubble_sort,
    **{name: partial(TapeTask, name) for name in PROBLEMS},
    "few-shot": FewShot,
    "few-shot-pairs": partial(FewShot, told="with", name="few-shot-pairs"),
}


def make_task(name: str, unit: str | None = None, data: str = "") -> Task:
    """The task called `name`, lengths counted in `unit` and made of the data in the folder `data`
    where these are given.

    Raises ValueError, naming those there are, for another name or unit, and for a folder where the
    task is made of no data.
    """
    if name not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {name!r}")
    task = TASKS[name]()
    if data:
        if not isinstance(task, HeldOut):
            raise ValueError(f"{name} is made of no data, got {data!r}")
        task = cast(Task, msgspec.structs.replace(cast(Any, task), data=data))
    if unit is None:
        return task
    if unit not in task.units:
        raise ValueError(f"unit of {name} must be one of {', '.join(task.units)}, got {unit!r}")
    return cast(Task, msgspec.structs.replace(cast(Any, task), unit=unit))
