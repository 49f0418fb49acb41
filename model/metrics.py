"""The metrics file of a run: one JSON object a line."""

import json
from pathlib import Path
from typing import Any


class MetricsLog:
    """Appends to `path`. A resumed run first drops the lines written after its checkpoint."""

    def __init__(self, path: Path, step: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= step]
        self.file = path.open("w", encoding="utf-8")
        self.file.writelines(kept)

    def write(self, **fields: Any) -> None:
        """One line, flushed, so that it can be followed."""
        self.file.write(json.dumps(fields) + "\n")
        self.file.flush()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def _lines(path: Path) -> list[str]:
    """The whole lines of the file; a crash may have cut the last one short."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines(True) if line[-1] == "\n"]
