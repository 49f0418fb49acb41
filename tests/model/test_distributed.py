import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model import distributed
from model.checkpoint import load_checkpoint
from model.tasks import make_task
from model.training import main

TINY = (
    "copy --batch 6 --memory-size 7 --memory-width 5 --controller-size 6 --compile off --ema 0.9 "
    "--write-cost 1e-4 --eval-every 2 --eval-sequences 8 --log-every 2 --test-sequences 2 "
    "--test-within 0"
).split()


def by_two(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """`ntm train` by two processes of this machine, as torchrun starts them."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", "-m", "model.training", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    assert main([*TINY, "--steps", "6", "--out", str(alone)]) == 0
    done = by_two([*TINY, "--steps", "6", "--out", str(both)])
    assert done.returncode == 0, done.stderr
    one, two = (load_checkpoint(out / "checkpoint.pt")["trainer"] for out in (alone, both))
    for name, value in one["network"].items():
        torch.testing.assert_close(two["network"][name], value, rtol=1e-4, atol=1e-6)
    assert two["generator"].equal(one["generator"])
    lines = [(out / "metrics.jsonl").read_text().splitlines() for out in (alone, both)]
    assert len(lines[0]) == len(lines[1])
    for line, twin in zip(*lines, strict=True):
        expected, got = json.loads(line), json.loads(twin)
        assert got["step"] == expected["step"]
        assert got["wrong_bits"] == pytest.approx(expected["wrong_bits"])
        assert got["cross_entropy_bits"] == pytest.approx(expected["cross_entropy_bits"])
    assert json.loads((both / "card.json").read_text())["training"]["processes"] == 2
    assert done.stdout.count("wrote") == 1


def test_what_two_processes_refuse_is_told(tmp_path: Path) -> None:
    odd = by_two([*TINY, "--batch", "5", "--steps", "2", "--out", str(tmp_path / "odd")])
    assert odd.returncode != 0
    assert "batch must be a multiple of 2 processes, got 5" in odd.stderr


def test_alone_nothing_is_shared_or_averaged() -> None:
    batch = make_task("copy").sample(torch.Generator().manual_seed(1), 3)
    tensor = torch.tensor([2.0, 4.0])
    distributed.average([tensor])
    assert distributed.share(batch).inputs.equal(batch.inputs) and tensor.tolist() == [2, 4]
    assert (distributed.rank(), distributed.processes(), distributed.own_share(5)) == (0, 1, 5)
    assert distributed.anywhere(True, "cpu") and not distributed.anywhere(False, "cpu")
    assert distributed.own_device("cuda") == "cuda"
