"""An event as a line, and the heads' weights under it where they were asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from service.client import Event, NamedTensor
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
    head = Text(time.strftime("%H:%M:%S  "), "dim")
    head.append(f"{event.name:<11}", HUES.get(event.name, "yellow"))
    if "step" in data:
        head.append(f"  step {data['step']}")
    head.append(f"  revision {data['revision']}" if "revision" in data else "", "dim")
    for name, value in data.items():
        if name not in TOLD:
            head.append(f"  {value} rows" if name == "rows" else f"  {name} {value}", "dim")
    yield head
    if "outputs" in data:
        yield from _rows(data["outputs"], output)
    heads = {**(data.get("weights") or {}), **(data.get("usage") or {})}
    if heads:
        yield from _heads(list(heads.values()), output)


def _rows(outputs: Any, output: Output) -> Iterator[RenderableType]:
    most = heat_map.largest(outputs)
    for row in outputs[:SHOWN_ROWS]:
        strip = heat_map.matrix(row[None], most, output.colour and output.blocks)
        yield Text(" " * 10).append_text(next(strip))
    if len(outputs) > SHOWN_ROWS:
        yield Text(f"{'':10}and {len(outputs) - SHOWN_ROWS} rows more", "dim")


def _heads(tensors: list[NamedTensor], output: Output) -> Iterator[RenderableType]:
    """One line a head, as wide as the terminal: the weights' largest of each column."""
    width = max(output.console.width - memory_view.MARGIN - 20, 8)
    for name, role, array in tensors:
        for row in np.atleast_2d(array):
            part = heat_map.pooled(row[None], width)[0][0]
            most = heat_map.largest(row)
            text = Text(f"{name[:14]:>14}  ", "dim")
            text.append(heat_map.bars(part, most, output.blocks), memory_view.HUES.get(role, ""))
            yield text.append(f"  {most:.2f} at {int(np.nan_to_num(row).argmax())}", "dim")
