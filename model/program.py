"""The circuits a Neural Random-Access Machine has learned, as a program for people.

A discrete machine makes one circuit of each pattern of zeros in its registers (an LSTM controller
also of what came before). Those that some tapes lead to are told, a line a module call, without the
calls and registers that nothing comes of.
"""

import copy
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from model.circuit import Circuit
from model.modules14 import CONSTANTS, MODULES
from model.nram import NRAM

Zeros = tuple[bool, ...]  # of each register: is it 0?


class Block(NamedTuple):
    """One circuit, by the places of its values: registers first, then the modules' outputs."""

    arguments: tuple[tuple[int, ...], ...]  # of each module
    sources: tuple[int, ...]  # of each register
    halts: bool


def blocks(network: NRAM, tape: Tensor) -> dict[Block, list[Zeros]]:
    """Each block that runs from these tapes (B, M, M) come to, in order of first use, and for
    which zeros. A machine that does not halt is stopped after 4 M steps."""
    machine = copy.deepcopy(network).eval()
    machine.discrete = True
    state, x = machine.begin({"tape": tape}), tape.new_ones(tape.shape[0], 1)
    found: dict[Block, list[Zeros]] = {}
    with torch.no_grad():
        for _ in range(4 * tape.shape[1]):
            going = state.running[:, 0] > 0.5
            if not going.any():
                break
            zeros = state.registers[:, :, 0] > 0.5
            y, state, chosen = machine.step_traced(x, state)
            for row in going.nonzero().flatten().tolist():
                block = _block(chosen, row, bool(y[row, 0] > 0.5))
                seen = found.setdefault(block, [])
                if (pattern := tuple(zeros[row].tolist())) not in seen:
                    seen.append(pattern)
    return found


def _block(chosen: Circuit, row: int, halts: bool) -> Block:
    places = chosen.arguments[row].argmax(dim=1).tolist()
    arguments: list[tuple[int, ...]] = []
    for module in MODULES:
        arguments.append(tuple(places[: module.arguments]))
        del places[: module.arguments]
    return Block(tuple(arguments), tuple(chosen.sources[row].argmax(dim=1).tolist()), halts)


def describe(found: Mapping[Block, list[Zeros]]) -> str:
    """The blocks as text: when each runs, its calls, what the registers become, and the halt."""
    registers = len(next(iter(found)).sources)
    watched = watched_registers(found)
    kept = live_registers(found, watched)
    lines: list[str] = []
    for number, (block, seen) in enumerate(found.items(), 1):
        conditions = _conditions(seen, watched)
        lines.append(f"{number}. when {conditions}:" if conditions else f"{number}. always:")
        lines += [f"   {line}" for line in _calls(block, registers, kept)]
        lines.append("   halt" if block.halts else "   next step")
    return "\n".join(lines)


def watched_registers(found: Mapping[Block, list[Zeros]]) -> list[int]:
    """Registers whose zeros tell the blocks apart; one that others make up for is left out."""
    cases = [(zeros, block) for block, seen in found.items() for zeros in seen]
    kept = list(range(len(next(iter(found)).sources)))
    for register in reversed(range(len(kept))):
        fewer = [other for other in kept if other != register]
        told: dict[Zeros, set[Block]] = {}
        for zeros, block in cases:
            told.setdefault(tuple(zeros[other] for other in fewer), set()).add(block)
        everything = {zeros: {b for z, b in cases if z == zeros} for zeros, _ in cases}
        most = max(len(known) for known in everything.values())  # above 1 where it remembers
        if max(len(known) for known in told.values()) <= most:
            kept = fewer
    return kept


def live_registers(found: Mapping[Block, list[Zeros]], watched: list[int]) -> set[int]:
    """Registers that decide which block runs, or that a live call of some block reads."""
    registers, live = len(next(iter(found)).sources), set(watched)
    while True:
        read = {
            place for block in found for place in _used(block, registers, live) if place < registers
        }
        if read <= live:
            return live
        live |= read


def _used(block: Block, registers: int, live: set[int]) -> set[int]:
    """Every place that WRITE or the next value of a live register needs, those in turn needed
    included. After a halt no register is needed."""
    needed = set() if block.halts else {block.sources[register] for register in live}
    needed.add(registers + len(MODULES) - 1)
    for module in reversed(range(len(MODULES))):
        if registers + module in needed:
            needed |= set(block.arguments[module])
    return needed


def _calls(block: Block, registers: int, live: set[int]) -> list[str]:
    used, lines = _used(block, registers, live), list[str]()
    for number, module in enumerate(MODULES):
        if registers + number in used and module.name not in CONSTANTS:
            given = ", ".join(_name(place, registers) for place in block.arguments[number])
            call = f"{module.name}({given})"
            name = _name(registers + number, registers)
            lines.append(call if module.name == "WRITE" else f"{name} = {call}")
    changes = [
        f"r{register + 1} <- {_name(block.sources[register], registers)}"
        for register in sorted(live)
        if block.sources[register] != register and not block.halts
    ]
    return lines + ([", ".join(changes)] if changes else [])


def _name(place: int, registers: int) -> str:
    if place < registers:
        return f"r{place + 1}"
    name = MODULES[place - registers].name
    return "0" if name == "WRITE" else str(CONSTANTS.get(name, name.lower().replace("-", "_")))


def _conditions(seen: list[Zeros], watched: list[int]) -> str:
    cases = dict.fromkeys(tuple(zeros[register] for register in watched) for zeros in seen)
    told = [
        " and ".join(
            f"r{register + 1} {'=' if zero else '>'} 0"
            for register, zero in zip(watched, zeros, strict=True)
        )
        for zeros in cases
    ]
    return " or ".join(told)
