"""The metrics of a run: a file with one JSON object a line and, where asked for, TensorBoard's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

Scalars = Callable[[str, float, int], None]  # name, value, step


class MetricsLog:
    """Appends to `path`. A resumed run first drops the lines written after its checkpoint.

    path: None writes nothing, for processes of which another one writes.
    tensorboard: folder of an event file that gets the numbers too; None: none.
    """

    def __init__(self, path: Path | None, step: int, tensorboard: Path | None = None) -> None:
        self.file = None if path is None else _continued(path, step)
        self.events: Any = None if tensorboard is None else _events(tensorboard, step)

    def write(self, **fields: Any) -> None:
        """One line, flushed, so that it can be followed."""
        if self.file is not None:
            self.file.write(json.dumps(fields) + "\n")
            self.file.flush()
        if self.events is not None:
            _add_scalars(self.events.add_scalar, fields)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()
        if self.events is not None:
            self.events.close()


def _events(folder: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # slow to import: only where asked for

    return SummaryWriter(str(folder), purge_step=step + 1)


def _add_scalars(add: Scalars, fields: dict[str, Any]) -> None:
    """Every number of a line, as kind/name or, for one set of weights, kind/weights/name."""
    group = "/".join(fields[name] for name in ("kind", "weights") if name in fields)
    for name, value in fields.items():
        if isinstance(value, int | float) and name not in ("step", "sequences"):
            add(f"{group}/{name}", float(value), fields["step"])
    for length, value in fields.get("selected", {}).items():
        add(f"{group}/wrong_bits/{length}", float(value), fields["step"])


def _continued(path: Path, step: int) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [line for line in _lines(path) if json.loads(line)["step"] <= step]
    file = path.open("w", encoding="utf-8")
    file.writelines(kept)
    return file


def _lines(path: Path) -> list[str]:
    """The whole lines of the file; a crash may have cut the last one short."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines(True) if line[-1] == "\n"]
