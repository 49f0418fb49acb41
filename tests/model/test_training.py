import json
import signal
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from model.checkpoint import load_checkpoint
from model.families import load
from model.neural_turing_machine import NeuralTuringMachine
from model.options import options_of
from model.run import Run
from model.trainer import Trainer
from model.training import main, prepare, stopping_on_signals

TINY = (
    "copy --batch 3 --memory-size 7 --memory-width 5 --controller-size 6 --compile off "
    "--eval-every 2 --eval-sequences 8 --select-lengths 2,4 --select-sequences 3 --ema 0.9 "
    "--test-sequences 2 --test-within 20 "
)


def run_of(text: str, out: Path) -> Run:
    return prepare(options_of([*(TINY + text).split(), "--out", str(out)]))


def train(text: str, out: Path) -> int:
    return main([*(TINY + text).split(), "--out", str(out)])


def metrics(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def assert_equal(left: Any, right: Any, where: str = "") -> None:
    """Equal to the last bit, through dicts, lists and tensors."""
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_equal(left[key], right[key], f"{where}/{key}")
    elif isinstance(left, list):
        assert len(left) == len(right), where
        for number, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_equal(a, b, f"{where}/{number}")
    elif isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype and left.equal(right), where
    else:
        assert left == right, where


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_stopping_and_resuming_changes_not_one_bit(tmp_path: Path, optimizer: str) -> None:
    text = f"--steps 14 --optimizer {optimizer} --schedule cosine --eval-every 3 --log-every 4"
    straight, halted = tmp_path / "straight", tmp_path / "halted"
    assert run_of(text, straight).train()
    assert not run_of(text, halted).train(until=7)
    resumed = run_of(text + " --resume", halted)
    assert resumed.trainer.step == 7
    assert resumed.train()
    one, two = (load_checkpoint(out / "checkpoint.pt")["trainer"] for out in (straight, halted))
    assert one["step"] == 14 and len(one["optimizer"]["state"]) > 0
    assert_equal(one, two)
    assert metrics(straight) == metrics(halted)


def test_a_finished_run_goes_on_exactly_when_given_more_steps(tmp_path: Path) -> None:
    assert train("--steps 10", tmp_path / "straight") == 0
    assert train("--steps 5", tmp_path / "longer") == 0
    assert train("--steps 10 --resume", tmp_path / "longer") == 0
    names = ("straight", "longer")
    one, two = (load_checkpoint(tmp_path / name / "checkpoint.pt")["trainer"] for name in names)
    assert_equal(one, two)
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in names]
    assert weights[0] == weights[1]


def test_a_crash_after_the_checkpoint_leaves_no_metrics_twice(tmp_path: Path) -> None:
    run = run_of("--steps 8 --checkpoint-every 4", tmp_path)
    run.train(until=4)
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    run.train(until=8)
    (tmp_path / "checkpoint.pt").write_bytes(kept)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "evalu')
    run_of("--steps 8 --resume", tmp_path).train()
    steps = [(row["step"], row["weights"]) for row in metrics(tmp_path)]
    assert steps == [(step, kind) for step in (2, 4, 6, 8) for kind in ("last", "average")]


def test_another_recipe_cannot_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_of("--steps 4 --schedule linear", tmp_path).train(until=2)
    assert train("--steps 4 --schedule linear --clip 3 --resume", tmp_path) == 1
    assert "clip was 10.0 in the checkpoint, got 3.0" in capsys.readouterr().err
    assert train("--steps 6 --schedule linear --resume", tmp_path) == 1
    assert "steps was 4 in the checkpoint, got 6" in capsys.readouterr().err


def test_a_run_that_is_there_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_of("--steps 2", tmp_path).train()
    assert train("--steps 2", tmp_path) == 1
    assert "add --resume or another --out" in capsys.readouterr().err
    assert train("--steps 2 --resume", tmp_path / "absent") == 1
    assert "checkpoint.pt" in capsys.readouterr().err


def test_training_stops_early_once_solved_often_enough(tmp_path: Path) -> None:
    run = run_of("--steps 50 --target 1000 --patience 3", tmp_path)
    assert run.train()
    assert run.trainer.step == 6
    unsolved = run_of("--steps 8 --target 0 --patience 1", tmp_path / "unsolved")
    assert unsolved.train() and unsolved.trainer.step == 8


