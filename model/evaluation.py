"""`ntm eval`: wrong bits and cross-entropy bits a sequence, by length."""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import torch
from torch import Generator, Tensor, nn

from model.entry import update_results
from model.families import Network, load
from model.npi import NPI
from model.npi_verified import verified
from model.options import parse_lengths
from model.rollout import first_state, judging, rollout
from model.sizes import CHANGES_HELP, parse_changes
from model.tasks import TASKS, Batch, Task, make_task
from model.tasks.task import TEST_SEED, Instances, Provable, Queried, drawn_for

CHUNK = 100  # sequences evaluated at once
ZOO = Path(__file__).parent / "zoo"


class Summary(msgspec.Struct, frozen=True, omit_defaults=True):
    """The measures of some sequences: means a sequence, the worst, and how many were perfect.

    Where sequences ask several things, the share of them that were answered right; where they show
    the same things again and again, the share at the 1st, 2nd, ... time. Where even
    the best answer costs something, what it costs on these very sequences, how
    much more the network paid, and the standard error of that difference.
    """

    sequences: int
    wrong_bits: float
    wrong_bits_worst: int
    cross_entropy_bits: float
    perfect: int
    right: float | None = None
    at_instances: list[float] | None = None
    optimum_bits: float = 0.0
    gap_bits: float = 0.0
    gap_error: float = 0.0


@torch.no_grad()
def summarise(network: Network, task: Task, batches: Iterable[Batch]) -> Summary:
    """Runs `batches` through the network, eagerly, where its weights are.

    Raises ValueError for no sequences at all.
    """
    device = next(cast(nn.Module, network).parameters()).device
    wrong: list[Tensor] = []
    bits: list[Tensor] = []
    least: list[Tensor] = []
    right: list[Tensor] = []
    instances: list[Tensor] = []
    for batch in batches:
        batch = batch.to(device)
        state = first_state(network, batch)
        logits = rollout(network.step, state, batch.inputs, view=judging(task, batch)).logits
        measured = task.measures(logits, batch)
        wrong.append(measured.wrong_bits.double())
        bits.append(measured.cross_entropy_bits.double())
        least.append(task.optimum_bits(batch).double())
        if isinstance(task, Queried):
            right.append(task.right(logits, batch).double())
        if isinstance(task, Instances):
            instances.append(task.at_instances(logits, batch).double())
    if not wrong:
        raise ValueError("expected at least one sequence to evaluate, got none")
    counts, costs, optimum = torch.cat(wrong), torch.cat(bits), torch.cat(least)
    return Summary(
        sequences=counts.numel(),
        wrong_bits=round(counts.mean().item(), 6),
        wrong_bits_worst=int(counts.max().item()),
        cross_entropy_bits=round(costs.mean().item(), 6),
        perfect=int((counts == 0).sum().item()),
        right=round(torch.cat(right).mean().item(), 6) if right else None,
        at_instances=_shares(torch.cat(instances)) if instances else None,
        **(_gap(costs.cpu() - optimum.cpu(), optimum.cpu()) if optimum.any() else {}),
    )


def _shares(each: Tensor) -> list[float]:
    return [round(share, 6) for share in each.mean(dim=0).tolist()]


def _gap(gap: Tensor, optimum: Tensor) -> dict[str, float]:
    spread = gap.std().item() if gap.numel() > 1 else 0.0
    return {
        "optimum_bits": round(optimum.mean().item(), 6),
        "gap_bits": round(gap.mean().item(), 6),
        "gap_error": round(spread / math.sqrt(gap.numel()), 6),
    }


def held_out(task: Task, length: int, sequences: int, seed: int) -> Iterator[Batch]:
    """Test sequences of one length; the same whatever other lengths are asked for."""
    generator = Generator().manual_seed(TEST_SEED + 1_000 * seed + length)
    for start in range(0, sequences, CHUNK):
        yield task.at_length(generator, min(CHUNK, sequences - start), length)


