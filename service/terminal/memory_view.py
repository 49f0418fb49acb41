"""A session's state on the screen: memory with its heads under it, and the rest as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from service.client import NamedTensor
from service.terminal import heat_map
from service.terminal.output import Output

Matrix = NDArray[np.float64]
MATRICES = ("memory", "stack", "register")
BARS = ("read_weights", "write_weights", "usage")
MAX_BANDS = 4  # a memory of more slots than that many screen widths is pooled
MAX_HEIGHT = 64
MARGIN = 16  # of the labels
HUES = {"read_weights": "green", "write_weights": "yellow", "usage": "magenta"}


def of(
    title: tuple[str, str, int, int], tensors: Sequence[NamedTensor], named: bool, output: Output
) -> Iterator[RenderableType]:
    """The parts to print, one under another. named: every tensor was asked for by its name."""
    session, model, step, revision = title
    line = Text.assemble((session, "bold"), "  ", (model, "cyan"))
    yield line.append(f"  step {step}  revision {revision}", "dim")
    drawn = [tensor for tensor in tensors if _is_matrix(tensor, named)]
    weights = [tensor for tensor in tensors if tensor.role in BARS and tensor.array.ndim <= 2]
    for tensor in drawn:
        yield ""
        rides = [w for w in weights if w.array.shape[-1] == len(_upright(tensor))]
        weights = [w for w in weights if w not in rides]
        yield from _drawn(tensor, rides, output)
    for tensor in weights:
        yield ""
        yield from _drawn(None, [tensor], output)
    rest = [t for t in tensors if t not in drawn and t.role not in BARS]
    if rest:
        yield ""
        yield _numbers(rest)


def brief(tensors: Iterable[NamedTensor], output: Output) -> Iterator[RenderableType]:
    """One line a head of weights or usage, as wide as the terminal."""
    width = max(output.console.width - MARGIN - 20, 8)
    for name, role, array in tensors:
        if role not in BARS:
            continue
        for row in np.atleast_2d(array):
            part = heat_map.pooled(row[None], width)[0][0]
            most = heat_map.largest(row)
            text = Text.assemble((f"{name[: MARGIN - 2]:>{MARGIN - 2}}  ", "dim"))
            text.append(heat_map.bars(part, most, output.blocks), HUES.get(role, ""))
            yield text.append(f"  {most:.2f} at {int(np.nan_to_num(row).argmax())}", "dim")


def _is_matrix(tensor: NamedTensor, named: bool) -> bool:
    if tensor.array.ndim not in (1, 2) or tensor.role in BARS or not tensor.array.size:
        return False
    return named or (tensor.array.ndim == 2 and tensor.role in MATRICES)


def _upright(tensor: NamedTensor) -> Matrix:
    """A matrix with its slots first; a vector has one number a slot."""
    array = tensor.array.astype(np.float64)
    return array if array.ndim == 2 else array[:, None]


def _drawn(
    tensor: NamedTensor | None, weights: Sequence[NamedTensor], output: Output
) -> Iterator[RenderableType]:
    """Bands of as many slots as fit: the matrix, and under it the weights of its slots."""
    slots = weights[0].array.shape[-1] if tensor is None else len(tensor.array)
    width = max(output.console.width - MARGIN, 8)
    group = max(1, -(-slots // (width * MAX_BANDS)))
    columns = -(-slots // group)
    values, most = np.zeros((0, slots)), 0.0
    if tensor is not None:
        values, most = _upright(tensor).T, heat_map.largest(tensor.array)
        values = heat_map.pooled(values.T, MAX_HEIGHT)[0].T if len(values) > MAX_HEIGHT else values
    yield _head(tensor, slots, group)
    lines = [(w, np.atleast_2d(w.array.astype(np.float64))) for w in weights]
    across = -(-columns // -(-columns // width))  # bands of one width
    for begin in range(0, columns, across):
        span = slice(begin * group, min((begin + across) * group, slots))
        if begin:
            yield ""
        yield from _band(heat_map.pooled(values[:, span], across)[0], most, span, output)
        for weight, heads in lines:
            yield from _heads(weight, heads, span, across, output)
    if tensor is not None:
        yield Text(" " * MARGIN).append_text(heat_map.legend(most, output.colour))
    yield from _peaks(lines, width)


def _head(tensor: NamedTensor | None, slots: int, group: int) -> Text:
    line = Text()
    if tensor is not None:
        dims = " x ".join(map(str, tensor.array.shape))
        line.append(tensor.name, "bold").append(f"  {tensor.role}, {dims}", "dim")
        line.append(", slots from left to right", "dim")
    if group > 1:
        line.append(f", {group} a column", "dim")
    return line


def _band(values: Matrix, most: float, span: slice, output: Output) -> Iterator[Text]:
    if not len(values):
        return
    label = f"{span.start}..{span.stop - 1}"
    for number, line in enumerate(heat_map.matrix(values, most, output.colour and output.blocks)):
        head = Text.assemble((f"{label if not number else '':>{MARGIN - 2}}  ", "dim"))
        yield head.append_text(line)


def _heads(
    weight: NamedTensor, heads: Matrix, span: slice, across: int, output: Output
) -> Iterator[Text]:
    for number, row in enumerate(heads):
        part = heat_map.pooled(row[None, span], across)[0][0]
        name = _head_name(weight, heads, number)[: MARGIN - 2]
        line = Text.assemble((f"{name:>{MARGIN - 2}}  ", "dim"))
        bars = heat_map.bars(part, heat_map.largest(row), output.blocks)
        yield line.append(bars, HUES.get(weight.role, ""))


def _peaks(lines: Sequence[tuple[NamedTensor, Matrix]], width: int) -> Iterator[Text]:
    """Where each head looks most, as many a line as fit."""
    told = ""
    for weight, heads in lines:
        for number, row in enumerate(heads):
            at = int(np.nan_to_num(row).argmax())
            peak = f"{_head_name(weight, heads, number)} {row[at]:.2f} at {at}"
            if told and len(told) + 3 + len(peak) > width:
                yield Text(" " * MARGIN + told, "dim")
                told = ""
            told += f"   {peak}" if told else peak
    if told:
        yield Text(" " * MARGIN + told, "dim")


def _head_name(weight: NamedTensor, heads: Matrix, number: int) -> str:
    return weight.name if len(heads) == 1 else f"{weight.name} {number}"


def _numbers(tensors: Iterable[NamedTensor]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    for name in ("tensor", "role", "dims", "least", "mean", "largest"):
        table.add_column(name, justify="left" if name in ("tensor", "role") else "right")
    for name, role, array in tensors:
        dims = " x ".join(map(str, array.shape))
        told = [f"{f(array):.4g}" for f in (np.min, np.mean, np.max)] if array.size else [""] * 3
        table.add_row(name, role, dims, *told)
    return table
