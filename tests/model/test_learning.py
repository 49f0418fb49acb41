import json
from pathlib import Path

from model.learning import convergence, learning_curve, sequences_to, transfer


def test_the_curve_holds_the_training_lines(tmp_path: Path) -> None:
    lines = [
        {"kind": "training", "step": 2, "sequences": 20, "wrong_bits": 5.0, "loss": 1},
        {"kind": "evaluation", "step": 2, "wrong_bits": 9.0},
        {"kind": "training", "step": 4, "sequences": 40, "wrong_bits": 0.5, "loss": 2},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert learning_curve(path) == [(20, 5.0), (40, 0.5)]
    assert learning_curve(path, "loss") == [(20, 1), (40, 2)]


def test_solved_is_where_it_came_down_to_stay() -> None:
    curve = [(10, 3.0), (20, 0.1), (30, 0.2), (40, 0.05), (50, 0.0)]
    assert sequences_to(curve) == 40
    assert sequences_to(curve, 0.2) == 20
    assert sequences_to(curve[:3]) is None
    assert sequences_to([]) is None


def test_convergence_counts_those_that_solved_it() -> None:
    solved = [(10, 1.0), (20, 0.0)]
    runs = {"a": solved, "b": [(10, 0.0), (20, 0.0)], "c": [(10, 2.0), (20, 1.0)]}
    found = convergence(runs)
    assert found["sequences_to_solve"] == {"a": 20, "b": 10, "c": None}
    assert (found["solved"], found["runs"], found["median"]) == (2, 3, 15)
    assert found["range"] == [10, 20]
    assert convergence({"c": runs["c"]})["median"] is None


def test_transfer_is_told_beside_those_that_began_from_scratch() -> None:
    found = {"a": 100.0, "b": 300.0, "c": 50.0, "d": None}
    starts = {"a": "", "b": "", "c": "model/zoo/copy", "d": "model/zoo/reverse"}
    assert transfer(found, starts) == {
        "c": {"start": "model/zoo/copy", "sequences_to_solve": 50.0, "to_from_scratch": 0.25},
        "d": {
            "start": "model/zoo/reverse",
            "sequences_to_solve": None,
            "to_from_scratch": None,
        },
    }
    assert transfer({"c": 50.0}, {"c": "x"})["c"]["to_from_scratch"] is None
