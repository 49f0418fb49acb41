"""Sessions and rows as tables."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from service.client import SessionInfo, Stepped
from service.terminal import heat_map, memory_view
from service.terminal.output import Output

TIERS = {"device": "green", "host": "yellow", "store": "blue"}


def session(info: SessionInfo) -> Iterator[RenderableType]:
    """One session, its members under each other."""
    yield info.id
    table = Table.grid(padding=(0, 2))
    for name, value in _members(info):
        table.add_row(Text(f"  {name}", "dim"), value)
    yield table


def sessions(found: Sequence[SessionInfo]) -> Iterator[RenderableType]:
    """Many, one a line."""
    if not found:
        yield Text("no sessions", "dim")
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    for name in ("session", "model", "step", "revision", "state", "bytes", "idle", "ends in"):
        right = name in ("step", "revision", "bytes", "idle", "ends in")
        whole = max(len(info.id) for info in found) if name == "session" else None  # to be copied
        table.add_column(name, justify="right" if right else "left", no_wrap=True, min_width=whole)
    now = time.time()
    for info in found:
        table.add_row(
            Text(info.id, "bold"),
            Text(f"{info.model} {info.version}", "cyan"),
            str(info.step),
            str(info.revision),
            Text(info.tier, TIERS.get(info.tier, "")),
            f"{info.state_bytes:,}",
            duration(now - info.committed_at),
            duration(info.expires_at - now),
        )
    yield table
    yield Text(f"{len(found)} session" + ("" if len(found) == 1 else "s"), "dim")


def stepped(done: Stepped, output: Output) -> Iterator[RenderableType]:
    """Output rows: the step, the row as colour, its numbers."""
    most = heat_map.largest(done.outputs)
    begin = done.step - len(done.outputs)
    width = len(str(done.step))
    for number, row in enumerate(done.outputs, begin + 1):
        line = Text.assemble((f"{number:>{width}}  ", "dim"))
        for value in row:
            if output.colour and output.blocks:
                line.append_text(next(heat_map.matrix(value.reshape(1, 1), most, True)))
            else:
                line.append(heat_map.shade(value, most))
        numbers = " ".join(f"{value:6.3f}" for value in row)
        yield line.append("  ").append(numbers)
    said = f"step {done.step}  revision {done.revision}"
    yield Text(said + ("  a repeat: nothing was stepped again" * done.replayed), "dim")
    if done.trace is not None:
        last = [tensor._replace(array=tensor.array[-1]) for tensor in done.trace.values()]
        yield from memory_view.brief(last, output)


def duration(seconds: float) -> str:
    """Like 41 s, 3 min, 2.5 h, 12 d."""
    seconds = max(seconds, 0.0)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _members(info: SessionInfo) -> Iterator[tuple[str, Text]]:
    yield "model", Text(f"{info.model} {info.version}", "cyan")
    yield "step", Text(str(info.step))
    yield "revision", Text(str(info.revision))
    if info.forked_from is not None:
        yield "forked from", Text(info.forked_from)
    state = Text(info.tier, TIERS.get(info.tier, ""))
    yield "state", state.append(f", {info.state_bytes:,} bytes", "dim")
    yield "ends in", Text(duration(info.expires_at - time.time()) + " without a step")
