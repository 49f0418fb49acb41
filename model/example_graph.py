"""A served session is given a graph and answers queries: `python model/example_graph.py MODEL`.

Draws a graph, tells a new session its edges, a row each, and asks for the nodes on paths through
it. MODEL is one of a running server that has learned the task graph-paths (tasks/graph_paths.py).
Over HTTP and with the standard library alone: whatever it prints, the session has answered.
"""

import argparse
import json
import random
import sys
import urllib.error
import urllib.request
from typing import Any, NamedTuple

Rows = list[list[float]]
Graph = dict[tuple[int, int], int]  # source and label to target, in the order of telling


class Form(NamedTuple):
    """How a model reads rows: source, label and target, one hot each, and the flag of a query."""

    names: int  # that a node can have
    labels: int  # that an edge can have

    def edge(self, source: int, label: int, target: int) -> list[float]:
        """The row that tells an edge."""
        return self._row(source, label, target) + [0.0]

    def query(self, path: list[int], start: int) -> Rows:
        """The rows that ask for a path, a label each; the first says where it starts."""
        return [
            self._row(start if number == 0 else None, label, None) + [1.0]
            for number, label in enumerate(path)
        ]

    def _row(self, source: int | None, label: int, target: int | None) -> list[float]:
        parts = ((source, self.names), (label, self.labels), (target, self.names))
        return [float(value == place) for value, size in parts for place in range(size)]


def form_of(manifest: dict[str, Any]) -> Form:
    """From what the server tells of a model. Raises ValueError for one of another task."""
    form = manifest["form"]
    if form["kind"] != "graph":
        raise ValueError(f"expected a model that reads a graph, got one that reads {form['kind']}")
    sizes = {part["name"]: part["size"] for part in form["parts"]}
    return Form(sizes["source"], sizes["label"])


def draw_graph(chance: random.Random, form: Form, edges: int) -> Graph:
    """Half as many nodes as edges, under names of their own; no path ends, and no node leads to
    itself. As in training (tasks/graph_paths.py), but for `random`."""
    nodes = chance.sample(range(form.names), edges // 2)
    one_each = [(node, chance.randrange(form.labels)) for node in nodes]
    others = [(node, label) for node in nodes for label in range(form.labels)]
    others = [place for place in others if place not in one_each]
    places = one_each + chance.sample(others, edges - len(nodes))
    chance.shuffle(places)
    return {place: chance.choice([node for node in nodes if node != place[0]]) for place in places}


def draw_path(chance: random.Random, graph: Graph, steps: int) -> tuple[int, list[int], list[int]]:
    """A start, the labels of so many edges from there on, and the nodes they lead to."""
    start = at = chance.choice([source for source, _ in graph])
    labels: list[int] = []
    nodes: list[int] = []
    for _ in range(steps):
        labels.append(chance.choice([label for source, label in graph if source == at]))
        at = graph[at, labels[-1]]
        nodes.append(at)
    return start, labels, nodes


def ask(url: str, body: Any = None, method: str | None = None) -> Any:
    """One request and its answer. Raises urllib.error.URLError where there is none."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def tell_and_query(session: str, form: Form, graph: Graph, queries: int, seed: int) -> int:
    """Tells the session at this URL the graph and asks so many queries; how many are right."""
    chance = random.Random(seed)
    edges = [form.edge(source, label, target) for (source, label), target in graph.items()]
    ask(f"{session}/steps", {"inputs": edges})
    right = 0
    for _ in range(queries):
        start, labels, nodes = draw_path(chance, graph, chance.randint(1, 4))
        outputs = ask(f"{session}/steps", {"inputs": form.query(labels, start)})["outputs"]
        reached = [row.index(max(row)) for row in outputs]
        right += reached == nodes
        told = "right" if reached == nodes else f"should be {spelt(nodes)}"
        path = " ".join("abcdefghijklmnopqrstuvwxyz"[label] for label in labels)
        print(f"  from {spelt([start])} by {path:7}  {spelt(reached):11}  {told}")
    return right


def spelt(nodes: list[int]) -> str:
    """Names of nodes as letters."""
    return " ".join(chr(ord("A") + node) for node in nodes)


def main(argv: list[str] | None = None) -> int:
    """One session, told and asked and ended. Returns 0, or 1 where the server answers neither."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", nargs="?", default="graph-paths", help="a model that is served")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the server")
    parser.add_argument("--edges", type=int, default=12, help="of the graph")
    parser.add_argument("--queries", type=int, default=8, help="of 1 to 4 labels each")
    parser.add_argument("--seed", type=int, default=1, help="of the graph and the queries")
    args = parser.parse_args(argv)
    try:
        form = form_of(ask(f"{args.url}/v1/models/{args.model}"))
        graph = draw_graph(random.Random(args.seed), form, args.edges)
        made = ask(f"{args.url}/v1/models/{args.model}/sessions", {})
        session = f"{args.url}/v1/sessions/{made['id']}"
        print(f"session {made['id']} is told {args.edges} edges, and answers:")
        right = tell_and_query(session, form, graph, args.queries, args.seed)
        print(f"{right} of {args.queries} queries right, every node of the path")
        ask(session, method="DELETE")
    except (ValueError, urllib.error.URLError) as error:
        print(f"example_graph: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
