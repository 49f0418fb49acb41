from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from export.step import EXAMPLE_BATCH, StepModule
from model.families import Network, build
from model.state import flatten
from tests.export.conftest import SMALL


@pytest.fixture
def network() -> Network:
    torch.manual_seed(3)
    return cast(Network, build("ntm", SMALL))


def test_inputs_and_outputs_are_named_in_the_order_of_the_specs(network: Network) -> None:
    state = [tensor.name for tensor in network.state_spec]
    trace = [tensor.name for tensor in network.trace_spec]
    step = StepModule(network, "sigmoid", traced=True)
    assert step.input_names == ["x", *state]
    assert step.output_names == ["y", *(f"{name}_next" for name in state), *trace]
    assert StepModule(network, "sigmoid").output_names == step.output_names[: 1 + len(state)]


def test_a_step_over_flat_tensors_is_the_networks_own(network: Network) -> None:
    x = torch.randn(3, network.input_size)
    logits, following, trace = network.step_traced(x, network.initial_state(3))
    got = StepModule(network, "none", traced=True)(x, *flatten(network.initial_state(3)))
    want = (logits, *flatten(following), *flatten(trace))
    assert len(got) == len(want)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize(
    ("activation", "function"),
    [("sigmoid", torch.sigmoid), ("softmax", lambda y: torch.softmax(y, 1)), ("none", lambda y: y)],
)
def test_the_activation_is_put_over_y_alone(
    network: Network, activation: Any, function: Any
) -> None:
    step, plain = StepModule(network, activation), StepModule(network, "none")
    (y, *state), (logits, *unchanged) = step(*step.example()), plain(*step.example())
    assert torch.equal(y, function(logits))
    assert all(torch.equal(a, b) for a, b in zip(state, unchanged, strict=True))


def test_another_activation_is_refused(network: Network) -> None:
    with pytest.raises(ValueError, match='"softmax" or "none", got \'relu\''):
        StepModule(network, cast(Any, "relu"))


def test_the_network_itself_is_left_trainable_and_as_it_was(network: Network) -> None:
    module = cast(torch.nn.Module, network).train()
    step = StepModule(network, "sigmoid")
    assert module.training and all(weight.requires_grad for weight in module.parameters())
    assert not step.training and not any(weight.requires_grad for weight in step.parameters())


def test_the_state_to_begin_with_is_the_networks_without_a_batch_axis(network: Network) -> None:
    tensors = StepModule(network, "sigmoid").initial_state()
    for spec, got, want in zip(
        network.state_spec, tensors, flatten(network.initial_state(1)), strict=True
    ):
        assert got.shape == spec.dims and got.dtype == torch.float32
        torch.testing.assert_close(got, want[0], rtol=1e-6, atol=1e-7)


def test_the_example_has_a_batch_that_no_dimension_of_a_network_stands_for(
    network: Network,
) -> None:
    example = StepModule(network, "sigmoid").example()
    assert EXAMPLE_BATCH > 1
    assert [tensor.shape[0] for tensor in example] == [EXAMPLE_BATCH] * len(example)
