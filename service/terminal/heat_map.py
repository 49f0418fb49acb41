"""Numbers as colour or shade, and as bars: pure, from arrays to text.

A matrix lies on its side: memory's slots from left to right, where its heads' bars stand under
them, and two of a slot's numbers in each character (▀: its upper and its lower half).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.style import Style
from rich.text import Text

Array = NDArray[Any]
# Dark where there is nothing, so that it reads on light and on dark terminals alike.
STOPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
COLOURS = ((186, 230, 255), (48, 126, 214), (28, 28, 34), (226, 84, 46), (255, 214, 153))
SHADES = " .:-=+*#%@"
EIGHTHS = " ▁▂▃▄▅▆▇█"
NO_NUMBER = (128, 0, 128)


def colour(value: float, most: float) -> tuple[int, int, int]:
    """Red, green and blue of a number between -most and most."""
    if not np.isfinite(value):
        return NO_NUMBER
    at = float(np.clip(value / most, -1, 1)) if most else 0.0
    red, green, blue = (
        round(float(np.interp(at, STOPS, [stop[part] for stop in COLOURS]))) for part in range(3)
    )
    return red, green, blue


def matrix(values: Array, most: float, colours: bool) -> Iterator[Text]:
    """Lines of a (rows, columns) matrix: two rows a line in colour, else one."""
    if not colours:
        for row in values:
            yield Text("".join(shade(value, most) for value in row))
        return
    for top in range(0, len(values), 2):
        line = Text()
        lower = values[top + 1] if top + 1 < len(values) else None
        for column, value in enumerate(values[top]):
            below = None if lower is None else lower[column]
            line.append("▀", _style(value, below, most))
        yield line


def shade(value: float, most: float) -> str:
    """A character for how far from zero a number is."""
    if not np.isfinite(value):
        return "?"
    part = min(abs(float(value)) / most, 1.0) if most else 0.0
    return SHADES[round(part * (len(SHADES) - 1))]


def bars(values: Array, most: float, blocks: bool) -> str:
    """A line of one bar a value, from nothing to `most`; what is there at all is seen."""
    ramp = EIGHTHS if blocks else SHADES
    line = ""
    for value in values:
        part = float(value) / most if most and np.isfinite(value) else 0.0
        height = round(min(max(part, 0.0), 1.0) * (len(ramp) - 1))
        line += ramp[max(height, int(part > 0.02))]
    return line


def legend(most: float, colours: bool) -> Text:
    """What the colours or shades mean."""
    if not colours:
        return Text(f"{SHADES}  from 0 to {most:.3g} or {-most:.3g}")
    line = Text.assemble((f"{-most:.3g} ", "dim"))
    for at in np.linspace(-most, most, 24):
        line.append("█", Style(color=Color.from_rgb(*colour(float(at), most))))
    return line.append(f" {most:.3g}", "dim")


def pooled(values: Array, columns: int) -> tuple[Array, int]:
    """At most as many columns: each the number furthest from 0 of a group, and the group's size."""
    group = -(-values.shape[1] // columns)
    if group == 1:
        return values, 1
    short = -values.shape[1] % group
    padded = np.pad(values, ((0, 0), (0, short))).reshape(len(values), -1, group)
    at = np.abs(np.nan_to_num(padded, nan=np.inf)).argmax(-1)
    return np.take_along_axis(padded, at[..., None], -1)[..., 0], group


def largest(values: Array) -> float:
    """The number furthest from 0, without its sign; 0 where there is none."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def _style(upper: float, lower: float | None, most: float) -> Style:
    below = None if lower is None else Color.from_rgb(*colour(float(lower), most))
    return Style(color=Color.from_rgb(*colour(float(upper), most)), bgcolor=below)
