"""Naming the algorithm a network learned, where a rule can tell it.

A rule is a sentence and the share of the occasions on which it held; it is told where that share
is at least HOLDS. Rules look at where the heads' weights are largest, row by row.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.analysis import FOCUSED, memory_change
from model.episodes import Episodes

HOLDS = 0.9
LOOKUP = 5  # rows: a query of associative recall is as long


class Rule(NamedTuple):
    """What was looked for and how often it was so: share in [0, 1]."""

    sentence: str
    share: float

    @property
    def holds(self) -> bool:
        """Whether it may be said."""
        return self.share >= HOLDS


def rules(episodes: Episodes) -> list[Rule]:
    """Every rule that was tried."""
    heads = episodes.state["write_weights"].shape[2], episodes.state["read_weights"].shape[2]
    found: list[Rule] = []
    for head in range(heads[0]):
        name = _name("write", head, heads[0])
        found += _moves(episodes, "write", head, name, episodes.seeing, "while the input is seen")
        found += _allocates(episodes, head, name)
    found.append(_writes_little(episodes))
    for head in range(heads[1]):
        name = _name("read", head, heads[1])
        found += _moves(episodes, "read", head, name, episodes.batch.mask, "while it answers")
        found += _begins(episodes, head, name) + _leaps(episodes, head, name)
        found += _source(episodes, head, name) + _modes(episodes, head, name)
    return found


def describe(found: list[Rule]) -> str:
    """The rules that hold as a text; those that do not are left out."""
    told = [f"- {rule.sentence} ({rule.share:.0%})" for rule in found if rule.holds]
    return "\n".join(told) if told else "No rule tells how this network does it."


def _name(kind: str, head: int, heads: int) -> str:
    return f"the {kind} head" if heads == 1 else f"{kind} head {head + 1} of {heads}"


def focus(episodes: Episodes, kind: str, head: int) -> Tensor:
    """The slot of the head's largest weight after each row: (B, T)."""
    return episodes.state[f"{kind}_weights"][:, :, head].argmax(dim=2)


def _moves(
    episodes: Episodes, kind: str, head: int, name: str, rows: Tensor, when: str
) -> list[Rule]:
    slots = episodes.state["memory"].shape[2]
    places = focus(episodes, kind, head)
    both = rows[:, 1:] & rows[:, :-1]
    if not both.any():
        return []
    moved = ((places[:, 1:] - places[:, :-1]) % slots)[both]
    steps = {"moves on by one slot a row": 1, "moves back by one slot a row": slots - 1}
    steps["stays where it is"] = 0
    return [
        Rule(f"{name} {what} {when}", (moved == by).float().mean().item())
        for what, by in steps.items()
    ]


def _begins(episodes: Episodes, head: int, name: str) -> list[Rule]:
    """Whether the read head is where the first row was written as the answer begins, in its
    first row or in the one before it (the controller can carry one vector over)."""
    begin = episodes.batch.mask.long().argmax(dim=1)
    each = torch.arange(begin.numel())
    places, last = focus(episodes, "read", head), (begin - 1).clamp_min(0)
    read = torch.stack([places[each, last], places[each, begin]], dim=1)  # (B, 2)
    writers = range(episodes.state["write_weights"].shape[2])
    first = torch.stack([focus(episodes, "write", writer)[:, 0] for writer in writers], dim=1)
    back = (first.unsqueeze(2) == read.unsqueeze(1)).flatten(1).any(dim=1)
    sentence = f"{name} is back at the slot that was written first as the answer begins"
    return [Rule(sentence, back.float().mean().item())]


def _leaps(episodes: Episodes, head: int, name: str) -> list[Rule]:
    """Whether the head's largest weight moves further than a shift reaches, by content (a gate
    above 1/2), in one of the LOOKUP rows before the answer or in its first row, in which it is
    focused."""
    if "read_shift" not in episodes.trace:
        return []
    weights, gate = episodes.state["read_weights"][:, :, head], episodes.trace["read_gate"]
    slots, reach = weights.shape[2], episodes.trace["read_shift"].shape[3] // 2
    largest, places = weights.max(dim=2)
    moved = (places[:, 1:] - places[:, :-1]) % slots
    far = torch.minimum(moved, slots - moved) > reach
    leapt = far & (gate[:, 1:, head, 0] > 0.5)
    begin = episodes.batch.mask.long().argmax(dim=1, keepdim=True)
    rows = torch.arange(1, weights.shape[1]).unsqueeze(0)
    near = (rows <= begin) & (rows >= begin - LOOKUP)
    settled = largest.take_along_dim(begin, dim=1)[:, 0] > FOCUSED
    share = ((leapt & near).any(dim=1) & settled).float().mean().item()
    return [Rule(f"{name} leaps by content to where the answer begins", share)]


def _source(episodes: Episodes, head: int, name: str) -> list[Rule]:
    """Whether each row of the answer is read where the row seen that equals it was written.

    In the row of the answer or in the one before it, and in the slot that was written in the
    row seen or in the one after it: a controller can carry a vector over.
    """
    inputs, targets, mask = episodes.batch
    same = (inputs[:, None, :, : targets.shape[2]] == targets.unsqueeze(2)).all(dim=3)
    same = same & mask.unsqueeze(2) & episodes.seeing.unsqueeze(1)  # (B, T answered, T seen)
    writers = range(episodes.state["write_weights"].shape[2])
    written = torch.stack([focus(episodes, "write", writer) for writer in writers], dim=2)
    places = focus(episodes, "read", head)
    before = torch.cat([places[:, :1], places[:, :-1]], dim=1)
    hit = torch.zeros_like(same)
    for read in (places, before):
        for slots in (written, torch.roll(written, -1, dims=1)):
            hit |= (read[:, :, None, None] == slots[:, None]).any(dim=3)
    answered = same.any(dim=2)
    if not answered.any():
        return []
    share = (hit & same).any(dim=2)[answered].float().mean().item()
    return [Rule(f"{name} reads each row of the answer where that row was written", share)]


def _modes(episodes: Episodes, head: int, name: str) -> list[Rule]:
    """Which of a DNC's read modes has the largest share, row by row of the answer."""
    if "read_modes" not in episodes.trace:
        return []
    largest = episodes.trace["read_modes"][episodes.batch.mask][:, head].argmax(dim=1)
    sentences = (
        f"{name} goes back in the order of writing while it answers",
        f"{name} looks up by content while it answers",
        f"{name} goes on in the order of writing while it answers",
    )
    return [
        Rule(sentence, (largest == mode).float().mean().item())
        for mode, sentence in enumerate(sentences)
    ]


def _allocates(episodes: Episodes, head: int, name: str) -> list[Rule]:
    """Whether a DNC writes to a free slot, not by content, in the rows seen."""
    if "write_allocation" not in episodes.trace:
        return []
    gate = episodes.trace["write_allocation"][episodes.seeing][:, head]
    share = (gate > 0.5).float().mean().item()
    return [Rule(f"{name} takes a free slot for each row seen", share)]


def _writes_little(episodes: Episodes) -> Rule:
    """The share is that of the memory's change, a row's mean, missing while it answers."""
    change = torch.tensor(memory_change(episodes))
    seeing = episodes.seeing.all(dim=0)
    answering = episodes.batch.mask.all(dim=0)
    if not seeing.any() or not answering.any():
        return Rule("nothing is written while it answers", 0.0)
    left = change[answering].mean() / change[seeing].mean().clamp_min(1e-12)
    return Rule("nothing is written while it answers", 1 - min(left.item(), 1.0))
