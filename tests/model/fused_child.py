# pyright: reportMissingImports=false
"""Compiles the fused kernel for GPUs without one, at the copy model's sizes. A process of its own:
where Triton interprets, it does not compile. Prints a line a GPU."""

from __future__ import annotations

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from model.fused_kernel import ntm_rows
from model.fused_ntm import WARPS, FusedNTM
from model.neural_turing_machine import NeuralTuringMachine

CAPABILITIES = (80, 90)  # A100, H100


def main() -> None:
    torch.manual_seed(1)
    sizes = FusedNTM(NeuralTuringMachine(9, 8, 128, 20), "sigmoid").sizes
    kernel = ntm_rows
    kinds = {"K": "i32", "sources": "*i64", "targets": "*i64"}
    signature = {
        name: "constexpr" if name in sizes else kinds.get(name, "*fp32")
        for name in kernel.arg_names
    }
    constants = {(kernel.arg_names.index(name),): value for name, value in sizes.items()}
    for capability in CAPABILITIES:
        source = ASTSource(kernel, signature, constants)
        target = GPUTarget("cuda", capability, 32)
        made = compile(source, target=target, options={"num_warps": WARPS})
        print(capability, len(made.asm["cubin"]), ".f64" in made.asm["ptx"])


if __name__ == "__main__":
    main()
