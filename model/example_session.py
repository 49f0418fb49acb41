"""A served session and its figures: `python model/example_session.py` on a bundle of the zoo.

Starts a server of its own on a free port, steps a session over HTTP row by row, asks what the
network did and why, and draws it. What is drawn is what the server told.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# For a run as a file where the project is not installed: the folder that holds `model`.
sys.path.append(str(Path(__file__).resolve().parents[1]))

import torch

from model import figures
from model.episodes import Episodes
from model.example_graph import ask
from model.tasks import Batch
from model.tasks.copy import Copy

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = Path(__file__).parent / "zoo" / "copy" / "bundle"
LISTENS = re.compile(r"listens on (http://\S+)")
START_S, STOP_S, POLL_S = 90, 40, 0.05


@contextmanager
def serving(models: Path) -> Generator[str]:
    """`ntm serve` of a bundle, or of a folder of bundles, for as long as the block runs; its URL.

    Raises RuntimeError where it ends, or is not ready in time.
    """
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environ = {**os.environ, "NTM_MODELS": str(models), "NTM_STORE": "memory", "PYTHONPATH": paths}
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with open(log, "wb") as output:
            server = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
        try:
            yield _url_in(log, server)
        finally:
            server.terminate()
            try:
                server.wait(STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _url_in(log: Path, server: "subprocess.Popen[bytes]") -> str:
    end = time.monotonic() + START_S
    while not (found := LISTENS.search(log.read_text())):
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the server does not serve:\n{log.read_text()}")
        time.sleep(POLL_S)
    return found[1]


def step_rows(url: str, model: str, rows: list[list[float]]) -> str:
    """A new session that has consumed these rows, one request each. Returns its URL."""
    session = f"{url}/v1/sessions/{ask(f'{url}/v1/models/{model}/sessions', {})['id']}"
    for row in rows:
        ask(f"{session}/steps", {"inputs": [row]})
    return session


def explained(session: str) -> list[str]:
    """What each head did in each row, a line each, as the server explains it."""
    return [
        f"step {row['step']:2}  {head['head']:5} on slot {head['slot']:3} ({head['weight']:.2f}) "
        f"by {head['way']}" + (f", age {head['age']}" if head["age"] is not None else "")
        for row in ask(f"{session}/explain?rows=1024")["rows"]
        for head in row["heads"]
    ]


def episode_of(session: str, batch: Batch) -> Episodes:
    """What the server tells of a session's rows, for model/figures.py. batch: what was stepped, of
    one sequence. Outputs come as probabilities, and are given back as logits."""
    told = ask(f"{session}/trace?rows=1024")
    state = {part["name"]: _tensor(part) for part in told["state"]}
    outputs = _tensor(told["outputs"]).clamp(1e-6, 1 - 1e-6)
    return Episodes(
        batch,
        torch.logit(outputs)[None],
        {name: part[None, 1:] for name, part in state.items()},
        {part["name"]: _tensor(part)[None] for part in told["trace"]},
        {name: part[None, 0] for name, part in state.items()},
    )


def _tensor(told: dict[str, Any]) -> torch.Tensor:
    return torch.tensor(told["data"], dtype=torch.float32).reshape(told["dims"])


def main() -> None:
    """A session of the copy model: stepped, explained and drawn."""
    batch = Copy().at_length(torch.Generator().manual_seed(7), 1, 6)
    with serving(BUNDLE) as url:
        session = step_rows(url, "copy", batch.inputs[0].tolist())
        print(f"{session} has consumed {batch.inputs.shape[1]} rows")
        print("\n".join(f"  {line}" for line in explained(session)))
        episodes = episode_of(session, batch)
    right = ((episodes.logits > 0) == (batch.targets > 0.5))[batch.mask].float().mean()
    print(f"bits copied right: {right:.0%}")
    with tempfile.TemporaryDirectory() as folder:
        for path in figures.save(figures.episode(episodes), Path(folder), "session"):
            print(f"drawn: {path.name}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
