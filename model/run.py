"""A training run in its folder: checkpoint.pt, metrics.jsonl, and the entry it ends with."""

import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import torch
from tqdm import tqdm

from model import distributed
from model.checkpoint import load_checkpoint, save_checkpoint
from model.entry import make_card, write_entry
from model.evaluation import evaluate
from model.families import load
from model.metrics import MetricsLog
from model.population import Population
from model.recipe import Recipe, check_same, learning_rate_at
from model.trainer import Candidate, Trainer


def say(text: str) -> None:
    """A line on standard output that leaves the progress bar whole; of one process only."""
    if distributed.rank() == 0:
        tqdm.write(text)
        sys.stdout.flush()


def checkpoint_of(recipe: Recipe) -> Path:
    """Where a run keeps its checkpoint."""
    return Path(recipe.out) / "checkpoint.pt"


class Run:
    """Owns a trainer and its files. Set `stop` from a signal to end it after the step."""

    def __init__(self, recipe: Recipe) -> None:
        began = time.perf_counter()
        torch.set_num_threads(recipe.threads)
        self.recipe = recipe
        self.folder = Path(recipe.out)
        self.checkpoint = checkpoint_of(recipe)
        self.trainer = (Population if recipe.population else Trainer)(recipe, say)
        self.seconds = time.perf_counter() - began  # compiling counts
        self.stop = False

    def resume(self) -> None:
        """Continues from the folder's checkpoint. Raises FileNotFoundError, ValueError."""
        content = load_checkpoint(self.checkpoint)
        check_same(msgspec.json.decode(content["recipe"], type=Recipe), self.recipe)
        self.trainer.restore(content["trainer"])
        self.seconds += content["seconds"]

    def save(self) -> None:
        """Writes the checkpoint; a crash leaves the one before it."""
        if distributed.rank() > 0:
            return
        recipe = msgspec.json.encode(self.recipe).decode()
        content = {"recipe": recipe, "seconds": self.seconds, "trainer": self.trainer.state()}
        save_checkpoint(self.checkpoint, content)

    def train(self, until: int | None = None) -> bool:
        """Trains to the end, to step `until` or until `stop`, then saves. True when finished."""
        recipe, trainer = self.recipe, self.trainer
        until = recipe.steps if until is None else until
        with self._log() as log, self._bar() as bar:
            while trainer.step < until and not trainer.finished and not self._stopped():
                began = time.perf_counter()
                trainer.advance()
                self._periodic(log, bar)
                self.seconds += time.perf_counter() - began
                bar.update(recipe.batch)
                if trainer.step % recipe.checkpoint_every == 0:
                    self.save()
        self.save()
        return trainer.finished

    def finish(self, command: str) -> dict[str, Any]:
        """Tests the best weights and writes weights.safetensors and card.json; the results.

        The checkpoint is left as it is, so that a longer run can still go on from it.
        """
        trainer = self.trainer
        best = trainer.choose()
        told = {
            "steps_done": trainer.step,
            "sequences_seen": trainer.step * self.recipe.batch,
            "seconds": round(self.seconds),
            "processes": distributed.processes(),
            "chosen": msgspec.to_builtins(best),
            "chosen_by": f"least {trainer.task.judged_by}, then the other measure, summed over "
            "validation sequences (of the lengths of training and of selection) that no test uses",
            **trainer.told(),
        }
        card = make_card(self.recipe, trainer.task, command, {}, told)
        write_entry(self.folder, card, trainer.best_weights)
        network, _ = load(self.folder)
        lengths, recipe = trainer.task.test_lengths, self.recipe
        results = evaluate(
            network, trainer.task, lengths, recipe.test_sequences, recipe.test_within
        )
        write_entry(self.folder, {**card, "results": results}, trainer.best_weights)
        return results

    def _stopped(self) -> bool:
        return distributed.anywhere(self.stop, self.recipe.device)

    def _log(self) -> MetricsLog:
        if distributed.rank() > 0:
            return MetricsLog(None, self.trainer.step)
        events = self.folder / "tensorboard" if self.recipe.tensorboard else None
        return MetricsLog(self.folder / "metrics.jsonl", self.trainer.step, events)

    def _bar(self) -> "tqdm[Any]":
        batch = self.recipe.batch
        total, done = self.recipe.steps * batch, self.trainer.step * batch
        hidden = True if distributed.rank() else None  # None: shown on a terminal only
        return tqdm(
            total=total,
            initial=done,
            unit="seq",
            desc=self.recipe.name,
            disable=hidden,
            leave=False,
        )

    def _periodic(self, log: MetricsLog, bar: "tqdm[Any]") -> None:
        step, recipe, trainer = self.trainer.step, self.recipe, self.trainer
        if step % recipe.log_every == 0:
            means = trainer.drain_window()
            rate = learning_rate_at(recipe, step)
            common = {"step": step, "sequences": step * recipe.batch}
            seconds = round(self.seconds, 3)
            log.write(kind="training", **common, **means, learning_rate=rate, seconds=seconds)
            bar.set_postfix(wrong_bits=f"{means['wrong_bits']:.3f}", refresh=False)
        if step % recipe.eval_every == 0:
            for candidate in trainer.evaluate():
                log.write(kind="evaluation", **msgspec.to_builtins(candidate))
                say(describe(candidate))


def describe(candidate: Candidate) -> str:
    """One line for people."""
    by_length = "".join(f"  {length}: {bits:.3f}" for length, bits in candidate.selected.items())
    return (
        f"step {candidate.step}  {candidate.weights:<7}  wrong bits {candidate.wrong_bits:.3f}"
        f"  cross-entropy bits {candidate.cross_entropy_bits:.4f}{by_length}"
    )
