"""The three controllers against their equations, and what their states hold."""

import pytest
import torch
from torch import Tensor, nn

from model.controllers import (
    INPUT_LIMIT,
    AttentionController,
    FeedForwardController,
    LSTMController,
    NTMController,
)
from tests.model import slow

B, X, R, M, H, L = 3, 6, 2, 5, 8, 4
KINDS = {"lstm": LSTMController, "feedforward": FeedForwardController,
         "attention": AttentionController}  # fmt: skip


def drawn() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(B, X), torch.randn(B, R, M)


def attention() -> AttentionController:
    torch.manual_seed(0)
    return AttentionController(X, R, M, H, heads=2, window=L)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_keeps_the_shapes_its_spec_states(kind):
    controller = NTMController(kind, X, H, R, M)
    assert isinstance(controller.core, KINDS[kind])
    inputs, reads = drawn()
    state = controller.initial_state(B)
    output, following = controller(inputs, reads, state)
    assert output.shape == (B, H)
    dims = [(B, *spec.dims) for spec in controller.state_spec]
    assert [tuple(part.shape) for part in state] == dims
    assert [tuple(part.shape) for part in following] == dims
    assert {spec.role for spec in controller.state_spec} <= {"controller"}


def test_an_lstm_step_is_its_equations():
    torch.manual_seed(0)
    controller = LSTMController(X + R * M, H, layers=2)
    inputs, reads = drawn()
    state = tuple(torch.randn(B, H) for _ in range(4))
    output, following = controller(inputs, reads, state)
    below = torch.cat([inputs, reads.reshape(B, R * M)], dim=1)
    for layer in range(2):
        hidden, memory = state[2 * layer], state[2 * layer + 1]
        cell = controller.cells[layer]
        assert isinstance(cell, nn.LSTMCell)
        gates = below @ cell.weight_ih.T + cell.bias_ih + hidden @ cell.weight_hh.T + cell.bias_hh
        take, keep, candidate, show = gates.chunk(4, dim=1)
        memory = torch.sigmoid(keep) * memory + torch.sigmoid(take) * torch.tanh(candidate)
        below = torch.sigmoid(show) * torch.tanh(memory)
        torch.testing.assert_close(following[2 * layer], below)
        torch.testing.assert_close(following[2 * layer + 1], memory)
    assert torch.equal(output, following[2])


def test_an_lstm_names_its_layers_and_learns_where_they_start():
    controller = LSTMController(X, H, layers=2)
    assert [spec.name for spec in controller.state_spec] == [
        "controller_hidden",
        "controller_cell",
        "controller_hidden1",
        "controller_cell1",
    ]
    with torch.no_grad():
        controller.initial.copy_(torch.arange(4.0).unsqueeze(1).expand(4, H))
    state = controller.initial_state(B)
    assert [part.unique().tolist() for part in state] == [[0], [1], [2], [3]]
    sum(part.sum() for part in state).backward()  # pyright: ignore
    assert controller.initial.grad is not None and (controller.initial.grad == B).all()


def test_a_feedforward_step_is_its_equations_and_has_no_state():
    torch.manual_seed(0)
    controller = FeedForwardController(X + R * M, H, layers=2)
    inputs, reads = drawn()
    output, state = controller(inputs, reads, ())
    wanted = torch.cat([inputs, reads.reshape(B, R * M)], dim=1)
    for place in (0, 2):
        layer = controller.layers[place]
        assert isinstance(layer, nn.Linear)
        wanted = torch.tanh(wanted @ layer.weight.T + layer.bias)
    torch.testing.assert_close(output, wanted)
    assert state == () == controller.initial_state(B) == controller.state_spec