def evaluate(
    network: Network,
    task: Task,
    lengths: Sequence[int],
    sequences: int = 100,
    within: int = 1000,
    seed: int = 1000,
) -> dict[str, Any]:
    """Results as a card holds them: each of `lengths`, then all lengths of training together.

    sequences: how many a length; within: how many in all, spread evenly over the lengths of
    training (0 leaves them out).
    """
    task = drawn_for(task, "test")
    low, high = task.train_lengths
    results: dict[str, Any] = {"seed": seed, "lengths": {}}
    if within:
        share = -(-within // (high + 1 - low))
        batches = (
            batch
            for length in range(low, high + 1)
            for batch in held_out(task, length, share, seed)
        )
        summary = summarise(network, task, batches)
        results["within"] = {"shortest": low, "longest": high, **msgspec.to_builtins(summary)}
    for length in lengths:
        summary = summarise(network, task, held_out(task, length, sequences, seed))
        results["lengths"][str(length)] = msgspec.to_builtins(summary)
    return results


def verify(network: Network, task: Task) -> dict[str, Any]:
    """How the task's verification set comes out. Raises ValueError where it has none."""
    if not isinstance(task, Provable):
        raise ValueError(f"{task.name} has no verification set")
    proof = task.verification()
    return msgspec.to_builtins(verified(cast(NPI, network).core, proof))


def describe(results: dict[str, Any]) -> str:
    """The results as a table for people."""
    rows = [(length, summary) for length, summary in results["lengths"].items()]
    if "within" in results:
        within = results["within"]
        rows.insert(0, (f"{within['shortest']}-{within['longest']}", within))
    lines = [f"{'length':>8}{'wrong bits':>12}{'worst':>7}{'cross-entropy bits':>20}  perfect"]
    for length, summary in rows:
        lines.append(
            f"{length:>8}{summary['wrong_bits']:>12.3f}{summary['wrong_bits_worst']:>7}"
            f"{summary['cross_entropy_bits']:>20.4f}"
            f"  {summary['perfect']}/{summary['sequences']}"
            + _told_right(summary)
            + _told_instances(summary)
            + _told_gap(summary)
        )
    if "verification" in results:
        lines.append(_told_verified(results["verification"]))
    return "\n".join(lines)


def _told_verified(found: dict[str, Any]) -> str:
    told = f"verification: {found['wrong']} of {found['decisions']:,} decisions wrong"
    return f"{told}, the first: {found['example']}" if found["wrong"] else told


def _told_right(summary: dict[str, Any]) -> str:
    return f"  {summary['right']:.2%} of queries right" if "right" in summary else ""


def _told_instances(summary: dict[str, Any]) -> str:
    if "at_instances" not in summary:
        return ""
    shares = " ".join(f"{share:.1%}" for share in summary["at_instances"])
    return f"  right at the 1st, 2nd, ... instance: {shares}"


def _told_gap(summary: dict[str, Any]) -> str:
    if "gap_bits" not in summary:
        return ""
    return (
        f"  {summary['gap_bits']:.3f} +- {summary['gap_error']:.3f} bits above the optimum"
        f" of {summary['optimum_bits']:.3f}"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ntm eval`."""
    add = parser.add_argument
    add("task", choices=sorted(TASKS))
    add("--entry", type=Path, help="folder of weights and card; None: the zoo's")
    add("--data", default="", metavar="FOLDER", help="of the task's data; None: the repository's")
    add("--by", metavar="UNIT", help="what a length counts, e.g. vectors; None: the task's own")
    add("--lengths", type=parse_lengths, help="e.g. 10,20,30; None: the task's")
    add("--sequences", type=int, default=100, help="sequences a length")
    add("--within", type=int, default=1000, help="sequences over the lengths of training; 0: none")
    add("--verify", action="store_true", help="the task's verification set too")
    add("--seed", type=int, default=1000, help="of the test sequences")
    add("--set", type=parse_changes, metavar="NAME=VALUE,...", help=CHANGES_HELP)
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    add("--threads", type=int, default=1, help="of one operation")
    add("--json", action="store_true", help="print JSON")
    add("--card", action="store_true", help="write the results into the entry's card")


def main(argv: Sequence[str]) -> int:
    """Runs `ntm eval`. Returns 0, or 1 with a message where the entry is unusable."""
    parser = argparse.ArgumentParser(
        prog="ntm eval",
        description="Measure wrong bits and cross-entropy bits a sequence, by length.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    entry = args.entry or ZOO / args.task
    try:
        task = make_task(args.task, args.by, args.data)
        network, card = load(entry, args.set)
        if card.task != task.name:
            raise ValueError(f"expected weights for {task.name}, got a card for {card.task}")
        cast(nn.Module, network).to(args.device)
        lengths = args.lengths or task.test_lengths
        results = evaluate(network, task, lengths, args.sequences, args.within, args.seed)
        if args.verify:
            results["verification"] = verify(network, task)
        if args.card and args.set:
            raise ValueError("--card keeps the results of the network as its card has it: no --set")
        if args.card:
            update_results(entry, results)
    except ValueError as error:
        print(f"ntm eval: {error}", file=sys.stderr)
        return 1
    print(json.dumps(results, indent=2) if args.json else describe(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
