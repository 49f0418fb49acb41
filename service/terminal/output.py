"""Where `ntm session` prints: JSON for scripts, or what the terminal can show for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np
from rich.console import Console, RenderableType
from rich.text import Text

from service.client import NamedTensor

PIPED_COLUMNS = 120  # where nobody says how wide, and no terminal would cut ids off
BLOCKS = "▀▁▂▃▄▅▆▇█░"


class Output:
    """Standard output. colour: many colours can be told apart; blocks: block characters show."""

    def __init__(self, as_json: bool, console: Console | None = None) -> None:
        self._json = as_json
        wide = sys.stdout.isatty() or "COLUMNS" in os.environ
        self.console = console or Console(
            highlight=False, soft_wrap=False, width=None if wide else PIPED_COLUMNS
        )
        colours = self.console.color_system in ("256", "truecolor", "windows")
        self.colour = colours and not self.console.no_color
        self.blocks = _encodes(self.console.encoding, BLOCKS)

    def show(self, said: Any, view: Callable[[], Iterable[RenderableType]]) -> None:
        """One document, or what it looks like."""
        if self._json:
            print(json_of(said), flush=True)
            return
        for part in view():
            if isinstance(part, str):
                part = Text(part)  # no markup: an id may hold brackets
            self.console.print(part, no_wrap=True, overflow="ignore", crop=False)
        self.console.file.flush()


def json_of(said: Any) -> str:
    """A document of structs, arrays and named tensors. A number that is not finite is null."""
    return msgspec.json.encode(_plain(said)).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, NamedTensor):
        dims, array = value.array.shape, value.array
        return {
            "name": value.name,
            "role": value.role,
            "dims": dims,
            "data": array.ravel().tolist(),
        }
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value


def _encodes(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True
