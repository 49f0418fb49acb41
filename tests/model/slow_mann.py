"""A MANN's equations (Santoro et al. 2016, 3.2), one slot at a time: what the tensor code is
compared with. Vectors are lists of floats, for one row of the batch; usages are sorted."""

from tests.model.slow import Matrix, Vector


def usage(before: Vector, reads: Matrix, writes: Matrix, decay: float) -> Vector:
    """Eq. 5, summed over the heads."""
    after: Vector = []
    for slot, value in enumerate(before):
        touched = sum(weights[slot] for weights in [*reads, *writes])
        after.append(decay * value + touched)
    return after


def least_used(used: Vector, count: int) -> Vector:
    """Eq. 6: 1 where usage is not above its `count`-th smallest. Usages must not tie."""
    smallest = sorted(used)[count - 1]
    return [0.0 if value > smallest else 1.0 for value in used]


def first_of(used: Vector, count: int, grain: float) -> Vector:
    """The same by usage rounded to a multiple of grain, where the lower index counts as smaller."""
    order = sorted(range(len(used)), key=lambda slot: (round(used[slot] / grain), slot))
    return [1.0 if slot in order[:count] else 0.0 for slot in range(len(used))]


def write_weights(gate: float, read: Vector, least: Vector) -> Vector:
    """Eq. 7."""
    return [gate * had + (1 - gate) * free for had, free in zip(read, least, strict=True)]


def write(memory: Matrix, weights: Matrix, added: Matrix, wiped: Vector) -> Matrix:
    """Eq. 8, after the slot to wipe is zero. weights, added: a vector a head."""
    after: Matrix = []
    for slot, word in enumerate(memory):
        kept = [0.0] * len(word) if wiped[slot] else list(word)
        for focus, more in zip(weights, added, strict=True):
            kept = [value + focus[slot] * part for value, part in zip(kept, more, strict=True)]
        after.append(kept)
    return after
