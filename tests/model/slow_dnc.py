"""The DNC's equations (Graves et al. 2016, Methods), one slot at a time: what the tensor code is
compared with. Vectors are lists of floats, for one row of the batch; allocation sorts."""

import math

from tests.model.slow import Matrix, Vector, softmax


def retention(free: Vector, reads: Matrix) -> Vector:
    kept = [1.0] * len(reads[0])
    for gate, weights in zip(free, reads, strict=True):
        kept = [have * (1 - gate * weight) for have, weight in zip(kept, weights, strict=True)]
    return kept


def usage(before: Vector, written: Vector, kept: Vector) -> Vector:
    return [
        (have + weight - have * weight) * stay
        for have, weight, stay in zip(before, written, kept, strict=True)
    ]


def allocation(used: Vector, grain: float | None = None) -> Vector:
    """Sorts by usage, equal ones by index, and goes through the free list with a running product.
    grain: sorts by usage rounded to a multiple of it; None: the paper's own order."""
    key = used if grain is None else [round(value / grain) for value in used]
    free_list = sorted(range(len(used)), key=lambda slot: (key[slot], slot))
    given, product = [0.0] * len(used), 1.0
    for slot in free_list:
        given[slot] = (1 - used[slot]) * product
        product *= used[slot]
    return given


def link(before: Matrix, written: Vector, precedence: Vector) -> Matrix:
    slots = len(written)
    after = [[0.0] * slots for _ in range(slots)]
    for i in range(slots):
        for j in range(slots):
            if i != j:
                stay = (1 - written[i] - written[j]) * before[i][j]
                after[i][j] = stay + written[i] * precedence[j]
    return after


def precedence(before: Vector, written: Vector) -> Vector:
    total = sum(written)
    return [(1 - total) * have + weight for have, weight in zip(before, written, strict=True)]


def follow(links: Matrix, weights: Vector) -> tuple[Vector, Vector]:
    """Backward, then forward."""
    slots = range(len(weights))
    backward = [sum(links[j][i] * weights[j] for j in slots) for i in slots]
    forward = [sum(links[i][j] * weights[j] for j in slots) for i in slots]
    return backward, forward


def sharpen(weights: Vector, sharpness: float) -> Vector:
    """Csordas and Schmidhuber 2019."""
    powers = [weight**sharpness for weight in weights]
    return [power / sum(powers) for power in powers]


def content(
    key: Vector, memory: Matrix, strength: float, mask: Vector, faint: float = 0.1
) -> Vector:
    """The key and each slot through the mask (Csordas and Schmidhuber 2019); of ones, and with
    faint = 0: the paper's."""

    def through(word: Vector) -> Vector:
        return [value * let for value, let in zip(word, mask, strict=True)]

    def length(word: Vector, least: float) -> float:
        return math.sqrt(sum(value * value for value in word) + least * least)

    def likeness(word: Vector) -> float:
        dot = sum(a * b for a, b in zip(through(key), word, strict=True))
        return dot / (length(through(key), 0.0) * length(word, faint) + 1e-8)

    return softmax([strength * likeness(through(slot)) for slot in memory])


def mix(shares: Vector, parts: Matrix) -> Vector:
    """sum_p shares[p] parts[p]."""
    return [
        sum(share * value for share, value in zip(shares, values, strict=True))
        for values in zip(*parts, strict=True)
    ]
