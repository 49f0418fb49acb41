"""A family's fused step: all rows of a call in one launch, straight on the slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from model.families import fused, restore
from service.engine.runtime import BackendError, Floats, StepOutput
from service.engine.torch_arrays import TorchArrays

# (slot arrays, src (B,), dst (B,), x (B, K, X)) -> y (B, K, Y); what comes of src overwrites dst.
FusedStep = Callable[[Sequence[Tensor], Tensor, Tensor, Tensor], Tensor]


def fused_step(family: str, card: dict[str, Any], weights: bytes, device: str) -> FusedStep:
    """The fused step of a bundle's network. Raises BackendError where there is none."""
    try:
        network = restore(family, card["network"], weights)
        cast(nn.Module, network).requires_grad_(False).to(device)
        return fused(network, card["activation"])
    except ImportError as error:
        raise BackendError(
            "NTM_RUNTIME=fused needs triton, which comes with torch for CUDA"
        ) from error
    except (KeyError, SafetensorError, ValueError) as error:
        raise BackendError(f"NTM_RUNTIME=fused: {error}") from error


class Fused(TorchArrays):
    """One program a session: a row does not depend on its batch, and nothing is padded."""

    name = "fused"

    def __init__(self, step: FusedStep, device: str, threads: int) -> None:
        super().__init__(device, threads)
        self._step = step

    @torch.inference_mode()
    def run(
        self,
        arrays: Sequence[Tensor],
        src: Sequence[int],
        dst: Sequence[int],
        x: Floats,
        watch: Sequence[int],
    ) -> StepOutput:
        """See `Backend`."""
        rows = torch.from_numpy(np.ascontiguousarray(x)).to(self.device)
        sources = torch.tensor(src, dtype=torch.int64, device=self.device)
        if len(dst) == len(src):
            targets = torch.tensor(dst, dtype=torch.int64, device=self.device)
            return self._ran(arrays, sources, targets, rows, watch)
        held = self.gather(arrays, src)  # what some come to is kept nowhere: in slots of their own
        own = torch.arange(len(src), device=self.device)
        output = self._ran(held, own, own, rows, watch)
        self.scatter(arrays, dst, held)
        return output

    def _ran(
        self, arrays: Sequence[Tensor], src: Tensor, dst: Tensor, x: Tensor, watch: Sequence[int]
    ) -> StepOutput:
        if not watch:
            return StepOutput(self._step(arrays, src, dst, x).cpu().numpy(), [])
        outputs: list[Tensor] = []
        seen: list[list[Tensor]] = [[] for _ in watch]
        for row in x.split(1, dim=1):  # a launch each, to look between
            outputs.append(self._step(arrays, src, dst, row))
            src = dst
            for kept, at in zip(seen, watch, strict=True):
                kept.append(arrays[at].index_select(0, dst))
        watched = [torch.stack(kept, 1).cpu().numpy() for kept in seen]
        return StepOutput(torch.cat(outputs, 1).cpu().numpy(), watched)
