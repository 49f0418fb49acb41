"""The scratch pad of a neural programmer-interpreter, as pure tensor functions.

Its cells hold digits, or BLANK; numbers that are whole, as floats. A pointer is a column, or one
step off the pad to either side, where it sees BLANK and writes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from model.npi_layout import ACTIONS, BLANK, DIGITS, Layout

LEFT, RIGHT, WRITE, SWAP = (ACTIONS.index(name) for name in ("left", "right", "write", "swap"))


def blank_pad(layout: Layout, columns: int, like: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """The pad (B, R, N) with nothing on it, and the pointers (B, K) where they begin."""
    pad = like.new_full((batch, len(layout.pad_rows), columns), BLANK)
    start = columns - 1 if layout.side == "right" else 0
    return pad, like.new_full((batch, len(layout.pointers)), start)


def places(index: Tensor, size: int) -> Tensor:
    """1 at the place `index` (...,) of `size` places, 0 elsewhere and everywhere where it is none:
    (..., size). The index is rounded."""
    return (index.round().unsqueeze(-1) == torch.arange(size, device=index.device)).to(index)


def read(layout: Layout, pad: Tensor, pointers: Tensor) -> Tensor:
    """What each pointer sees: (B, K). pad: (B, R, N), pointers: (B, K).

    e_k = sum_n [p_k = n] Q(r_k, n), and BLANK off the pad. What is no digit counts as BLANK.
    """
    rows = torch.stack([pad[:, row] for row in layout.on_row], dim=1)
    at = places(pointers, pad.shape[2])
    # Blank is 0 here, so that a pointer that is nowhere sees it.
    held = rows.round().clamp(BLANK, DIGITS) - BLANK
    seen = (held * at).sum(dim=2, keepdim=True).squeeze(2)
    return torch.where(seen > DIGITS, torch.zeros_like(seen), seen) + BLANK


def act(
    layout: Layout, pad: Tensor, pointers: Tensor, arguments: Tensor, acting: Tensor
) -> tuple[Tensor, Tensor]:
    """The pad and the pointers after an action, f_env(e, p, a) of Reed and de Freitas 2016, sec. 3.

    pad: (B, R, N), pointers: (B, K), arguments: (B, 3), the numbers of action, pointer, value;
    acting: (B, 1), bool: rows where it is not are left as they are. Left and right move the
    pointer, write puts the value (or BLANK) where it is, swap exchanges what the first two see.
    """
    columns = pad.shape[2]
    action, pointer, value = (part.squeeze(1) for part in arguments.split(1, dim=1))
    chosen = places(pointer - 1, pointers.shape[1]) * acting
    step = (action == RIGHT).to(pad) - (action == LEFT).to(pad)
    moved = (pointers.round() + chosen * step.unsqueeze(1)).clamp(-1, columns)
    writes = chosen * (action == WRITE).unsqueeze(1)
    new = (value + BLANK).unsqueeze(1).expand_as(writes)
    if pointers.shape[1] > 1:
        swaps = (action == SWAP).unsqueeze(1) & acting
        pair = (torch.arange(pointers.shape[1], device=pad.device) < 2).to(pad)
        seen = read(layout, pad, pointers)
        other = torch.cat([seen[:, 1:2], seen[:, :1], seen[:, 2:]], dim=1)
        writes, new = torch.where(swaps, pair, writes), torch.where(swaps, other, new)
    following = torch.where(acting, moved, pointers)
    return _written(layout, pad, pointers, writes, new), following


def _written(layout: Layout, pad: Tensor, pointers: Tensor, writes: Tensor, new: Tensor) -> Tensor:
    """The pad with new (B, K) where the pointers are, for those that write (B, K)."""
    at = places(pointers, pad.shape[2]) * writes.unsqueeze(2)
    for number, row in enumerate(layout.on_row):
        here = functional.pad(
            at[:, number : number + 1], (0, 0, row, pad.shape[1] - row - 1)
        )  # (B, R, N)
        pad = torch.where(here > 0, new[:, number : number + 1].unsqueeze(2), pad)
    return pad


def typed(layout: Layout, pad: Tensor, values: Tensor, typing: Tensor) -> Tensor:
    """The pad with values (B, V) come in at its side, the first V rows pushed on by a column.

    What is pushed off the pad is lost. typing: (B, 1), bool: rows where it is not stay.
    """
    count = values.shape[1]
    head, rest = pad[:, :count], pad[:, count:]
    new = values.round().clamp(BLANK, DIGITS - 1).unsqueeze(2)
    parts = [head[:, :, 1:], new] if layout.side == "right" else [new, head[:, :, :-1]]
    pushed = torch.cat([torch.cat(parts, dim=2), rest], dim=1)
    return torch.where(typing.unsqueeze(2), pushed, pad)
