"""Holding a core against all that the calls of its programs can ever see (`verification.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import msgspec
import torch
from torch import Tensor

from model.npi_core import NPICore, chosen
from model.npi_layout import RETURN, Decision
from model.tasks.sights import Seen
from model.tasks.verification import Proof

CHUNK = 8192  # ticks at once


class Verified(msgspec.Struct, frozen=True):
    """programs: calls of so many were met; decisions: at so many ticks, each with another history;
    wrong: so many of them; example: the first of those, for people."""

    programs: int
    decisions: int
    wrong: int
    example: str = ""


class Ticks(NamedTuple):
    """The same tick of many calls, all with the same decisions so far."""

    history: tuple[Seen, ...]  # what one of them has seen before
    seen: Tensor  # (n, K), now
    parent: Tensor  # (n,), rows of frames
    frames: Tensor  # (m, F), the core's states after the tick before


class Walk:
    """From the beginnings of all calls to their ends, depth first, so that it all has room."""

    def __init__(self, core: NPICore, proof: Proof) -> None:
        self._core, self._proof = core, proof
        self._right = cache(proof.decision)
        self._after = cache(proof.after)
        self.decisions, self.wrong, self.example = 0, 0, ""

    def calls(self, program: str, begins: list[Seen]) -> None:
        """Every call of `program` that begins at one of these."""
        seen = torch.tensor(begins)
        frames = self._core.program_keys.new_zeros(1, self._core.frame_size)
        waiting = [Ticks((), seen, torch.zeros(len(begins), dtype=torch.long), frames)]
        while waiting:
            ticks = waiting.pop()
            if len(ticks.seen) > CHUNK:
                waiting.append(ticks._replace(seen=ticks.seen[CHUNK:], parent=ticks.parent[CHUNK:]))
            now = ticks._replace(seen=ticks.seen[:CHUNK], parent=ticks.parent[:CHUNK])
            waiting += self._tick(program, now)

    def _tick(self, program: str, ticks: Ticks) -> Iterator[Ticks]:
        """The next tick of those that do not return. Goes by what is right, not by the core."""
        made, frames = self._made(program, ticks)
        sights, which = torch.unique(ticks.seen, dim=0, return_inverse=True)
        known: list[Seen] = [tuple(sight) for sight in sights.tolist()]
        right = [self._right(program, (*ticks.history, sight)) for sight in known]
        self._count(made, torch.tensor(right)[which], program, ticks)
        for decision in set(right) - {Decision(RETURN)}:
            of = [number for number, other in enumerate(right) if other == decision]
            following = [self._after(decision, known[number]) for number in of]
            counts = torch.zeros(len(known), dtype=torch.long)
            counts[of] = torch.tensor([len(group) for group in following])
            flat = torch.tensor([sight for group in following for sight in group])
            each = counts[which]
            parent = torch.repeat_interleave(each)
            within = torch.arange(len(parent)) - (each.cumsum(0) - each)[parent]
            seen = flat[(counts.cumsum(0) - counts)[which[parent]] + within]
            yield Ticks((*ticks.history, known[of[0]]), seen, parent, frames)

    def _made(self, program: str, ticks: Ticks) -> tuple[Tensor, Tensor]:
        """The core's decisions (n, 4), with RETURN for a program where it returns, and states."""
        core, rows = self._core, len(ticks.seen)
        number = core.layout.programs.index(program)
        like = core.program_embeddings
        entered = core.enter(
            ticks.seen.to(like), like.new_zeros(rows, 3), like[number].expand(rows, -1)
        )
        output, frames = core.advance(entered, ticks.frames[ticks.parent])
        choice = chosen(core.decide(output)[0], core.layout)
        made = torch.cat([choice.program, choice.arguments], dim=1)
        return torch.where(choice.returns, made.new_tensor(Decision(RETURN)), made), frames

    def _count(self, made: Tensor, right: Tensor, program: str, ticks: Ticks) -> None:
        wrong = (made != right).any(dim=1).nonzero().flatten()
        self.decisions, self.wrong = self.decisions + len(made), self.wrong + len(wrong)
        if len(wrong) and not self.example:
            at = int(wrong[0])
            told = self._proof.layout.told
            got, wanted = (Decision(*map(int, row[at].tolist())) for row in (made, right))
            self.example = (
                f"{program} at {ticks.seen[at].tolist()}: {told(got)} where {told(wanted)} is right"
            )


@torch.inference_mode()
def verified(core: NPICore, proof: Proof) -> Verified:
    """Every decision on the verification set, the core against the program that teaches it."""
    walk, begins = Walk(core, proof), proof.begins()
    for program, seen in sorted(begins.items()):
        walk.calls(program, sorted(seen))
    return Verified(len(begins), walk.decisions, walk.wrong, walk.example)
