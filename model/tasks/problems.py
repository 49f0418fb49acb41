"""What programs work on, drawn at random: numbers to add, lists to sort."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator

from model.npi_numbers import typed_columns, typed_list

Typed = list[tuple[int, ...]]  # values a row, in the order in which they are typed


def draw_numbers(generator: Generator, batch: int, length: int) -> list[Typed]:
    """Pairs of numbers of uniform digits, zeros in front too. Of every second pair, in the mean,
    both have `length` digits; of the others one has fewer, any number of them."""
    digits = torch.randint(10, (batch, 2, length), generator=generator).tolist()
    shorter = torch.randint(1, length + 1, (batch,), generator=generator).tolist()
    which = torch.randint(4, (batch,), generator=generator).tolist()  # 2, 3: neither
    for pair, fewer, one in zip(digits, shorter, which, strict=True):
        if one < 2:
            pair[one] = pair[one][length - fewer :]
    return [typed_columns(pair) for pair in digits]


def draw_lists(generator: Generator, batch: int, length: int) -> list[Typed]:
    """Lists of `length` uniform digits."""
    digits = torch.randint(10, (batch, length), generator=generator).tolist()
    return [typed_list(values) for values in digits]


PROBLEMS: dict[str, Callable[[Generator, int, int], list[Typed]]] = {
    "addition": draw_numbers,
    "sorting": draw_lists,
}
