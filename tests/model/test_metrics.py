from pathlib import Path

import pytest

from model.metrics import MetricsLog


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "m.jsonl", 0) as log:
        log.write(kind="training", step=3, loss=0.5)
        written = (tmp_path / "m.jsonl").read_text()
    assert written == '{"kind": "training", "step": 3, "loss": 0.5}\n'


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
def test_tensorboard_gets_every_number_of_a_line(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", exc_type=ImportError
    )
    with MetricsLog(tmp_path / "m.jsonl", 0, tmp_path / "events") as log:
        log.write(kind="training", step=3, sequences=96, loss=0.5)
        log.write(kind="training", step=6, sequences=192, loss=0.25)
        log.write(kind="evaluation", weights="last", step=6, wrong_bits=2.0, selected={"20": 7.0})
    events = accumulator.EventAccumulator(str(tmp_path / "events")).Reload()
    expected = {
        "training/loss": [(3, 0.5), (6, 0.25)],
        "evaluation/last/wrong_bits": [(6, 2.0)],
        "evaluation/last/wrong_bits/20": [(6, 7.0)],
    }
    assert set(events.Tags()["scalars"]) == set(expected)
    for tag, points in expected.items():
        assert [(event.step, event.value) for event in events.Scalars(tag)] == points
