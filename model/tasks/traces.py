"""From the decisions of symbolic programs to batches, and how runs are judged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model.npi_layout import Decision, Layout
from model.tasks.task import Batch


def batch_of(
    layout: Layout,
    typed: Sequence[Sequence[Sequence[int]]],
    runs: Sequence[Sequence[Decision]],
    told: bool,
) -> Batch:
    """A sequence a run: its typed rows, then a row a tick. told: are its decisions in the inputs?

    Targets are the decisions, and the flag `halted` at the last; typed rows are not scored.
    Sequences that are shorter end in silent rows.
    """
    pairs = list(zip(typed, runs, strict=True))
    rows = max(len(values) + len(run) for values, run in pairs)
    inputs = torch.zeros(len(runs), rows, layout.input_size)
    targets = torch.zeros(len(runs), rows, layout.output_size)
    mask = torch.zeros(len(runs), rows, dtype=torch.bool)
    size = layout.decision_size
    for number, (values, run) in enumerate(pairs):
        start, end = len(values), len(values) + len(run)
        inputs[number, :start, size] = 1
        held = torch.tensor(values, dtype=torch.float32).view(start, layout.typed)
        inputs[number, :start, size + 1 :] = held
        places = [layout.flags(decision) for decision in run]
        ticks = [start + tick for tick, flags in enumerate(places) for _ in flags]
        targets[number, ticks, [place for flags in places for place in flags]] = 1
        targets[number, end - 1, size] = 1
        mask[number, start:end] = True
    if told:
        inputs[:, :, :size] = targets[:, :, :size]
    return Batch(inputs, targets, mask)


def decisions_right(layout: Layout, logits: Tensor, batch: Batch) -> Tensor:
    """1 for each run of which every decision is the target's, 0 for others: (B,).

    A decision is what the interpreter makes of the logits: it returns, or does not and has the
    target's program and arguments as the largest. logits: (B, T, Y).
    """
    size = layout.decision_size
    got = logits[:, :, :size].split(layout.widths, dim=2)
    want = batch.targets[:, :, :size].split(layout.widths, dim=2)
    returns = want[0] > 0.5
    same = (got[0] > 0) == returns
    for part, target in zip(got[1:], want[1:], strict=True):
        equal = part.argmax(dim=2, keepdim=True) == target.argmax(dim=2, keepdim=True)
        same = same & (equal | returns)
    return (same.squeeze(2) | ~batch.mask).all(dim=1).to(logits)
