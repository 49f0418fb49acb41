"""The figures of the paper and of the analysis, as PNG and SVG. Drawn without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.episodes import Episodes

FORMATS = ("png", "svg")
# The same bytes from the same numbers: no date, no random ids.
METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}

Curve = Sequence[tuple[float, float]]  # x, y


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Writes `name`.png and .svg into `folder`; the paths written."""
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in formats]
    with matplotlib.rc_context({"svg.hashsalt": name}):
        for path, kind in zip(paths, formats, strict=True):
            figure.savefig(path, dpi=120, metadata=METADATA[kind])
    return paths


def episode(episodes: Episodes, number: int = 0) -> Figure:
    """One sequence over its rows (to the right): input, target, output, write and read weights.

    As figures 4, 6, 9, 12 and 17 of Graves, Wayne and Danihelka 2014. Only slots that some head
    gave weight to are drawn; several heads of a kind are added.
    """
    batch = episodes.batch
    scored = batch.mask[number].float()
    panels = {
        "input": batch.inputs[number].T,
        "target": batch.targets[number].T,
        "output": (torch.sigmoid(episodes.logits[number]) * scored.unsqueeze(1)).T,
    }
    for kind in ("write", "read"):
        if f"{kind}_weights" in episodes.state:
            weights = episodes.state[f"{kind}_weights"][number].sum(dim=1)
            panels[f"{kind} weights"] = _used_slots(weights.T)
    heights = [max(1.0, panel.shape[0] / 8) for panel in panels.values()]
    figure = Figure(figsize=(7, 1.2 + 0.8 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, height_ratios=heights, squeeze=False)
    for axis, (name, panel) in zip(axes[:, 0], panels.items(), strict=True):
        image = axis.imshow(panel.numpy(), aspect="auto", cmap="viridis", interpolation="none")
        axis.set_ylabel(name)
        figure.colorbar(image, ax=axis)
    axes[-1, 0].set_xlabel("row")
    return figure


def _used_slots(weights: torch.Tensor) -> torch.Tensor:
    used = (weights.amax(dim=1) > 0.05).nonzero()[:, 0]
    return weights[used] if used.numel() else weights


def curves(
    named: Mapping[str, Curve], x: str, y: str, log_y: bool = False, marks: bool = False
) -> Figure:
    """Lines through points, one a name. Values of 0 are not drawn on a logarithmic axis."""
    figure, axis = _figure(x, y)
    for name, points in named.items():
        xs, ys = numpy.array(points, dtype=float).reshape(-1, 2).T
        axis.plot(xs, ys, marker="o" if marks else None, label=name)
    if log_y:
        axis.set_yscale("symlog", linthresh=1e-2)
    if len(named) > 1:
        axis.legend()
    return figure


def spread(runs: Mapping[str, Curve], x: str, y: str) -> Figure:
    """The median of several runs over the steps that all have, from the least to the largest."""
    figure, axis = _figure(x, y)
    shared = sorted(set.intersection(*({at for at, _ in run} for run in runs.values())))
    table = numpy.array([[dict(run)[at] for at in shared] for run in runs.values()])
    axis.plot(shared, numpy.median(table, axis=0), label=f"median of {len(runs)} seeds")
    axis.fill_between(shared, table.min(axis=0), table.max(axis=0), alpha=0.25, label="range")
    axis.set_yscale("symlog", linthresh=1e-2)
    axis.legend()
    return figure


def bars(groups: Mapping[str, Mapping[str, float]], y: str) -> Figure:
    """Bars side by side: a group a name, a bar an entry."""
    figure, axis = _figure("", y)
    labels = list(dict.fromkeys(label for group in groups.values() for label in group))
    width = 0.8 / max(1, len(groups))
    for place, (name, group) in enumerate(groups.items()):
        at = numpy.arange(len(labels)) + place * width
        axis.bar(at, [group.get(label, 0.0) for label in labels], width, label=name)
    axis.set_xticks(numpy.arange(len(labels)) + 0.4 - width / 2, labels)
    axis.legend()
    return figure


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(alpha=0.3)
    return figure, axis
