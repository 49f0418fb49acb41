"""The machine's equations as loops over integers and cells, one row at a time."""

import math
from collections.abc import Callable

Row = list[float]  # a distribution over 0 .. M-1

# What a module makes of two integers, modulo M.
INTEGERS: dict[str, Callable[[int, int, int], int]] = {
    "ZERO": lambda a, b, m: 0,
    "ONE": lambda a, b, m: 1 % m,
    "TWO": lambda a, b, m: 2 % m,
    "INC": lambda a, b, m: (a + 1) % m,
    "ADD": lambda a, b, m: (a + b) % m,
    "SUB": lambda a, b, m: (a - b) % m,
    "DEC": lambda a, b, m: (a - 1) % m,
    "LESS-THAN": lambda a, b, m: int(a < b),
    "LESS-OR-EQUAL": lambda a, b, m: int(a <= b),
    "EQUALITY": lambda a, b, m: int(a == b),
    "MIN": lambda a, b, m: min(a, b),
    "MAX": lambda a, b, m: max(a, b),
}
ORDER = (
    ("READ", 1),
    ("ZERO", 0),
    ("ONE", 0),
    ("TWO", 0),
    ("INC", 1),
    ("ADD", 2),
    ("SUB", 2),
    ("DEC", 1),
    ("LESS-THAN", 2),
    ("LESS-OR-EQUAL", 2),
    ("EQUALITY", 2),
    ("MIN", 2),
    ("MAX", 2),
    ("WRITE", 2),
)


def of_integers(name: str, a: Row, b: Row) -> Row:
    """P(o = c) = sum_ij P(a = i) P(b = j) [m(i, j) = c]."""
    out = [0.0] * len(a)
    for i, first in enumerate(a):
        for j, second in enumerate(b):
            out[INTEGERS[name](i, j, len(a))] += first * second
    return out


def read(tape: list[Row], pointer: Row) -> Row:
    return [
        sum(p * cell[c] for p, cell in zip(pointer, tape, strict=True)) for c in range(len(pointer))
    ]


def write(tape: list[Row], pointer: Row, value: Row) -> list[Row]:
    return [
        [(1 - pointer[i]) * tape[i][c] + pointer[i] * value[c] for c in range(len(value))]
        for i in range(len(tape))
    ]


def mean(weights: Row, values: list[Row]) -> Row:
    return [
        sum(w * v[c] for w, v in zip(weights, values, strict=True)) for c in range(len(values[0]))
    ]


def softmax(logits: Row) -> Row:
    top = max(logits)
    powers = [math.exp(value - top) for value in logits]
    return [power / sum(powers) for power in powers]


def step(
    logits: list[Row], registers: list[Row], tape: list[Row]
) -> tuple[list[Row], list[Row], float]:
    """Registers, tape and the mean entropy of the choices. logits: a row a choice, in order."""
    values, rest, entropies = list(registers), list(logits), list[float]()

    def choice() -> Row:
        row = rest.pop(0)
        chosen = softmax(row[: len(values)])
        entropies.append(-sum(p * math.log(p) for p in chosen))
        return chosen

    integers = len(tape)
    for name, arguments in ORDER:
        given = [mean(choice(), values) for _ in range(arguments)]
        if name == "READ":
            values.append(read(tape, given[0]))
        elif name == "WRITE":
            tape = write(tape, *given)
            values.append(of_integers("ZERO", values[0], values[0]))
        else:
            first = given[0] if given else values[0]
            second = given[1] if len(given) > 1 else [1.0] + [0.0] * (integers - 1)
            values.append(of_integers(name, first, second))
    following = [mean(choice(), values) for _ in registers]
    return following, tape, sum(entropies) / len(entropies)
