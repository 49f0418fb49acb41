"""The circuit of a Neural Random-Access Machine: which value goes where in one step.

The modules run in the order of MODULES. An argument of the i-th is a weighted mean of the R
registers and the outputs of the modules before it; a register's next value is one of the registers
and all outputs (Kurach et al. 2016, section 3.1).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.modules14 import BINARY, CONSTANTS, MODULES, UNARY, constant, read, write

ARGUMENTS = sum(module.arguments for module in MODULES)  # choices the modules need, all together
NEVER = -1e9  # a logit that no softmax gives any weight
SMALLEST = 1e-30  # of a register's sum: one of zeros, which a client may send, stays so


class Circuit(NamedTuple):
    """Softmaxes over V = R + 14 values, the registers first, then the modules' outputs in order."""

    arguments: Tensor  # (B, ARGUMENTS, V), one after the other in the order of MODULES
    sources: Tensor  # (B, R, V), of each register's next value


def allowed(registers: int) -> Tensor:
    """(ARGUMENTS + R, V), bool: what a choice may take, so that no module waits for a later one."""
    values = registers + len(MODULES)
    known = [
        registers + place for place, module in enumerate(MODULES) for _ in range(module.arguments)
    ]
    limits = torch.tensor(known + [values] * registers)
    return torch.arange(values).unsqueeze(0) < limits.unsqueeze(1)


def choose(logits: Tensor, may: Tensor, discrete: bool) -> tuple[Circuit, Tensor]:
    """The circuit, and the mean entropy of its choices.

    logits: (B, C, V), C = ARGUMENTS + R; may: (C, V), from `allowed`. discrete: each choice takes
    its likeliest value alone, the first of several. Returns the entropy (B, 1) in nats.
    """
    logits = torch.where(may, logits, NEVER)
    if discrete:
        best = logits.argmax(dim=2, keepdim=True)
        chosen = (best == torch.arange(logits.shape[2], device=logits.device)).to(logits.dtype)
        entropy = logits.new_zeros(logits.shape[0], 1)
    else:
        logs = torch.log_softmax(logits, dim=2)
        chosen = logs.exp()
        entropy = -(chosen * logs).flatten(1).sum(dim=1, keepdim=True) / logits.shape[1]
    return Circuit(chosen[:, :ARGUMENTS], chosen[:, ARGUMENTS:]), entropy


def run(circuit: Circuit, registers: Tensor, tape: Tensor) -> tuple[Tensor, Tensor]:
    """One pass through all modules: o_i = m_i(v^T a_i, v^T b_i), then r_i' = v^T c_i.

    registers: (B, R, M), tape: (B, M, M). Returns both as they are afterwards. READ sees the tape
    before this step's WRITE, which gives 0. Registers are made to sum to 1: a module of two
    arguments multiplies their sums, so what rounding adds to a sum is squared again and again.
    """
    values, used = [registers], 0
    constants = [constant(registers[:, 0], value) for value in (0, 1, 2)]
    for module in MODULES:
        if module.name in CONSTANTS:
            values.append(constants[CONSTANTS[module.name]].unsqueeze(1))
            continue
        known = torch.cat(values, dim=1)
        values = [known]
        chosen = circuit.arguments[:, used : used + module.arguments, : known.shape[1]]
        arguments = torch.bmm(chosen, known).unbind(dim=1)
        used += module.arguments
        if module.name == "READ":
            output = read(tape, *arguments)
        elif module.name == "WRITE":
            tape, output = write(tape, *arguments), constants[0]
        elif module.name in UNARY:
            output = UNARY[module.name](*arguments)
        else:
            output = BINARY[module.name](*arguments)
        values.append(output.unsqueeze(1))
    return _normalised(torch.bmm(circuit.sources, torch.cat(values, dim=1))), tape


def _normalised(registers: Tensor) -> Tensor:
    return registers / registers.sum(dim=2, keepdim=True).clamp(min=SMALLEST)
