"""From a network and its card to a bundle folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
from safetensors.torch import save as save_safetensors
from torch import nn

from export import parity
from export.bundle import file_entry, write_manifest
from export.manifest import (
    FORMAT,
    INITIAL_STATE,
    STEP_ONNX,
    STEP_TORCHSCRIPT,
    STEP_TRACED_ONNX,
    WEIGHTS,
    Manifest,
)
from export.onnx import to_onnx, without_trace
from export.step import StepModule
from export.torchscript import to_torchscript
from model.families import Card, Network
from model.state import TensorSpec

Differences = dict[str, parity.Difference]  # by file


def pack(
    network: Network,
    card: Card,
    folder: Path,
    torchscript: bool = False,
    weights: bool = False,
) -> Manifest:
    """Write the bundle of `network` into `folder`, an existing one, with what else is asked for.
    Returns its manifest.

    Raises ParityError where an artefact does not compute what the network computes, and
    ManifestInvalid for names and sizes that no bundle may have.
    """
    step = StepModule(network, card.activation)
    traced = StepModule(network, card.activation, traced=True)
    names = [tensor.name for tensor in step.state_spec]
    state = dict(zip(names, step.initial_state(), strict=True))
    with_trace = to_onnx(traced)
    files = {
        INITIAL_STATE: save_safetensors(state),
        STEP_ONNX: without_trace(with_trace, step),
        STEP_TRACED_ONNX: with_trace,
    }
    if torchscript:
        files[STEP_TORCHSCRIPT] = to_torchscript(step)
    if weights:
        files[WEIGHTS] = save_safetensors(cast(nn.Module, network).state_dict())
    manifest = _manifest(network, card, files, _measure(step, traced, files))
    write_manifest(folder, manifest)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return manifest


def _measure(step: StepModule, traced: StepModule, files: dict[str, bytes]) -> Differences:
    steppers = {
        STEP_ONNX: (step, parity.onnx_stepper),
        STEP_TRACED_ONNX: (traced, parity.onnx_stepper),
        STEP_TORCHSCRIPT: (step, parity.torchscript_stepper),
    }
    return {
        file: parity.measure(module, make(files[file], module), file)
        for file, (module, make) in steppers.items()
        if file in files
    }


def _manifest(
    network: Network, card: Card, files: dict[str, bytes], differences: Differences
) -> Manifest:
    return Manifest(
        format=FORMAT,
        name=card.name,
        version=card.version,
        family=card.family,
        task=card.task,
        input=TensorSpec("x", (network.input_size,), "other"),
        output=TensorSpec("y", (network.output_size,), "other"),
        state=network.state_spec,
        trace=network.trace_spec,
        form=card.form,
        files={name: file_entry(data) for name, data in sorted(files.items())},
        parity={file: difference.step for file, difference in differences.items()},
        drift={file: difference.drift for file, difference in differences.items()},
        card=_plain(card),
    )


def _plain(card: Card) -> dict[str, Any]:
    return msgspec.to_builtins(card)
