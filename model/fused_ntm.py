# pyright: basic, reportMissingImports=false
"""The Neural Turing Machine on its kernel: several rows of many sessions in one launch.

Held to the eager step in Triton's interpreter, and compiled for A100 and H100 where there is none
(tests/model/test_fused_ntm.py): no GPU has run it yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from model.addressing import EPSILON
from model.controllers import INPUT_LIMIT, LSTMController
from model.families import Activation
from model.fused_kernel import ntm_rows
from model.neural_turing_machine import NeuralTuringMachine

CHUNK = 16  # inputs of a layer that are multiplied at a time
WARPS = 8


class FusedNTM:
    """The kernel with a network's weights, on their device.

    For one LSTM layer and the outputs "sigmoid" and "none". Raises ValueError for another.
    """

    def __init__(self, network: NeuralTuringMachine, activation: Activation) -> None:
        core = network.controller.core
        if not isinstance(core, LSTMController) or len(core.cells) != 1:
            raise ValueError("the fused step is of an NTM with one LSTM layer")
        if activation not in ("sigmoid", "none"):
            raise ValueError(f"the fused step's outputs are sigmoids or none, got {activation!r}")
        heads, bank = network.heads, network.bank
        self._weights = _weights(network, core.cells[0])
        self._y = network.output_size
        sizes = {
            "X": network.input_size,
            "Y": network.output_size,
            "N": bank.memory_size,
            "M": bank.memory_width,
            "H": network.heads.write_projection.in_features,
            "R": heads.read_heads,
            "W": heads.write_heads,
            "S": heads.shifts,
        }
        address = sizes["M"] + 3 + sizes["S"]
        emits = sizes["W"] * (address + 2 * sizes["M"])
        blocks = {f"B{name}": triton.next_power_of_2(sizes[name]) for name in "XYNMHS"}
        blocks |= {"BA": triton.next_power_of_2(sizes["R"] * address)}
        blocks |= {"BE": triton.next_power_of_2(emits), "CHUNK": CHUNK}
        seen = sizes["X"] + sizes["R"] * sizes["M"] + sizes["H"]
        self._scratch = seen + emits + sizes["R"] * address + sizes["N"]
        forms = {
            "SOFTMAX": heads.addressing.sharpening == "softmax",
            "SIGMOID": activation == "sigmoid",
        }
        self.sizes: dict[str, Any] = {
            **sizes, **blocks, **forms,
            "SCRATCH": self._scratch, "LIMIT": INPUT_LIMIT, "EPS": EPSILON,
        }  # fmt: skip

    def __call__(self, arrays: Sequence[Tensor], src: Tensor, dst: Tensor, x: Tensor) -> Tensor:
        """K rows of the sessions in the slots `src`; what they come to overwrites the slots `dst`.

        arrays: one (slots, *dims) a state tensor, in the order of the network's spec, in one piece.
        src, dst: (B,) int64; no slot is another's source and a target. x: (B, K, X). Returns y
        (B, K, Y).
        """
        batch, rows = x.shape[0], x.shape[1]
        y = x.new_empty(batch, rows, self._y)
        scratch = x.new_empty(batch, self._scratch)
        kernel: Any = ntm_rows
        kernel[(batch,)](
            *arrays, src, dst, x.contiguous(), y, scratch, *self._weights, rows, **self.sizes,
            num_warps=WARPS,
        )  # fmt: skip
        return y


def _weights(network: NeuralTuringMachine, cell: Any) -> list[Tensor]:
    """Each layer's matrix (inputs, outputs) and bias. The LSTM's are of x, reads and hidden in one;
    the output's columns come in the order in which the scratch has them, reads first."""
    controller = network.heads.write_projection.in_features
    output = network.output.weight.t()
    layers = [
        (torch.cat([cell.weight_ih, cell.weight_hh], 1).t(), cell.bias_ih + cell.bias_hh),
        (network.heads.write_projection.weight.t(), network.heads.write_projection.bias),
        (network.heads.read_projection.weight.t(), network.heads.read_projection.bias),
        (torch.cat([output[controller:], output[:controller]]), network.output.bias),
    ]
    return [tensor.detach().clone().contiguous() for layer in layers for tensor in layer]
