"""A dense access memory's equations (Rae et al. 2016, sections 2 and 3), one slot at a time, with a
weight for every slot: what the sparse code is compared with. For one row of the batch."""

import math

from model.dnc_content import FAINT
from model.recency import ACCESSED
from tests.model.slow import Matrix, Vector


def length(word: Vector) -> float:
    return math.sqrt(sum(value * value for value in word) + FAINT**2)


def similarity(key: Vector, word: Vector) -> float:
    dot = sum(one * other for one, other in zip(key, word, strict=True))
    return dot / (length(key) * length(word))


def least_recent(last: list[int]) -> int:
    """The slot that was not accessed for longest, the first of those that tie."""
    return min(range(len(last)), key=lambda slot: (last[slot], slot))


def write_weights(write: float, reuse: float, read: Vector, least: int) -> Vector:
    """Eq. 5: alpha (gamma w^R_{t-1} + (1 - gamma) I^U)."""
    return [write * (reuse * had + (1 - reuse) * (slot == least)) for slot, had in enumerate(read)]


def write(memory: Matrix, weights: Matrix, added: Matrix, least: int) -> Matrix:
    """Eq. 3, the least recently accessed slot wiped first. weights, added: a vector a head."""
    after: Matrix = []
    for slot, word in enumerate(memory):
        kept = [0.0] * len(word) if slot == least else list(word)
        for focus, more in zip(weights, added, strict=True):
            kept = [value + focus[slot] * part for value, part in zip(kept, more, strict=True)]
        after.append(kept)
    return after


def nearest(key: Vector, memory: Matrix, count: int) -> list[int]:
    """The slots of the most similar words, by a sort of all."""
    order = sorted(range(len(memory)), key=lambda slot: -similarity(key, memory[slot]))
    return order[:count]


def read_weights(key: Vector, memory: Matrix, strength: float, count: int) -> Vector:
    """Eqs. 2 and 4: of all slots, 0 at those that are not among the `count` nearest."""
    chosen = nearest(key, memory, count)
    powers = [math.exp(strength * similarity(key, memory[slot])) for slot in chosen]
    weights = [0.0] * len(memory)
    for slot, power in zip(chosen, powers, strict=True):
        weights[slot] = power / sum(powers)
    return weights


def accessed(last: list[int], now: int, reads: Matrix, writes: Matrix) -> list[int]:
    """When each slot was accessed last: U^(2) = T - that."""
    return [
        now if sum(weights[slot] for weights in [*reads, *writes]) > ACCESSED else before
        for slot, before in enumerate(last)
    ]
