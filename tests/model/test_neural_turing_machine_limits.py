"""Extreme rows, weights and lengths make no NaN, and what makes no machine is refused."""

import pytest
import torch

from model.neural_turing_machine import MultiHeadNTM, NeuralTuringMachine
from model.state import flatten
from tests.model.machines import CONTROLLERS, B, M, N, T, X, Y, assert_weights, machine, rows


@pytest.mark.parametrize("sharpening", ["power", "softmax"])
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_extreme_rows_and_states_make_no_nan(controller, sharpening):
    ntm = machine(controller, sharpening=sharpening)
    with torch.no_grad():
        for scale in (0.0, 1e-30, 1e4, 1e30, 3.4e38):
            inputs = scale * rows().sign()
            state = ntm.initial_state(B)._replace(memory=torch.zeros(B, N, M))
            outputs, state = ntm.run(inputs, state)
            assert torch.isfinite(outputs).all()
            assert all(torch.isfinite(part).all() for part in flatten(state))
            assert_weights(state)


@pytest.mark.parametrize("bias", [-1e30, 1e30])
def test_extreme_head_parameters_make_no_nan(bias):
    ntm = machine()
    with torch.no_grad():
        # Strengths, gates and sharpness of 0 or 1e30, keys, erasures and additions of +-1.
        ntm.heads.read_projection.bias.fill_(bias)
        ntm.heads.write_projection.bias.fill_(bias)
        for inputs in (rows(), 0 * rows()):
            state = ntm.initial_state(B)
            for t in range(T):
                y, state = ntm.step(inputs[:, t], state)
                assert torch.isfinite(y).all()
                assert all(torch.isfinite(part).all() for part in flatten(state))
                assert_weights(state)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_ten_thousand_steps_in_float32_stay_finite_and_weights_sum_to_one(controller):
    ntm = machine(controller, read_heads=1, write_heads=1)
    inputs = 3 * rows(10_000)
    with torch.inference_mode():
        state = ntm.initial_state(B)
        for t in range(10_000):
            y, state = ntm.step(inputs[:, t], state)
            if t % 100 == 99:  # a NaN or Inf never goes away again
                assert_weights(state)
        assert all(torch.isfinite(part).all() for part in (y, *flatten(state)))
    assert state.memory.dtype == torch.float32


@pytest.mark.parametrize("shape", [(T, X), (B, T, X - 1), (B, 0, X), (B, T, X, 2)])
def test_a_sequence_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"inputs must be \(B, T, 9\) with T >= 1, got \("):
        machine()(torch.zeros(shape))


@pytest.mark.parametrize(
    "name",
    [
        "input_size",
        "output_size",
        "memory_size",
        "memory_width",
        "controller_size",
        "controller_layers",
        "read_heads",
        "write_heads",
    ],
)
@pytest.mark.parametrize("size", [0, -1, 2.0, "8", True])
def test_a_size_that_is_none_is_refused_by_name(name, size):
    sizes = {"input_size": X, "output_size": Y, "memory_size": N, "memory_width": M}
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, got {size!r}"):
        NeuralTuringMachine(**{**sizes, name: size})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift_range": 4}, "shift_range 4 needs memory_size >= 9, got 7"),
        ({"shift_range": -1}, "shift_range must be an integer of at least 0, got -1"),
        ({"controller": "gru"}, 'controller must be "lstm", "feedforward" or "attention"'),
        ({"memory_init": "zeros"}, 'memory_init must be "constant", "learned" or "random"'),
        ({"sharpening": "max"}, 'sharpening must be "power" or "softmax"'),
        ({"controller": "attention", "controller_size": 90}, "multiple of 4 attention heads"),
        ({"controller": "attention", "controller_layers": 2}, "attention controller has 1 layer"),
    ],
)
def test_options_that_make_no_machine_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        NeuralTuringMachine(X, Y, N, M, **options)


def test_the_widest_shift_that_fits_is_taken():
    assert NeuralTuringMachine(X, Y, N, M, shift_range=3)(rows()).shape == (B, T, Y)


def test_many_heads_need_at_least_one():
    with pytest.raises(ValueError, match="read_heads must be an integer of at least 1, got 0"):
        MultiHeadNTM(X, Y, N, M, num_heads=0)
