"""Paths through a graph, after the traversal of Graves et al. 2016 (Nature 538, Methods)."""

from typing import Any, Literal, NamedTuple

import msgspec
import torch
from torch import Generator, Tensor
from torch.nn import functional

from model.families import Activation
from model.tasks.task import Batch, Measured, Measures, Task, binary_loss, binary_measures


class Graphs(NamedTuple):
    """B graphs of E edges over n nodes, the nodes numbered from 0 within their own graph."""

    names: Tensor  # (B, n), the name of each node
    source: Tensor  # (B, E)
    label: Tensor  # (B, E), no source has two edges of one label
    target: Tensor  # (B, E), never the source


class GraphPaths(msgspec.Struct, frozen=True):
    """See the edges of a random graph, one a row: source, label, target. Then answer queries: a
    row with a start and a label, then a label a row; each is answered, in its row, by the node
    that its edge leads to from where the row before has led.

    names: that a node can have; labels: that an edge can have; min_edges, max_edges: of a graph
    in training, which has half as many nodes; max_steps: labels of a query, from 1; queries: of
    each graph; unit: what a length counts, where the other of the two is as in training.
    """

    names: int = 16
    labels: int = 4
    min_edges: int = 4
    max_edges: int = 24
    max_steps: int = 4
    queries: int = 4
    name: str = "graph-paths"
    activation: Activation = "sigmoid"
    unit: Literal["edges", "steps"] = "edges"
    judged_by: Measured = "wrong_bits"
    test_lengths: tuple[int, ...] = (6, 12, 18, 24)

    @property
    def units(self) -> tuple[str, ...]:
        """What evaluation can count."""
        return ("edges", "steps")

    @property
    def input_size(self) -> int:
        """Source, label and target, one hot each, and the flag of a query's row."""
        return 2 * self.names + self.labels + 1

    @property
    def output_size(self) -> int:
        """The node reached, one hot."""
        return self.names

    @property
    def form(self) -> dict[str, Any]:
        """Triples of one-hot parts, then the flag; what a row does not tell is 0."""
        parts = [("source", self.names), ("label", self.labels), ("target", self.names)]
        told = [{"name": name, "size": size} for name, size in parts]
        return {"kind": "graph", "parts": told, "flags": ["query"], "answer": "target"}

    @property
    def train_lengths(self) -> tuple[int, int]:
        """Fewest and most of the unit that `sample` draws."""
        return (self.min_edges, self.max_edges) if self.unit == "edges" else (1, self.max_steps)

    @property
    def stages(self) -> tuple[Task, ...]:
        """At most a third of the edges and one step, two thirds and half the steps, all."""
        low, high, steps = self.min_edges, self.max_edges, self.max_steps
        tops = ((max(low, high // 3), 1), (max(low, 2 * high // 3), max(1, steps // 2)))
        easier = (
            msgspec.structs.replace(self, max_edges=edges, max_steps=most) for edges, most in tops
        )
        return (*easier, self)

    def sample(self, generator: Generator, batch: int) -> Batch:
        """One number of edges a batch, uniform over those of training; each query has a number of
        steps of its own."""
        drawn = torch.randint(self.min_edges, self.max_edges + 1, (1,), generator=generator)
        return self.of_size(generator, batch, int(drawn), self._steps(generator, batch))

    def at_length(self, generator: Generator, batch: int, length: int) -> Batch:
        """`length` edges and queries of any steps, or `length` steps and the most edges."""
        if self.unit == "edges":
            return self.of_size(generator, batch, length, self._steps(generator, batch))
        steps = torch.full((batch, self.queries), length)
        return self.of_size(generator, batch, self.max_edges, steps)

    def of_size(self, generator: Generator, batch: int, edges: int, steps: Tensor) -> Batch:
        """Graphs of `edges` edges, and queries of `steps` (B, Q) labels each.

        Returns inputs (B, T, X), targets (B, T, Y), mask, T = edges + the most steps of a row;
        sequences with fewer end in silent rows that are not scored. Raises ValueError for a query
        without steps, and for fewer than 4 edges or more than there are names and labels for.
        """
        self._require(edges, steps)
        graphs = draw_graphs(generator, batch, edges, self.names, self.labels)
        most = int(steps.sum(dim=1).max())
        starts, number = _first_rows(steps, most)
        mask = functional.pad(number < steps.sum(dim=1, keepdim=True), (edges, 0), value=False)
        source, label, target = walk(generator, graphs, starts, self.labels)
        inputs = torch.zeros(batch, edges + most, self.input_size)
        here, there = self.names, self.names + self.labels
        inputs[:, :edges, :here] = _one_hot(graphs.source, graphs.names, self.names)
        inputs[:, :edges, here:there] = functional.one_hot(graphs.label, self.labels).float()
        inputs[:, :edges, there:-1] = _one_hot(graphs.target, graphs.names, self.names)
        told = _one_hot(source, graphs.names, self.names)
        inputs[:, edges:, :here] = told * starts.unsqueeze(2)
        inputs[:, edges:, here:there] = functional.one_hot(label, self.labels).float()
        inputs[:, edges:, -1] = 1
        targets = torch.zeros(batch, edges + most, self.output_size)
        targets[:, edges:] = _one_hot(target, graphs.names, self.names)
        silent = ~mask.unsqueeze(2)
        inputs[:, edges:] = inputs[:, edges:].masked_fill(silent[:, edges:], 0)
        return Batch(inputs, targets.masked_fill(silent, 0), mask)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of the bits of the answers, in nats. logits: (B, T, Y)."""
        return binary_loss(logits, batch)

    def measures(self, logits: Tensor, batch: Batch) -> Measures:
        """Wrong bits and cross-entropy bits a sequence, over all its answers. logits: (B, T, Y)."""
        return binary_measures(logits, batch)

    def right(self, logits: Tensor, batch: Batch) -> Tensor:
        """The share of its queries that a sequence has wholly right, every node of the path:
        (B,). The node answered is the output's largest. logits: (B, T, Y)."""
        query = (batch.inputs[:, :, : self.names].any(dim=2) & batch.mask).cumsum(dim=1)
        wrong = (logits.argmax(dim=2) != batch.targets.argmax(dim=2)) & batch.mask
        count = int(query.max())
        missed = torch.zeros(logits.shape[0], count + 1, device=logits.device)
        missed = missed.scatter_add(1, query, wrong.to(missed))[:, 1:]
        asked = torch.arange(1, count + 1, device=logits.device) <= query[:, -1:]
        return ((missed == 0) & asked).sum(dim=1) / query[:, -1]

    def optimum_bits(self, batch: Batch) -> Tensor:
        """Nothing: the graph has been seen."""
        return torch.zeros(batch.inputs.shape[0])

    def _steps(self, generator: Generator, batch: int) -> Tensor:
        shape = (batch, self.queries)
        return torch.randint(1, self.max_steps + 1, shape, generator=generator)

    def _require(self, edges: int, steps: Tensor) -> None:
        nodes = edges // 2
        if edges < 4 or nodes > self.names or edges > nodes * self.labels:
            raise ValueError(
                f"edges must be at least 4, and half as many nodes of at most {self.labels} edges "
                f"must have {self.names} names, got {edges}"
            )
        if int(steps.min()) < 1:
            raise ValueError(f"steps must be at least 1, got {int(steps.min())}")


def draw_graphs(generator: Generator, batch: int, edges: int, names: int, labels: int) -> Graphs:
    """Graphs of edges // 2 nodes, of which each is some edge's source; edges in random order."""
    nodes = edges // 2
    called = torch.rand(batch, names, generator=generator).argsort(dim=1)[:, :nodes]
    # An edge is a place in a table of nodes and labels, so no node has two of one label. The best
    # place of each node comes first: no path ends.
    chance = torch.rand(batch, nodes, labels, generator=generator)
    chance = chance + (chance == chance.amax(dim=2, keepdim=True))
    place = chance.flatten(1).argsort(dim=1, descending=True)[:, :edges]
    order = torch.rand(batch, edges, generator=generator).argsort(dim=1)
    place = place.gather(1, order)
    source = place // labels
    away = torch.randint(1, nodes, (batch, edges), generator=generator)
    return Graphs(called, source, place % labels, (source + away) % nodes)


def walk(
    generator: Generator, graphs: Graphs, starts: Tensor, labels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Random paths along edges that there are. starts: (B, S), bool, the rows that begin at a
    random node, the first among them; the others go on. Returns source, label and target of each
    row, (B, S)."""
    batch, nodes = graphs.names.shape
    leads = torch.full((batch, nodes * labels), -1)
    leads = leads.scatter(1, graphs.source * labels + graphs.label, graphs.target)
    leads = leads.view(batch, nodes, labels)
    chance = torch.rand(batch, starts.shape[1], labels, generator=generator)
    fresh = torch.randint(0, nodes, starts.shape, generator=generator)
    each, at = torch.arange(batch), fresh[:, 0]
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    for row in range(starts.shape[1]):
        at = torch.where(starts[:, row], fresh[:, row], at)
        possible = leads[each, at] >= 0
        label = chance[:, row].masked_fill(~possible, -1).argmax(dim=1)
        following = leads[each, at, label]
        rows.append((at, label, following))
        at = following
    source, label, target = (torch.stack(part, dim=1) for part in zip(*rows, strict=True))
    return source, label, target


def _first_rows(steps: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Which of `most` rows begin a query, (B, S), bool, and each row's number, (1, S)."""
    number = torch.arange(most).unsqueeze(0)
    begins = functional.pad(steps.cumsum(dim=1)[:, :-1], (1, 0))  # (B, Q)
    return (begins.unsqueeze(1) == number.unsqueeze(2)).any(dim=2), number


def _one_hot(nodes: Tensor, called: Tensor, names: int) -> Tensor:
    """The names of nodes (B, K), one hot: (B, K, names)."""
    return functional.one_hot(called.gather(1, nodes), names).float()