def test_a_run_resumed_with_the_patience_it_has_shown_is_the_run_with_that_patience(
    tmp_path: Path,
) -> None:
    text = "--steps 50 --target 1000 --schedule linear --log-every 2 --patience"
    halted, straight = tmp_path / "halted", tmp_path / "straight"
    run_of(f"{text} 0", halted).train(until=6)
    assert train(f"{text} 3 --resume", halted) == 0
    assert train(f"{text} 3", straight) == 0
    assert metrics(halted) == metrics(straight)
    read = [(folder / "weights.safetensors").read_bytes() for folder in (halted, straight)]
    assert read[0] == read[1]
    cards = [json.loads((folder / "card.json").read_text()) for folder in (halted, straight)]
    for card in cards:
        card["training"].pop("seconds")
        assert card.pop("command").split(" --out ")[0].endswith("--patience 3")
    assert cards[0] == cards[1] and cards[0]["training"]["steps_done"] == 6


def test_the_metrics_file_tells_what_was_measured(tmp_path: Path) -> None:
    run_of("--steps 8 --eval-every 8 --log-every 8", tmp_path).train()
    training, last, average = metrics(tmp_path)
    assert (training["step"], training["sequences"]) == (8, 24)
    assert training["learning_rate"] == 1e-3
    assert 0 < training["wrong_bits"] < 160 and training["gradient_norm"] > 0
    assert training["cross_entropy_bits"] > training["loss"] > 0
    assert (last["weights"], average["weights"]) == ("last", "average")
    assert set(last["selected"]) == {"2", "4"}
    assert last["score"][0] == pytest.approx(last["wrong_bits"] + sum(last["selected"].values()))


def test_the_entry_holds_the_best_weights_and_how_they_came_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--steps 5 --seed 3 --name tiny", tmp_path) == 0
    network, card = load(tmp_path)
    told = json.loads((tmp_path / "card.json").read_text())
    kept = load_checkpoint(tmp_path / "checkpoint.pt")["trainer"]
    assert card.name == "tiny" and card.seed == 3 and card.task == "copy"
    assert (
        card.command == f"ntm train {TINY.strip()} --steps 5 --seed 3 --name tiny --out {tmp_path}"
    )
    assert set(card.results["lengths"]) == {"10", "20", "30", "50", "80", "120"}
    assert card.results["within"]["sequences"] == 20
    assert told["training"]["sequences_seen"] == 15
    assert told["training"]["chosen"]["step"] == 5 or kept["best"] == told["training"]["chosen"]
    assert network.input_size == 9
    assert "1-20" in capsys.readouterr().out


def test_a_signal_ends_the_run_after_its_step_and_it_can_be_resumed(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run = run_of("--steps 6", tmp_path)
    with stopping_on_signals(run):
        signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == before
        assert not run.train()
    assert signal.getsignal(signal.SIGTERM) == before
    assert run_of("--steps 6 --resume", tmp_path).train()


def test_divergence_names_tensor_and_step_and_ends_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--steps 9 --learning-rate 3e37", tmp_path) == 1
    message = capsys.readouterr().err
    assert "ntm train: step 2: expected finite numbers, got NaN or Inf in" in message
    assert not (tmp_path / "card.json").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--batch 0", "batch must be at least 1, got 0"),
        ("--ema 1", "ema must be at least 0 and below 1, got 1.0"),
        ("--clip 0", "clip must be above 0, got 0.0"),
        ("--seed -1", "seed must be at least 0"),
        ("--memory-size 2", "memory_size >= 3, got 2"),
        ("--family gru", "family must be one of"),
    ],
)
def test_values_out_of_range_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    assert train(option, tmp_path) == 1
    assert message in capsys.readouterr().err


def test_lengths_must_be_positive_integers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options_of(["copy", "--select-lengths", "20,x"])
    assert "expected lengths like 10,20,30, got '20,x'" in capsys.readouterr().err


def test_nothing_to_resume_is_said_before_the_step_is_compiled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--steps 4 --resume", tmp_path / "nowhere") == 1
    told = capsys.readouterr()
    assert told.err == (
        f"ntm train: no run to resume in {tmp_path / 'nowhere'}: expected checkpoint.pt there\n"
    )
    assert told.out == ""


def test_the_options_of_a_head_reach_the_network(tmp_path: Path) -> None:
    run = run_of("--steps 4 --shift-range 2 --sharpening softmax", tmp_path)
    network = cast(Trainer, run.trainer).network
    assert isinstance(network, NeuralTuringMachine)
    assert (network.heads.shifts, network.heads.addressing.sharpening) == (5, "softmax")
