"""How a trained memory is used, in numbers: where, how, for how long, and what it stands.

All of it is measured on `Episodes` of a network with memory, read_weights and write_weights in
its state (and, for `access`, an NTM's or a DNC's trace). A head is "focused" on the slot with its
largest weight where that is above FOCUSED.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from model.dnc_interface import MODES
from model.episodes import Episodes, record
from model.families import Network
from model.tasks import Batch, Task

FOCUSED = 0.5
KINDS = ("read", "write")


def utilisation(episodes: Episodes) -> dict[str, float]:
    """Slots that some head was ever focused on, and exp(entropy) of the weights' sum over time.

    A sequence's mean of each; `slots` is N.
    """
    found: dict[str, float] = {"slots": episodes.state["memory"].shape[2]}
    for kind in KINDS:
        weights = episodes.state[f"{kind}_weights"]  # (B, T, K, N)
        touched = (weights > FOCUSED).flatten(1, 2).any(dim=1)
        total = weights.sum(dim=(1, 2))
        share = total / total.sum(dim=1, keepdim=True)
        entropy = torch.special.entr(share).sum(dim=1)
        found[f"{kind}_focused"] = touched.sum(dim=1).float().mean().item()
        found[f"{kind}_effective"] = entropy.exp().mean().item()
    return found


def access(episodes: Episodes) -> dict[str, Any]:
    """How often the ways of addressing act, by kind of head and part of the episode.

    Of an NTM, content: mean gate g; kept: 1 - g; shift: mean probability of each shift, lowest
    first; strength, sharpness: means. Of a DNC that reads, backward, content, forward: the modes;
    freed: the free gates; strength. Of one that writes, allocation and content: how much goes to
    free slots and by content; nothing: what is not written; strength.
    focus: mean largest weight. Means over rows, heads, sequences.
    """
    of = _access_of if "read_shift" in episodes.trace else _dnc_access_of
    parts = {"seeing": episodes.seeing, "answering": episodes.batch.mask}
    found: dict[str, Any] = {}
    for kind in KINDS:
        found[kind] = {part: of(episodes, kind, rows) for part, rows in parts.items() if rows.any()}
    return found


def _access_of(episodes: Episodes, kind: str, rows: Tensor) -> dict[str, Any]:
    def mean(name: str) -> float:
        return episodes.trace[f"{kind}_{name}"][rows].mean().item()

    shift = episodes.trace[f"{kind}_shift"][rows].mean(dim=(0, 1))
    focus = episodes.state[f"{kind}_weights"][rows].amax(dim=2).mean().item()
    gate = mean("gate")
    return {
        "content": gate,
        "kept": 1 - gate,
        "shift": shift.tolist(),
        "strength": mean("strength"),
        "sharpness": mean("sharpness"),
        "focus": focus,
    }


def _dnc_access_of(episodes: Episodes, kind: str, rows: Tensor) -> dict[str, Any]:
    def mean(name: str) -> Tensor:
        return episodes.trace[f"{kind}_{name}"][rows].mean(dim=(0, 1))

    focus = episodes.state[f"{kind}_weights"][rows].amax(dim=2).mean().item()
    told: dict[str, Any] = {"strength": mean("strength").item(), "focus": focus}
    if kind == "read":
        modes = dict(zip(MODES, mean("modes").tolist(), strict=True))
        return modes | {"freed": mean("free").item()} | told
    gate, free = (episodes.trace[f"write_{name}"][rows] for name in ("gate", "allocation"))
    allocated, written = (gate * free).mean().item(), gate.mean().item()
    ways = {"allocation": allocated, "content": written - allocated, "nothing": 1 - written}
    return ways | told


def memory_change(episodes: Episodes) -> list[float]:
    """sum_ij |M_t(i, j) - M_{t-1}(i, j)| of each row t: the mean over the sequences."""
    memory = episodes.state["memory"]
    before = torch.cat([episodes.first["memory"].unsqueeze(1), memory[:, :-1]], dim=1)
    return (memory - before).abs().sum(dim=(2, 3)).mean(dim=0).tolist()


def persistence(episodes: Episodes) -> dict[str, float]:
    """How many rows a slot keeps what a head focused on it wrote.

    A write counts as lost in the row where the slot has moved from it by more than half of what
    was written, |M_t'(i) - M_t(i)| > |M_t(i)| / 2. writes: a sequence; rows: the mean time a
    write was followed, lost: the share of writes lost before the last row.
    """
    memory, weights = episodes.state["memory"], episodes.state["write_weights"]
    kept: list[Tensor] = []
    lost: list[Tensor] = []
    rows, batch = memory.shape[1], memory.shape[0]
    for row in range(rows):
        for head in range(weights.shape[2]):
            largest, slot = weights[:, row, head].max(dim=1)
            later = memory[torch.arange(batch), row:, slot]  # (B, T - row, M)
            moved = (later - later[:, :1]).norm(dim=2) > later[:, :1].norm(dim=2) / 2
            intact = (moved.long().cumsum(dim=1) == 0).sum(dim=1)
            focused = largest > FOCUSED
            kept.append(intact[focused])
            lost.append(intact[focused] < rows - row)
    lasted, gone = torch.cat(kept).float(), torch.cat(lost).float()
    if not lasted.numel():
        return {"writes": 0.0, "rows": 0.0, "lost": 0.0}
    return {
        "writes": lasted.numel() / batch,
        "rows": lasted.mean().item(),
        "lost": gone.mean().item(),
    }


def probe(episodes: Episodes) -> list[dict[str, float]]:
    """What the slots hold: can a linear map tell an input row from the slot written with it?

    For each row seen, the slot that the first write head had its largest weight on, as it is
    when the answer begins. One least-squares map for all rows, fitted on the first half of the
    sequences; accuracy over the bits of the others, row by row, with the commonest slot.
    """
    inputs, memory = episodes.batch.inputs, episodes.state["memory"]
    begin = int(episodes.seeing.sum(dim=1).min())
    slots = episodes.state["write_weights"][:, :begin, 0].argmax(dim=2)  # (B, begin)
    held = memory[:, begin - 1].take_along_dim(slots.unsqueeze(2), dim=1)
    held = torch.cat([held, torch.ones_like(held[:, :, :1])], dim=2)
    bits = inputs[:, :begin, : episodes.batch.targets.shape[2]]
    half = max(1, inputs.shape[0] // 2)
    solution = torch.linalg.lstsq(held[:half].flatten(0, 1), bits[:half].flatten(0, 1)).solution
    right = ((held[half:] @ solution > 0.5) == (bits[half:] > 0.5)).float().mean(dim=(0, 2))
    places = slots.mode(dim=0).values.tolist()
    return [
        {"row": row, "slot": slot, "accuracy": accuracy}
        for row, (slot, accuracy) in enumerate(zip(places, right.tolist(), strict=True))
    ]


def noise(
    network: Network, task: Task, batch: Batch, deviations: Sequence[float], seed: int = 1
) -> list[dict[str, float]]:
    """Wrong bits a sequence where Gaussian noise is added to the memory once, as the answer
    begins; `deviations` of it, in units of the memory's own entries."""
    begin = batch.mask.long().argmax(dim=1)
    found: list[dict[str, float]] = []
    for deviation in deviations:
        generator = Generator().manual_seed(seed)

        def disturb(row: int, memory: Tensor, scale: float = deviation) -> Tensor:
            drawn = torch.randn(memory.shape, generator=generator).to(memory.device)  # noqa: B023
            return memory + scale * drawn * (begin == row).to(memory).view(-1, 1, 1)

        episodes = record(network, batch, disturb)
        wrong = task.measures(episodes.logits, batch).wrong_bits.mean().item()
        found.append({"deviation": deviation, "wrong_bits": wrong})
    return found
