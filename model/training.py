"""`ntm train`: trains a network on a task; writes its weights, card, metrics and checkpoints."""

import argparse
import shlex
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from model.distributed import process_group, processes, rank
from model.evaluation import describe
from model.guard import NonFiniteError
from model.options import options_of, recipe_from
from model.run import Run, checkpoint_of, say
from model.seeds import train_seeds

INTERRUPTED = 130  # what a shell reports for a command ended by SIGINT


def main(argv: Sequence[str]) -> int:
    """Runs `ntm train`. Returns 0, 1 where it cannot go on, or 130 where it was interrupted."""
    args = options_of(argv)
    try:
        with process_group(args.device):
            finished = train(argv) if args.seeds is None else several(args, argv)
    except (ValueError, FileNotFoundError, NonFiniteError) as error:
        print(f"ntm train: {error}", file=sys.stderr)
        return 1
    return 0 if finished else INTERRUPTED


def several(args: argparse.Namespace, argv: Sequence[str]) -> bool:
    """The runs of `--seeds` and their table; False where they were stopped.

    Raises ValueError where several processes train: a seed of theirs would take its turn in each.
    """
    if processes() > 1:
        raise ValueError("--seeds trains in one process: start one a device with --seed instead")
    base, first = args.out or f"runs/{args.task}", args.seed
    return train_seeds(argv, range(first, first + args.seeds), base, train, say)


def train(argv: Sequence[str]) -> bool:
    """One run to its end and its entry written, or, where it was stopped, False.

    Raises what `prepare` raises, and NonFiniteError.
    """
    run = prepare(options_of(argv))
    with stopping_on_signals(run):
        finished = run.train()
    if not finished:
        say(f"stopped at step {run.trainer.step}; the same command with --resume goes on")
        return False
    if rank() > 0:
        return True
    command = shlex.join(["ntm", "train", *(part for part in argv if part != "--resume")])
    say(describe(run.finish(command)))
    say(f"wrote {run.folder}: weights.safetensors, card.json, metrics.jsonl")
    return True


def prepare(args: argparse.Namespace) -> Run:
    """The run that parsed options ask for, resumed where they say so.

    Raises ValueError where there is a run already that was not to be resumed, or none that was,
    before the step is compiled.
    """
    recipe = recipe_from(args)
    checkpoint = checkpoint_of(recipe)
    if args.resume and not checkpoint.exists():
        raise ValueError(f"no run to resume in {recipe.out}: expected {checkpoint.name} there")
    if checkpoint.exists() and not args.resume:
        raise ValueError(f"{checkpoint} is there already: add --resume or another --out")
    run = Run(recipe)
    if args.resume:
        run.resume()
    return run


@contextmanager
def stopping_on_signals(run: Run) -> Generator[None]:
    """SIGINT and SIGTERM end the run after its step; a second one ends it at once."""
    watched = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in watched}

    def stop(number: int, _: object) -> None:
        run.stop = True
        signal.signal(number, before[signal.Signals(number)])

    for number in watched:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in watched:
            signal.signal(number, before[number])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
