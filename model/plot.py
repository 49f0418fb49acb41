"""`ntm plot`: measures how trained networks work and draws it; numbers in JSON, figures beside."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Generator

from model import algorithm, analysis, figures, program
from model.episodes import Episodes, record
from model.evaluation import ZOO, evaluate
from model.families import CARD, Card, Network, load
from model.learning import convergence, learning_curve, transfer
from model.nram import NRAM
from model.options import parse_lengths
from model.scaling import step_costs
from model.tasks import Task, make_task

ANALYSIS_SEED = 3_000_000_000  # apart from every range of task.py
DEVIATIONS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
SLOTS = (16, 32, 64, 128, 256, 512, 1024)


def main(argv: Sequence[str]) -> int:
    """Runs `ntm plot`. Returns 0, or 1 with a message where an entry is unusable."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    entries = [path if path.is_dir() else ZOO / path for path in args.entries]
    try:
        loaded = [load(entry) for entry in entries]
        found, told = study(*loaded[0], args, args.out)
        found["learning"] = draw_learning(entries, loaded[0][1].task, args.out)
    except ValueError as error:
        print(f"ntm plot: {error}", file=sys.stderr)
        return 1
    (args.out / "analysis.json").write_text(json.dumps(found, indent=2) + "\n")
    (args.out / "algorithm.md").write_text(told + "\n")
    print(told)
    drawn = ", ".join(sorted(path.stem for path in args.out.glob("*.svg")))
    print(f"wrote {args.out}: analysis.json, algorithm.md and, as PNG and SVG, {drawn}")
    return 0


def study(
    network: Network, card: Card, args: argparse.Namespace, out: Path
) -> tuple[dict[str, Any], str]:
    """Every measure of one network, its figures drawn into `out`, and its algorithm in words."""
    task = make_task(card.task, args.by)
    length = args.length or task.train_lengths[1]
    generator = Generator().manual_seed(ANALYSIS_SEED)
    batch = task.at_length(generator, args.sequences, length)
    if card.family == "nram":
        told = program.describe(program.blocks(cast(NRAM, network), batch.state["tape"]))
        measured = draw_generalisation(network, task, args, out)
        return {"task": card.task, "generalisation": measured, "program": told}, told
    episodes = record(network, batch)
    figures.save(figures.episode(episodes), out, "episode")
    found: dict[str, Any] = {"task": card.task, "family": card.family, "seed": card.seed}
    found |= {"unit": task.unit, "length": length, "sequences": args.sequences}
    found["generalisation"] = draw_generalisation(network, task, args, out)
    if "memory" not in episodes.state:
        return found, f"A {card.family} has no memory to look into."
    found |= study_memory(network, task, episodes, out)
    found["scaling"] = draw_scaling(card, out)
    rules = algorithm.rules(episodes)
    found["algorithm"] = [{"rule": rule.sentence, "share": rule.share} for rule in rules]
    return found, algorithm.describe(rules)


def study_memory(network: Network, task: Task, episodes: Episodes, out: Path) -> dict[str, Any]:
    """The measures of `analysis`, drawn where a picture says more."""
    change = analysis.memory_change(episodes)
    noisy = analysis.noise(network, task, episodes.batch, DEVIATIONS)
    access = analysis.access(episodes)
    points = [(row["deviation"], row["wrong_bits"]) for row in noisy]
    figure = figures.curves(
        {"wrong bits": points}, "deviation of the noise", "wrong bits a sequence", marks=True
    )
    figures.save(figure, out, "noise")
    rows = [(float(row), value) for row, value in enumerate(change)]
    figures.save(figures.curves({"change": rows}, "row", "sum of |change|"), out, "memory_change")
    figures.save(figures.bars(_shares(access), "mean over rows"), out, "access")
    return {
        "utilisation": analysis.utilisation(episodes),
        "access": access,
        "persistence": analysis.persistence(episodes),
        "content": analysis.probe(episodes),
        "memory_change": change,
        "noise": noisy,
    }


def _shares(access: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The ways of addressing and each shift, by kind of head and part of the episode."""
    ways = ("content", "kept", "backward", "forward", "allocation", "nothing")
    groups: dict[str, dict[str, float]] = {}
    for kind, parts in access.items():
        for part, found in parts.items():
            shift = found.get("shift", [])
            shifts = {f"shift {n - len(shift) // 2:+d}": p for n, p in enumerate(shift)}
            told = {name: found[name] for name in ways if name in found}
            groups[f"{kind}, {part}"] = told | shifts
    return groups


def draw_scaling(card: Card, out: Path) -> list[dict[str, int]]:
    """What a step costs, by slots."""
    costs = step_costs(card.family, card.network, SLOTS)
    lines = {
        name: [(cost["slots"], cost[name]) for cost in costs]
        for name in ("flops", "bytes_moved", "bytes_of_state")
    }
    figure = figures.curves(lines, "slots", "a step", log_y=True, marks=True)
    figures.save(figure, out, "scaling")
    return costs


def draw_generalisation(
    network: Network, task: Task, args: argparse.Namespace, out: Path
) -> dict[str, Any]:
    """Both measures against the length, which for a memory is its capacity."""
    lengths = args.lengths or task.test_lengths
    found = evaluate(network, task, lengths, args.sequences, within=0)["lengths"]
    lines = {
        name.replace("_", " "): [(int(length), row[name]) for length, row in found.items()]
        for name in ("wrong_bits", "cross_entropy_bits")
    }
    figure = figures.curves(lines, task.unit, "bits a sequence", log_y=True, marks=True)
    figures.save(figure, out, "generalisation")
    return found


def draw_learning(entries: Sequence[Path], task: str, out: Path) -> dict[str, Any]:
    """Learning curves of the runs among `entries`, and how many sequences they took."""
    measure = make_task(task).judged_by
    runs = {
        entry.name: learning_curve(entry / "metrics.jsonl", measure)
        for entry in entries
        if (entry / "metrics.jsonl").is_file()
    }
    if not runs:
        return {}
    label = f"{measure.replace('_', ' ')} a sequence"
    figure = figures.curves(runs, "sequences", label, log_y=True)
    if len(runs) > 1:
        figures.save(figures.spread(runs, "sequences", label), out, "seeds")
    figures.save(figure, out, "learning")
    found = convergence(runs)
    starts = {entry.name: _start_of(entry) for entry in entries if entry.name in runs}
    return found | {"transfer": transfer(found["sequences_to_solve"], starts)}


def _start_of(entry: Path) -> str:
    """The entry that a run began with; "" for none."""
    return json.loads((entry / CARD).read_bytes()).get("training", {}).get("start", "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ntm plot",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    help_text = "runs or zoo entries; the first is looked into, all give learning curves"
    add("entries", type=Path, nargs="+", help=help_text)
    add("--out", type=Path, default=Path("figures"), help="folder")
    add("--by", metavar="UNIT", help="what a length counts, e.g. vectors; None: the task's own")
    add("--length", type=int, help="of the sequences looked into; None: the longest of training")
    add("--lengths", type=parse_lengths, help="of the generalisation curve; None: the task's")
    add("--sequences", type=int, default=50, help="looked into, and a length")
    add("--threads", type=int, default=1, help="of one operation")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
