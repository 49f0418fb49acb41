"""`ntm train TASK --seeds N`: one recipe from several seeds, and the table of what came out."""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from model.checkpoint import write_atomically
from model.families import CARD
from model.guard import NonFiniteError
from model.learning import learning_curve, sequences_to

Row = dict[str, Any]
Train = Callable[[list[str]], bool]  # trains what a command line asks for; False where stopped


def train_seeds(
    argv: Sequence[str], seeds: Sequence[int], base: str, train: Train, say: Callable[[str], None]
) -> bool:
    """Trains the seeds one after the other, each in BASE-SEED; the table is BASE-seeds.json.

    A run that has a card is kept as it is, one that was interrupted goes on, and one that met NaN
    stands in the table as failed. False where `train` was stopped.
    """
    rows: list[Row] = []
    for seed in seeds:
        folder = Path(f"{base}-{seed}")
        try:
            if not (folder / CARD).exists() and not train(command_of(argv, seed, folder)):
                return False
            rows.append(row_of(folder))
        except NonFiniteError as error:
            rows.append({"seed": seed, "failed": str(error)})
        say(table(rows))
        write_table(Path(f"{base}-seeds.json"), rows)
    return True


def command_of(argv: Sequence[str], seed: int, folder: Path) -> list[str]:
    """The command line `argv` of one of its seeds, resumed where it had begun."""
    kept: list[str] = []
    skip = False
    for part in argv:
        if skip or part == "--resume":
            skip = False
        elif part in ("--seeds", "--seed", "--out"):
            skip = True
        elif not part.startswith(("--seeds=", "--seed=", "--out=")):
            kept.append(part)
    resume = ["--resume"] if (folder / "checkpoint.pt").exists() else []
    return [*kept, "--seed", str(seed), "--out", str(folder), *resume]


def row_of(run: Path) -> Row:
    """What a finished run's card and metrics say."""
    card = json.loads((run / CARD).read_bytes())
    results = {f"{length}": found["wrong_bits"] for length, found in _measured(card)}
    curve = learning_curve(run / "metrics.jsonl")
    return {
        "seed": card["seed"],
        "wrong_bits": results,
        "sequences_to_solve": sequences_to(curve),
        "sequences": card["training"]["sequences_seen"],
        "seconds": card["training"]["seconds"],
    }


def _measured(card: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    results = card["results"]
    within = [("training", results["within"])] if "within" in results else []
    return within + list(results["lengths"].items())


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """The rows so far and their summary, as JSON."""
    text = json.dumps({"runs": list(rows), "summary": summary(rows)}, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def summary(rows: Sequence[Row]) -> Row:
    """Median, least and most of each column over the runs that did not fail."""
    done = [row for row in rows if "failed" not in row]
    lengths = list(done[0]["wrong_bits"]) if done else []
    solved = [row["sequences_to_solve"] for row in done if row["sequences_to_solve"] is not None]
    return {
        "runs": len(rows),
        "failed": len(rows) - len(done),
        "solved": len(solved),
        "sequences_to_solve": _spread(solved),
        "wrong_bits": {
            length: _spread([row["wrong_bits"][length] for row in done]) for length in lengths
        },
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def table(rows: Sequence[Row]) -> str:
    """The rows for people: wrong bits a sequence by length, and when a run was solved."""
    done = [row for row in rows if "failed" not in row]
    lengths = list(done[0]["wrong_bits"]) if done else []
    lines = ["  seed" + "".join(f"{length:>11}" for length in lengths) + "  solved at  seconds"]
    for row in rows:
        if "failed" in row:
            lines.append(f"{row['seed']:>6}  failed: {row['failed']}")
            continue
        bits = "".join(f"{row['wrong_bits'][length]:>11.3f}" for length in lengths)
        solved = row["sequences_to_solve"]
        lines.append(f"{row['seed']:>6}{bits}  {solved or 'not':>9}{row['seconds']:>9}")
    middle = summary(rows)["wrong_bits"]
    if len(done) > 1:
        lines.append("median" + "".join(f"{middle[length]['median']:>11.3f}" for length in lengths))
    return "\n".join(lines)
