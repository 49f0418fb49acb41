"""From the controller's output to named parameters, to weights."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model import memory as bank
from model.heads import HeadParameters, ReadWriteHeads
from tests.model import slow

B, H, N, M, R, W, REACH = 6, 11, 7, 5, 4, 2, 1
S = 2 * REACH + 1


def heads() -> ReadWriteHeads:
    torch.manual_seed(0)
    return ReadWriteHeads(H, M, R, W, REACH)


def drawn(seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(B, H), torch.randn(B, N, M)


def focused(count: int) -> Tensor:
    return torch.softmax(2 * torch.randn(B, count, N), dim=2)


def assert_in_range(address: HeadParameters, count: int) -> None:
    shapes = [tuple(part.shape) for part in address]
    assert shapes == [(B, count, size) for size in (M, 1, 1, S, 1)]
    assert (address.key.abs() <= 1).all()
    assert (address.strength > 0).all()
    assert ((address.gate > 0) & (address.gate < 1)).all()
    torch.testing.assert_close(address.shift.sum(dim=2), torch.ones(B, count))
    assert (address.sharpness >= 1).all()


def test_parameters_have_the_shapes_and_ranges_they_state():
    output, _ = drawn()
    machine = heads()
    assert_in_range(machine.read_parameters(output), R)
    write = machine.write_parameters(output)
    assert_in_range(write.address, W)
    assert write.erase.shape == write.add.shape == (B, W, M)
    assert ((write.erase > 0) & (write.erase < 1)).all()
    assert (write.add.abs() < 1).all()


def test_a_read_projection_is_key_strength_gate_shift_sharpness_head_by_head():
    machine = heads()
    size = M + 1 + 1 + S + 1
    raw = torch.randn(R, size)
    with torch.no_grad():
        machine.read_projection.weight.zero_()
        machine.read_projection.bias.copy_(raw.flatten())
    got = machine.read_parameters(torch.randn(B, H))
    for r in range(R):
        numbers = raw[r].tolist()
        wanted = (
            [math.tanh(v) for v in numbers[:M]],
            [math.log1p(math.exp(numbers[M]))],
            [1 / (1 + math.exp(-numbers[M + 1]))],
            slow.softmax(numbers[M + 2 : M + 2 + S]),
            [1 + math.log1p(math.exp(numbers[-1]))],
        )
        for part, values in zip(got, wanted, strict=True):
            torch.testing.assert_close(part[:, r], torch.tensor(values).expand(B, -1))


def test_a_write_projection_ends_with_erase_and_add():
    machine = heads()
    raw = torch.randn(W, M + 1 + 1 + S + 1 + M + M)
    with torch.no_grad():
        machine.write_projection.weight.zero_()
        machine.write_projection.bias.copy_(raw.flatten())
    got = machine.write_parameters(torch.randn(B, H))
    torch.testing.assert_close(got.address.key, torch.tanh(raw[:, :M]).expand(B, -1, -1))
    erase, add = torch.sigmoid(raw[:, -2 * M : -M]), torch.tanh(raw[:, -M:])
    torch.testing.assert_close(got.erase, erase.expand(B, -1, -1))
    torch.testing.assert_close(got.add, add.expand(B, -1, -1))


def test_weights_match_the_loop():
    machine = heads()
    output, memory = drawn()
    for count, compute, head in (
        (R, machine.compute_read_weights, machine.read_parameters(output)),
        (W, machine.compute_write_weights, machine.write_parameters(output).address),
    ):
        previous = focused(count)
        got = compute(output, memory, previous)
        assert got.shape == (B, count, N)
        for b in range(B):
            for k in range(count):
                wanted = slow.address(
                    head.key[b, k].tolist(),
                    head.strength[b, k].item(),
                    head.gate[b, k].item(),
                    head.shift[b, k].tolist(),
                    head.sharpness[b, k].item(),
                    memory[b].tolist(),
                    previous[b, k].tolist(),
                )
                torch.testing.assert_close(got[b, k], torch.tensor(wanted), atol=1e-6, rtol=1e-5)


def test_without_previous_weights_they_are_uniform():
    machine = heads()
    output, memory = drawn()
    for count, compute in (
        (R, machine.compute_read_weights),
        (W, machine.compute_write_weights),
    ):
        uniform = torch.full((B, count, N), 1 / N)
        assert torch.equal(compute(output, memory), compute(output, memory, uniform))


def test_the_form_of_sharpening_reaches_the_weights():
    output, memory = drawn()
    power, softmax = heads(), heads()
    softmax.addressing.sharpening = "softmax"
    torch.manual_seed(0)
    built = ReadWriteHeads(H, M, R, W, REACH, "softmax")
    got = built.compute_read_weights(output, memory)
    assert torch.equal(got, softmax.compute_read_weights(output, memory))
    assert not torch.allclose(got, power.compute_read_weights(output, memory), atol=1e-3)


def test_memory_is_read_and_written_through_the_heads():
    machine = heads()
    output, memory = drawn()
    write = machine.write_parameters(output)
    weights = machine.compute_write_weights(output, memory)
    written = machine.write_memory(memory, weights, write.erase, write.add)
    assert torch.equal(written, bank.write(memory, weights, write.erase, write.add))
    reads = machine.read_memory(written, machine.compute_read_weights(output, written))
    assert reads.shape == (B, R, M)
    assert torch.equal(reads, bank.read(written, machine.compute_read_weights(output, written)))


def test_a_head_that_may_not_shift_keeps_its_place():
    torch.manual_seed(0)
    still = ReadWriteHeads(H, M, R, W, shift_range=0)
    output, memory = drawn()
    assert still.shifts == 1 and still.read_parameters(output).shift.eq(1).all()
    with torch.no_grad():
        still.read_projection.weight.zero_()
        still.read_projection.bias.fill_(-100)  # a shut gate
    focus = torch.eye(N)[3].expand(B, R, N)
    torch.testing.assert_close(still.compute_read_weights(output, memory, focus), focus)


@given(st.integers(0, 2**31), st.sampled_from([1e-6, 1.0, 30.0, 1e6, 1e30]), st.booleans())
def test_weights_are_distributions_whatever_the_controller_emits(seed, scale, empty):
    machine = heads()
    output, memory = drawn(seed)
    memory = memory * 0 if empty else memory
    for compute in (machine.compute_read_weights, machine.compute_write_weights):
        weights = compute(scale * output, memory)
        assert torch.isfinite(weights).all() and (weights >= 0).all()
        assert (weights.double().sum(dim=2) - 1).abs().max() <= 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"controller_size": 0}, "controller_size must be an integer of at least 1, got 0"),
        ({"memory_width": 0}, "memory_width must be an integer of at least 1, got 0"),
        ({"read_heads": 0}, "read_heads must be an integer of at least 1, got 0"),
        ({"write_heads": -2}, "write_heads must be an integer of at least 1, got -2"),
        ({"shift_range": -1}, "shift_range must be an integer of at least 0, got -1"),
        ({"shift_range": 0.5}, "shift_range must be an integer of at least 0, got 0.5"),
        ({"sharpening": "max"}, 'sharpening must be "power" or "softmax", got \'max\''),
    ],
)
def test_what_makes_no_heads_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ReadWriteHeads(**{"controller_size": H, "memory_width": M, **arguments})
