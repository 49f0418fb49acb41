"""Sequences a second that training goes through, compiled and eager, in turns on one core.

The copy task by the zoo's recipe: 128 x 20, LSTM 100, lengths 1 to 20, Adam. A step is all of it:
sequences drawn, forward, backward, clipped, applied.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import cache
from multiprocessing import get_context

import numpy as np
import torch

from model.recipe import Recipe
from model.trainer import Trainer

NETWORK = {
    "input_size": 9,
    "output_size": 8,
    "memory_size": 128,
    "memory_width": 20,
    "controller_size": 100,
}
TURNS = 5
CASES = (("on", 64), ("on", 32), ("on", 16), ("off", 16), ("off", 1))
BASE = ("off", 16)


def report(seconds: float) -> None:
    """Print the table: medians of the turns. seconds: of each case, all turns together."""
    rates: dict[tuple[str, int], list[float]] = {case: [] for case in CASES}
    with ExitStack() as stack:
        context = get_context("spawn")  # a process each: to the compiler all would be one function
        processes = {case: ProcessPoolExecutor(1, context) for case in CASES}
        for process in processes.values():
            stack.enter_context(process)
        for case, process in processes.items():  # compiles it
            process.submit(_rate, *case, 0.0).result()
        for turn in range(TURNS):
            for case in CASES if turn % 2 else CASES[::-1]:
                rates[case].append(processes[case].submit(_rate, *case, seconds / TURNS).result())
    print("\n| step | batch | sequences/s | to eager at 16, of each turn |\n|---|---|---|---|")
    for mode, batch in CASES:
        pairs = zip(rates[mode, batch], rates[BASE], strict=True)
        ratios = " ".join(f"{rate / base:.2f}" for rate, base in pairs)
        kind = "compiled" if mode == "on" else "eager"
        print(f"| {kind} | {batch} | {np.median(rates[mode, batch]):.0f} | {ratios} |")


@cache
def _trainer(mode: str, batch: int) -> Trainer:
    torch.set_num_threads(1)
    fields = {"task": "copy", "name": "copy", "out": "unused", "network": NETWORK}
    recipe = Recipe(**fields, compile=mode, batch=batch, eval_sequences=8)  # pyright: ignore
    trainer = Trainer(recipe, lambda _: None)
    for _ in range(20):
        trainer.advance()
    return trainer


def _rate(mode: str, batch: int, seconds: float) -> float:
    trainer = _trainer(mode, batch)
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() < begun + seconds:
        trainer.advance()
        steps += 1
    return steps * batch / (time.perf_counter() - begun)
