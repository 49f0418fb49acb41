"""An event as a line, and the heads' weights under it where they were asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from service.client import Event
from service.terminal import heat_map, memory_view
from service.terminal.output import Output

HUES = {
    "created": "green", "stepped": "cyan", "forked": "magenta", "snapshotted": "magenta",
    "missed": "red", "expired": "red", "deleted": "red", "ended": "red", "replaced": "red",
}  # fmt: skip
SHOWN_ROWS = 8
TOLD = ("step", "revision", "inputs", "outputs", "weights", "usage")


def line(event: Event, output: Output) -> Iterator[RenderableType]:
    """When, what, where it stands, and whatever else it says."""
    data = event.data
    head = Text.assemble((time.strftime("%H:%M:%S  "), "dim"))
    head.append(f"{event.name:<11}", HUES.get(event.name, "yellow"))
    if "step" in data:
        head.append(f"  step {data['step']}")
    head.append(f"  revision {data['revision']}" if "revision" in data else "", "dim")
    for name, value in data.items():
        if name not in TOLD:
            rows = f"  {value} row" + ("" if value == 1 else "s")
            head.append(rows if name == "rows" else f"  {name} {value}", "dim")
    yield head
    if "outputs" in data:
        yield from _rows(data["outputs"], output)
    heads = {**(data.get("weights") or {}), **(data.get("usage") or {})}
    if heads:
        yield from memory_view.brief(heads.values(), output)


def _rows(outputs: Any, output: Output) -> Iterator[RenderableType]:
    most = heat_map.largest(outputs)
    for row in outputs[:SHOWN_ROWS]:
        strip = heat_map.matrix(row[None], most, output.colour and output.blocks)
        yield Text(" " * 10).append_text(next(strip))
    if len(outputs) > SHOWN_ROWS:
        yield Text(f"{'':10}and {len(outputs) - SHOWN_ROWS} rows more", "dim")