@torch.no_grad()
def slow_attention(controller: AttentionController, x: Tensor, reads: Tensor, window: Tensor):
    """One row's output, head by head and token by token. x: (X,), reads: (R, M), window: (L, H)."""
    query = controller.embed_input(x) + controller.input_position
    tokens = [query]
    tokens += [controller.embed_read(reads[r]) + controller.read_position[r] for r in range(R)]
    tokens += [window[place] + controller.window_position[place] for place in range(L)]
    layer = controller.attention
    ask, show, tell = zip(layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3), strict=True)
    parts = []
    for head in range(2):
        rows = slice(head * H // 2, (head + 1) * H // 2)
        q = ask[0][rows] @ query + ask[1][rows]
        keys = [show[0][rows] @ token + show[1][rows] for token in tokens]
        values = [tell[0][rows] @ token + tell[1][rows] for token in tokens]
        shares = slow.softmax([float(q @ key) / (H // 2) ** 0.5 for key in keys])
        parts.append(sum(share * value for share, value in zip(shares, values, strict=True)))
    context = layer.out_proj(torch.cat(parts))
    return torch.tanh(controller.mix(torch.cat([query, context])))


def test_an_attention_step_is_its_equations():
    controller = attention()
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.normal_(std=0.7)  # biases and positions too, which start near zero
    inputs, reads = drawn()
    window = torch.randn(B, L, H)
    output, _ = controller(inputs, reads, (window,))
    for b in range(B):
        wanted = slow_attention(controller, inputs[b], reads[b], window[b])
        torch.testing.assert_close(output[b], wanted, atol=1e-5, rtol=1e-5)


def test_the_window_holds_the_last_outputs_newest_last_and_no_more():
    controller = attention()
    state = controller.initial_state(B)
    assert torch.equal(state[0], torch.zeros(B, L, H))
    outputs = []
    for _ in range(L + 3):
        output, state = controller(*drawn(), state)
        outputs.append(output)
        recent = torch.stack(outputs[-L:], dim=1)
        assert torch.equal(state[0][:, L - recent.shape[1] :], recent)
    assert state[0].shape == (B, L, H)


def test_attention_sees_the_input_each_read_in_its_place_and_the_window():
    controller = attention()
    inputs, reads = drawn()
    window = torch.randn(B, L, H)
    output, _ = controller(inputs, reads, (window,))
    for changed in (
        (inputs + 1, reads, (window,)),
        (inputs, reads + 1, (window,)),
        (inputs, reads.flip(1), (window,)),
        (inputs, reads, (window.flip(1),)),
        (inputs, reads, (torch.zeros(B, L, H),)),
    ):
        other, _ = controller(*changed)
        assert (other - output).abs().amax(dim=1).min() > 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_beyond_the_limit_count_as_the_limit_and_others_as_they_are(kind):
    torch.manual_seed(0)
    controller = NTMController(kind, X, H, R, M)
    inputs, reads = drawn()
    state = controller.initial_state(B)
    signs = inputs.sign()
    for huge in (1e7, 1e20, 3.4e38):
        output, following = controller(huge * signs, reads, state)
        assert all(torch.isfinite(part).all() for part in (output, *following))
        assert torch.equal(output, controller(INPUT_LIMIT * signs, reads, state)[0])
    assert torch.equal(
        controller(inputs, reads, state)[0], controller.core(inputs, reads, state)[0]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "gru"}, 'controller must be "lstm", "feedforward" or "attention", got \'gru\''),
        ({"input_size": 0}, "input_size must be an integer of at least 1, got 0"),
        ({"hidden_size": 0}, "controller_size must be an integer of at least 1, got 0"),
        ({"read_heads": 0}, "read_heads must be an integer of at least 1, got 0"),
        ({"memory_width": 0}, "memory_width must be an integer of at least 1, got 0"),
        ({"layers": 0}, "controller_layers must be an integer of at least 1, got 0"),
        (
            {"kind": "attention", "layers": 2},
            "an attention controller has 1 layer, got controller_layers=2",
        ),
        (
            {"kind": "attention", "hidden_size": 10},
            "controller_size must be a multiple of 4 attention heads, got 10",
        ),
    ],
)
def test_what_makes_no_controller_is_refused(arguments, message):
    sizes = {"kind": "lstm", "input_size": X, "hidden_size": H, "read_heads": R, "memory_width": M}
    with pytest.raises(ValueError, match=message):
        NTMController(**{**sizes, **arguments})


@pytest.mark.parametrize("name", ["heads", "window"])
def test_attention_needs_a_head_and_a_window(name):
    with pytest.raises(ValueError, match="must be an integer of at least 1, got 0"):
        AttentionController(X, R, M, H, **{name: 0})
