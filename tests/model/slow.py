"""The paper's equations, one number at a time: what the tensor code is compared with.

Vectors are lists of floats, for one row of the batch and one head.
"""

import math

Vector = list[float]
Matrix = list[Vector]


def cosine(u: Vector, v: Vector) -> float:
    """Eq. 6, with the same guard against a zero denominator."""
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    norms = math.sqrt(sum(a * a for a in u)) * math.sqrt(sum(b * b for b in v))
    return dot / (norms + 1e-8)


def softmax(values: Vector) -> Vector:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def content(key: Vector, memory: Matrix, beta: float) -> Vector:
    """Eq. 5."""
    return softmax([beta * cosine(key, slot) for slot in memory])


def interpolate(weights: Vector, previous: Vector, g: float) -> Vector:
    """Eq. 7."""
    return [g * new + (1 - g) * old for new, old in zip(weights, previous, strict=True)]


def shift(weights: Vector, s: Vector) -> Vector:
    """Eq. 8, as the paper has it: a sum over j of w(j) s(i - j), indices modulo N."""
    slots, reach = len(weights), len(s) // 2
    by_offset = {(offset - reach) % slots: share for offset, share in enumerate(s)}
    return [
        sum(weights[j] * by_offset.get((i - j) % slots, 0.0) for j in range(slots))
        for i in range(slots)
    ]


def sharpen(weights: Vector, gamma: float) -> Vector:
    """Eq. 9."""
    powers = [weight**gamma for weight in weights]
    return [power / sum(powers) for power in powers]


def address(
    key: Vector,
    beta: float,
    g: float,
    s: Vector,
    gamma: float,
    memory: Matrix,
    previous: Vector,
) -> Vector:
    """Eqs. 5 to 9 in sequence."""
    mixed = interpolate(content(key, memory, beta), previous, g)
    return sharpen(shift(mixed, s), gamma)


def read(memory: Matrix, weights: Vector) -> Vector:
    """Eq. 2."""
    width = len(memory[0])
    return [
        sum(weight * slot[m] for weight, slot in zip(weights, memory, strict=True))
        for m in range(width)
    ]


def write(memory: Matrix, weights: Matrix, erase: Matrix, add: Matrix) -> Matrix:
    """Eqs. 3 and 4, every head's erase before any head's add. weights: a vector a head."""
    written = [list(slot) for slot in memory]
    for focus, wipe in zip(weights, erase, strict=True):
        written = [
            [value * (1 - focus[n] * wipe[m]) for m, value in enumerate(slot)]
            for n, slot in enumerate(written)
        ]
    for focus, more in zip(weights, add, strict=True):
        written = [
            [value + focus[n] * more[m] for m, value in enumerate(slot)]
            for n, slot in enumerate(written)
        ]
    return written
