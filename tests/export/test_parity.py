from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from export.bundle import STEP_ONNX, read_bundle
from export.errors import ParityError
from export.onnx import to_onnx
from export.parity import (
    LIMITS,
    Arrays,
    Stepper,
    follow,
    measure,
    onnx_stepper,
    torchscript_stepper,
)
from export.step import StepModule
from export.torchscript import to_torchscript
from tests.export.conftest import small_step


@pytest.fixture(scope="module")
def step() -> StepModule:
    return small_step()


@pytest.fixture(scope="module")
def model(small_bundle: Path) -> bytes:
    return read_bundle(small_bundle).read(STEP_ONNX)


def eager(step: StepModule) -> Stepper:
    """The network itself, as an artefact."""

    def run(inputs: Arrays) -> Arrays:
        with torch.no_grad():
            return [output.numpy() for output in step(*map(torch.from_numpy, inputs))]

    return run


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"controller_layers": 2, "sharpening": "softmax"}, id="lstm"),
        pytest.param({"controller": "feedforward", "memory_init": "random"}, id="feedforward"),
        pytest.param(
            {"controller": "attention", "read_heads": 1, "write_heads": 1, "shift_range": 2},
            id="attention",
        ),
    ],
)
def test_every_kind_of_network_exports_and_holds_parity(changes: dict[str, Any]) -> None:
    step = small_step(traced=True, **changes)
    difference = measure(step, onnx_stepper(to_onnx(step), step), "step_traced.onnx")
    assert 0 < difference.step <= 1e-5
    assert np.isfinite(difference.drift)
    plain = small_step(**changes)
    program = to_torchscript(plain)
    assert measure(plain, torchscript_stepper(program, plain), "step.torchscript.pt").step <= 1e-5


def test_the_network_does_not_differ_from_itself(step: StepModule) -> None:
    assert measure(step, eager(step), "itself") == (0.0, 0.0)


def test_the_artefact_is_stepped_64_times_at_batch_1_3_and_17_and_from_zeros(
    step: StepModule,
) -> None:
    seen: list[tuple[int, bool]] = []
    run = eager(step)

    def counting(inputs: Arrays) -> Arrays:
        seen.append((len(inputs[0]), not any(array.any() for array in inputs[1:])))
        return run(inputs)

    measure(step, counting, "itself")
    for batch in (1, 3, 17):
        assert seen.count((batch, False)) >= 2 * 64
        assert seen.count((batch, True)) == 1


@pytest.mark.parametrize("weight", ["heads.read_projection.bias", "output.weight"])
def test_a_weight_that_is_off_by_a_thousandth_fails(
    step: StepModule, model: bytes, weight: str
) -> None:
    changed = onnx.load_from_string(model)
    (tensor,) = [t for t in changed.graph.initializer if t.name == f"network.{weight}"]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += 1e-3
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with pytest.raises(ParityError, match=r"mutant\.onnx: '\w+' should be within 1e-05"):
        measure(step, onnx_stepper(changed.SerializeToString(), step), "mutant.onnx")


class Strong(StepModule):
    """A step that tells one output greater by 40, and then by a share of itself."""

    raised, share = "", 0.0

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        outputs, place = list(super().forward(x, *state)), self.output_names.index(self.raised)
        outputs[place] = (outputs[place] + 40) * (1 + self.share)
        return tuple(outputs)


@pytest.mark.parametrize(
    ("raised", "share", "holds"),
    [("read_strength", 5e-6, True), ("read_strength", 2e-5, False), ("y", 5e-6, False)],
)
def test_a_traces_great_numbers_are_held_to_parts_of_themselves_and_no_others(
    raised: str, share: float, holds: bool
) -> None:
    step, other = (Strong(small_step().network, "sigmoid", traced=True) for _ in range(2))
    step.raised, other.raised, other.share = raised, raised, share
    if holds:
        assert 2e-6 < measure(step, eager(other), "itself").step <= 1e-5
    else:
        with pytest.raises(ParityError, match=f"'{raised}' should be within 1e-05"):
            measure(step, eager(other), "mutant")


