"""`ntm train`: trains a network on a task; writes its weights, card, metrics and checkpoints."""

import argparse
import shlex
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from model.evaluation import describe
from model.guard import NonFiniteError
from model.options import options_of, recipe_from
from model.run import Run, say

INTERRUPTED = 130  # what a shell reports for a command ended by SIGINT


def main(argv: Sequence[str]) -> int:
    """Runs `ntm train`. Returns 0, 1 where it cannot go on, or 130 where it was interrupted."""
    args = options_of(argv)
    command = shlex.join(["ntm", "train", *(part for part in argv if part != "--resume")])
    try:
        run = prepare(args)
        with stopping_on_signals(run):
            finished = run.train()
        if not finished:
            say(f"stopped at step {run.trainer.step}; the same command with --resume goes on")
            return INTERRUPTED
        say(describe(run.finish(command)))
    except (ValueError, FileNotFoundError, NonFiniteError) as error:
        print(f"ntm train: {error}", file=sys.stderr)
        return 1
    say(f"wrote {run.folder}: weights.safetensors, card.json, metrics.jsonl")
    return 0


def prepare(args: argparse.Namespace) -> Run:
    """The run that parsed options ask for, resumed where they say so.

    Raises ValueError where there is a run already that was not to be resumed.
    """
    run = Run(recipe_from(args))
    if args.resume:
        run.resume()
    elif run.checkpoint.exists():
        raise ValueError(f"{run.checkpoint} is there already: add --resume or another --out")
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
