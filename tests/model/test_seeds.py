import json
from pathlib import Path
from typing import Any

import pytest

from model.guard import NonFiniteError
from model.seeds import command_of, summary, table, train_seeds
from model.training import main

TINY = (
    "copy --batch 3 --memory-size 7 --memory-width 5 --controller-size 6 --compile off --steps 3 "
    "--eval-sequences 8 --test-sequences 2 --test-within 20 --log-every 2 --seed 4"
).split()


def row(seed: int, wrong: float, solved: int | None) -> dict[str, Any]:
    bits = {"training": 0.0, "10": wrong}
    return {"seed": seed, "wrong_bits": bits, "sequences_to_solve": solved, "seconds": 7}


def test_every_seed_is_trained_and_stands_in_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "many"
    assert main([*TINY, "--seeds", "2", "--out", str(base)]) == 0
    cards = [json.loads((tmp_path / f"many-{seed}/card.json").read_text()) for seed in (4, 5)]
    assert [card["seed"] for card in cards] == [4, 5]
    assert (
        cards[0]["command"].endswith(f"--seed 4 --out {base}-4")
        and "--seeds" not in cards[0]["command"]
    )
    kept = json.loads((tmp_path / "many-seeds.json").read_text())
    expected = [card["results"]["lengths"]["10"]["wrong_bits"] for card in cards]
    assert [run["wrong_bits"]["10"] for run in kept["runs"]] == expected
    assert kept["summary"]["wrong_bits"]["10"]["median"] == sum(expected) / 2
    assert capsys.readouterr().out.splitlines()[-1].startswith("median")


def pretend(argv: list[str]) -> bool:
    """A run that is over at once: a card and one line of metrics."""
    folder = Path(argv[argv.index("--out") + 1])
    folder.mkdir(exist_ok=True)
    seed = int(argv[argv.index("--seed") + 1])
    results = {"lengths": {"10": {"wrong_bits": float(seed)}}}
    training = {"sequences_seen": 90, "seconds": 7}
    card = {"seed": seed, "results": results, "training": training}
    (folder / "card.json").write_text(json.dumps(card))
    line = {"kind": "training", "sequences": 90, "wrong_bits": 0.0}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return True


def test_finished_runs_are_kept_and_begun_ones_go_on(tmp_path: Path) -> None:
    base = tmp_path / "some"
    assert pretend(["--seed", "4", "--out", f"{base}-4"])
    (tmp_path / "some-5").mkdir()
    (tmp_path / "some-5" / "checkpoint.pt").touch()
    asked: list[list[str]] = []

    def train(argv: list[str]) -> bool:
        asked.append(argv)
        return pretend(argv)

    assert train_seeds(TINY, range(4, 7), str(base), train, print)
    assert [argv[argv.index("--seed") + 1] for argv in asked] == ["5", "6"]
    assert ["--resume" in argv for argv in asked] == [True, False]
    kept = json.loads((tmp_path / "some-seeds.json").read_text())
    assert kept["summary"]["wrong_bits"]["10"] == {"median": 5, "least": 4, "most": 6}


def test_a_seed_that_met_nan_is_listed_and_the_others_go_on(tmp_path: Path) -> None:
    def train(argv: list[str]) -> bool:
        if argv[argv.index("--seed") + 1] == "4":
            raise NonFiniteError(9, "the loss")
        return pretend(argv)

    assert train_seeds(TINY, range(4, 6), str(tmp_path / "nan"), train, print)
    kept = json.loads((tmp_path / "nan-seeds.json").read_text())
    assert "step 9" in kept["runs"][0]["failed"] and kept["runs"][1]["seed"] == 5
    assert (kept["summary"]["runs"], kept["summary"]["failed"]) == (2, 1)


def test_a_stop_ends_the_series(tmp_path: Path) -> None:
    assert not train_seeds(TINY, range(4, 6), str(tmp_path / "x"), lambda _: False, print)


def test_seed_and_folder_of_the_command_line_are_replaced(tmp_path: Path) -> None:
    argv = "copy --seeds 3 --seed=7 --out a --out=b --resume --steps 9".split()
    folder = tmp_path / "run"
    expected = ["copy", "--steps", "9", "--seed", "8", "--out", str(folder)]
    assert command_of(argv, 8, folder) == expected


def test_the_table_shows_medians_and_what_was_not_solved() -> None:
    rows = [row(1, 0.5, 90), row(2, 0.25, None), row(3, 1.0, 40)]
    lines = table(rows).splitlines()
    assert lines[1].split() == ["1", "0.000", "0.500", "90", "7"]
    assert lines[2].split()[3] == "not" and lines[-1].split() == ["median", "0.000", "0.500"]
    found = summary(rows)
    assert found["sequences_to_solve"] == {"median": 65, "least": 40, "most": 90}
    assert found["solved"] == 2
