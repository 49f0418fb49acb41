"""The core of a neural programmer-interpreter and its memory of programs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.call_stack import Choice
from model.npi_layout import BLANK, DIGITS, Layout
from model.scratch_pad import places
from model.sizes import require_positive

LEAST = 1e-30  # of a sum of chances, whose logarithm is finite
LIMIT = 1e6  # a larger number in the core's state counts as this: no finite one overflows


class Thought(NamedTuple):
    """What the core made of one tick."""

    decision: Tensor  # (B, E), logits, in the order of the layout's decision
    frame: Tensor  # (B, F), the core's next state
    key: Tensor  # (B, M), compared with the programs' keys


class NPICore(nn.Module):
    """An encoder of environment and arguments, an LSTM, and heads that choose what comes next.

    hidden_size: H, width: M of a program's embedding and key. The state of the core is one vector
    of F = 2 L H numbers, hidden and cell of each layer, so that a frame of the stack holds it.
    """

    def __init__(self, layout: Layout, hidden_size: int, layers: int, width: int) -> None:
        super().__init__()
        require_positive(hidden_size=hidden_size, layers=layers, width=width)
        self.layout, self.hidden_size = layout, hidden_size
        self.frame_size = 2 * layers * hidden_size
        seen, (_, programs, *choices) = len(layout.pointers) * (DIGITS + 1), layout.widths
        self.choices = tuple(choices)
        self.encoder = nn.Sequential(
            nn.Linear(seen + sum(choices), 2 * hidden_size),
            nn.ReLU(),
            nn.Linear(2 * hidden_size, hidden_size),
            nn.ReLU(),
        )
        sizes = [hidden_size + width, *[hidden_size] * (layers - 1)]
        self.cells = nn.ModuleList(nn.LSTMCell(size, hidden_size) for size in sizes)
        self.end = nn.Linear(hidden_size, 1)
        self.key = nn.Linear(hidden_size, width)
        self.argument = nn.Linear(hidden_size, sum(choices))
        self.program_keys = nn.Parameter(torch.randn(programs, width))
        self.program_embeddings = nn.Parameter(torch.randn(programs, width))

    def enter(self, seen: Tensor, arguments: Tensor, embedding: Tensor) -> Tensor:
        """s_t = f_enc(e_t, a_t) (Reed and de Freitas 2016, eq. 1), beside p_t: (B, H + M).

        seen: (B, K), what the pointers see; arguments: (B, 3), numbers of the running program's;
        embedding: (B, M), that program's.
        """
        parts = [places(seen - BLANK, DIGITS + 1).flatten(1)]
        for part, size in zip(arguments.unbind(dim=1), self.choices, strict=True):
            parts.append(places(part, size))
        return torch.cat([self.encoder(torch.cat(parts, dim=1)), embedding], dim=1)

    def advance(self, entered: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """h_t = f_lstm(s_t, p_t, h_t-1) (eq. 2). frame: (B, F). Returns (B, H), and (B, F)."""
        parts = frame.clamp(-LIMIT, LIMIT).split(self.hidden_size, dim=1)
        output, following = entered, list[Tensor]()
        for layer, cell in enumerate(self.cells):
            output, memory = cell(output, (parts[2 * layer], parts[2 * layer + 1]))
            following += [output, memory]
        return output, torch.cat(following, dim=1)

    def decide(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """r_t = f_end(h_t), k_t = f_prog(h_t), a_t+1 = f_arg(h_t), and programs by M_key k_t (eqs.
        3 and 4). output: (B, H). Returns logits (B, E), in the order of a decision, and k_t (B, M).
        """
        key = self.key(output)
        scores = functional.linear(key, self.program_keys)
        parts = [scores, *self.argument(output).split(self.choices, dim=1)]
        return torch.cat([self.end(output), *map(odds, parts)], dim=1), key

    def forward(self, seen: Tensor, arguments: Tensor, program: Tensor, frame: Tensor) -> Thought:
        """One tick. seen: (B, K), arguments: (B, 3), program: (B, P), one hot, frame: (B, F)."""
        entered = self.enter(seen, arguments, program @ self.program_embeddings)
        output, following = self.advance(entered, frame)
        decision, key = self.decide(output)
        return Thought(decision, following, key)


def odds(scores: Tensor) -> Tensor:
    """Logits whose sigmoid is the softmax of the scores (B, S): log p_i - log(1 - p_i).

    l_i = s_i - log sum_{j != i} exp(s_j), at most 69. So a flag's probability is that of its choice
    among the others of its part, as in the paper, though each flag is judged by itself. The sum is
    a product with a matrix, which does not round by the row's place in a batch.
    """
    scores = scores - scores.amax(dim=1, keepdim=True)
    others = 1 - torch.eye(scores.shape[1], device=scores.device, dtype=scores.dtype)
    return scores - torch.log((torch.exp(scores) @ others).clamp(min=LEAST))


def chosen(decision: Tensor, layout: Layout) -> Choice:
    """What a decision (B, E), logits, comes to: it returns where r_t > alpha = 1/2, else calls the
    program of the largest M_key k_t with the largest arguments; the first of equals counts."""
    end, *parts = decision.split(layout.widths, dim=1)
    numbers = [part.argmax(dim=1, keepdim=True).to(decision) for part in parts]
    return Choice(end > 0, numbers[0], torch.cat(numbers[1:], dim=1))
