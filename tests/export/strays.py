"""The rows in which an artefact of a DNC is not within 1e-5 of the network, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.parity import LIMITS, LONG, LONG_BATCH, SEED, Arrays, Stepper, reference
from export.step import StepModule
from model.usage import GRAIN

# Where a usage is this close to the edge between two grains, the last bits of a gate, each 6e-8,
# decide which slot comes first. Of all usages one in 2,000 is this close.
EDGE = 1e-6
# So few rows may differ of all that are compared: each in which a usage is at an edge is a draw.
FEW = 1 / 1000


class Stray(NamedTuple):
    """A row of one sequence that differs: in which output, how far the nearest of the network's
    usages is from an edge, and how far the artefact's usages are from the network's."""

    where: str
    from_edge: float
    usage: float


def strays(
    step: StepModule, artefact: Stepper, steps: int = LONG, batch: int = LONG_BATCH
) -> tuple[list[Stray], int]:
    """The rows that differ by more than 1e-5, and how many were compared.

    So many random steps of twice `batch` sequences, of which the first half goes on from the state
    the network came to, the others from the one the artefact came to.
    """
    random = np.random.default_rng([SEED, batch])
    state = [np.repeat(part.numpy()[None], 2 * batch, 0) for part in step.initial_state()]
    found: list[Stray] = []
    for number in range(steps):
        x = random.integers(0, 2, (batch, step.input_size)).astype(np.float32)
        fed = [np.concatenate([x, x]), *state]
        want, got = reference(step, fed), artefact(fed)
        found += _of_step(step, f"row {number}", want, got)
        pairs = zip(want[1 : len(fed)], got[1 : len(fed)], strict=True)
        state = [np.concatenate([one[:batch], other[batch:]]) for one, other in pairs]
    return found, 2 * steps * batch


def _of_step(step: StepModule, where: str, want: Arrays, got: Arrays) -> Iterator[Stray]:
    apart = {
        name: _furthest(one - other)
        for name, one, other in zip(step.output_names, want, got, strict=True)
    }
    usage = want[step.output_names.index("usage_next")]
    # Usages are rounded to a grain, so an edge is half way from each grain to the next.
    from_edge = GRAIN * np.abs((usage / GRAIN) % 1 - 0.5).min(axis=1)
    for row in range(len(usage)):
        far = [name for name, rows in apart.items() if not rows[row] <= LIMITS["step"]]
        if far:
            told = f"{where}, sequence {row}: {', '.join(far)}"
            yield Stray(told, float(from_edge[row]), float(apart["usage_next"][row]))


def _furthest(differences: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, ...) to (B,), NaN where one is."""
    return np.abs(differences).reshape(len(differences), -1).max(axis=1)
