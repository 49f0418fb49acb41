"""What every family's training must hold: that it goes on exactly where it was stopped."""

from collections.abc import Sequence
from pathlib import Path

from model.training import main as train


def assert_resumes_exactly(options: Sequence[str], folder: Path, steps: int = 6) -> None:
    """So many steps give the weights that half of them, and the rest by --resume, give; none meets
    NaN."""
    whole, halves = str(folder / "whole"), str(folder / "halves")
    assert train([*options, "--steps", str(steps), "--out", whole]) == 0
    assert train([*options, "--steps", str(steps // 2), "--out", halves]) == 0
    assert train([*options, "--steps", str(steps), "--out", halves, "--resume"]) == 0
    files = [(folder / run / "weights.safetensors").read_bytes() for run in ("whole", "halves")]
    assert files[0] == files[1]