def test_logits_in_place_of_probabilities_fail(step: StepModule) -> None:
    logits = small_step()
    logits.activation = "none"
    with pytest.raises(ParityError, match="'y' should be within"):
        measure(step, eager(logits), "mutant")


def test_the_epsilon_of_the_cosine_must_not_be_simplified_away(
    step: StepModule, model: bytes
) -> None:
    changed = onnx.load_from_string(model)
    small = {
        tensor.name
        for tensor in changed.graph.initializer
        if numpy_helper.to_array(tensor).size == 1
        and 0 < float(numpy_helper.to_array(tensor).flat[0]) < 1e-7
    }
    adds = [n for n in changed.graph.node if n.op_type == "Add" and small & set(n.input)]
    assert len(adds) == 2  # one for the read heads' cosine and one for the write heads'
    for node in adds:
        node.op_type = "Identity"
        kept = [name for name in node.input if name not in small]
        del node.input[:]
        node.input.extend(kept)
    with pytest.raises(ParityError, match="differs by nan"):
        measure(step, onnx_stepper(changed.SerializeToString(), step), "mutant.onnx")


def test_an_artefact_that_keeps_a_state_of_its_own_fails(step: StepModule) -> None:
    run, kept = eager(step), []

    def stateful(inputs: Arrays) -> Arrays:
        outputs = run(inputs)
        kept.append(outputs[0])
        return [kept[-2] if len(kept) > 1 else outputs[0], *outputs[1:]]

    with pytest.raises(ParityError, match="'y'"):
        measure(step, stateful, "mutant")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_fails(step: StepModule, value: float) -> None:
    run = eager(step)

    def broken(inputs: Arrays) -> Arrays:
        outputs = run(inputs)
        outputs[1] = outputs[1].copy()
        outputs[1][-1, 0, 0] = value
        return outputs

    with pytest.raises(ParityError, match="'memory_next'.*differs by (nan|inf)"):
        measure(step, broken, "mutant")


def test_a_mistake_only_in_states_the_network_itself_never_comes_to_fails(
    step: StepModule,
) -> None:
    """Its memory is always a little off, and it is wrong only where the memory is."""
    run, known = eager(step), {step.initial_state()[0].numpy().tobytes(), bytes(4 * 7 * 5)}

    def mutant(inputs: Arrays) -> Arrays:
        outputs = run(inputs)
        right = all(memory.tobytes() in known for memory in inputs[1])
        known.update(memory.tobytes() for memory in outputs[1])
        bias = np.float32(0 if right else 1)
        return [outputs[0] + bias, outputs[1] + np.float32(4e-6), *outputs[2:]]

    with pytest.raises(ParityError, match="'y'.*from its own state"):
        measure(step, mutant, "mutant")


def test_what_strays_further_with_every_step_fails_by_its_drift(
    step: StepModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LIMITS, "drift", 1.2e-5)
    run = eager(step)

    def straying(inputs: Arrays) -> Arrays:
        outputs = run(inputs)
        return [outputs[0], outputs[1] + np.float32(6e-6), *outputs[2:]]

    with pytest.raises(ParityError, match="within 1.2e-05 .*free-running"):
        measure(step, straying, "mutant")


def test_over_a_thousand_steps_every_artefact_is_the_networks_within_1e5_a_step(
    step: StepModule, model: bytes
) -> None:
    for stepper in (onnx_stepper(model, step), torchscript_stepper(to_torchscript(step), step)):
        difference = follow(step, stepper, "an artefact")
        assert difference.step <= 1e-5  # TorchScript's is 0: the same kernels
        assert difference.step <= difference.drift < 1e-2


def test_a_step_that_is_off_late_and_a_little_is_refused(step: StepModule) -> None:
    run, calls = eager(step), [0]

    def off(inputs: Arrays) -> Arrays:
        calls[0] += 1
        y, *state = run(inputs)
        return [y + np.float32(1e-4) if calls[0] > 150 else y, *state]

    measure(step, run, "an artefact")
    with pytest.raises(ParityError, match=r"'y' should be within 1e-05.* at batch 3, row 7"):
        follow(step, off, "an artefact", rows=100)
