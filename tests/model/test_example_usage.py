"""The example runs end to end, and what it prints is what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sections() -> list[str]:
    """What `python model/example_usage.py` printed, a text a section."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "model/example_usage.py"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return re.split(r"\n(?=\d\. )", done.stdout)[1:]


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, f"expected {pattern} in {text}"
    return float(found[1])


def vector(label: str, text: str) -> list[float]:
    found = re.search(rf"{re.escape(label)}\s+\[(.*)\]", text)
    assert found, f"expected {label} in {text}"
    return [float(part) for part in found[1].split(",")]


def test_there_is_a_section_for_each_feature(sections):
    titles = [section.splitlines()[0] for section in sections]
    assert titles == [
        "1. Build a machine, run a sequence",
        "2. Step by step, the state in your hands",
        "3. Look at memory and heads",
        "4. More heads, other controllers",
        "5. Addressing by hand",
        "6. Train a little",
        "7. Copy a pattern with the trained model",
        "8. Export to a bundle, step it in ONNX Runtime",
        "9. Serve a session, explain and draw it",
    ]


def test_a_sequence_runs_and_interleaving_changes_nothing(sections):
    assert "inputs (3, 11, 9) -> outputs (3, 11, 8)" in sections[0]
    assert "the outputs are those of one alone: True" in sections[1]


def test_the_weights_shown_sum_to_one(sections):
    assert "memory (1, 16, 5)" in sections[2]
    assert "sums: 1.000000 and 1.000000" in sections[2]
    for label in ("read weights", "write weights"):
        shown = vector(label, sections[2])
        assert len(shown) == 16 and sum(shown) == pytest.approx(1, abs=0.01)


def test_four_heads_and_three_controllers_run(sections):
    assert "4 heads: read weights (3, 4, 128)" in sections[3]
    for kind, kept in (("lstm", "[[100], [100]]"), ("feedforward", "[]"), ("attention", "")):
        assert re.search(rf"{kind} +outputs \(3, 2, 8\), keeps {re.escape(kept)}", sections[3])


def test_addressing_by_hand_finds_a_slot_moves_on_and_writes_there(sections):
    assert vector("the key (0, 2):", sections[4])[1] > 0.99
    assert vector("gamma 5:", sections[4])[2] > 0.99
    for label in ("slot 2:", "read back:"):
        assert vector(label, sections[4]) == pytest.approx([0.3, 0.7], abs=0.01)


def test_the_loss_falls(sections):
    losses = [float(loss) for loss in re.findall(r"mean loss (\d\.\d+)", sections[5])]
    assert len(losses) == 4
    assert 0.4 < losses[0] < 0.7 and losses[-1] < 0.5 * losses[0]


def test_the_trained_model_copies_without_a_wrong_bit(sections):
    pairs = re.findall(r"in ([01]{8})   out ([01]{8})", sections[6])
    assert len(pairs) == 8 and len({seen for seen, _ in pairs}) > 4
    assert all(seen == answer for seen, answer in pairs)
    assert "wrong bits: 0 of 64" in sections[6]


def test_the_bundle_answers_in_onnx_runtime_as_in_torch(sections):
    assert "bundle: manifest.json, " in sections[7] and "step.onnx" in sections[7]
    assert number(r"largest difference (\S+)", sections[7]) < 1e-5


def test_a_served_session_is_explained_and_drawn(sections):
    assert "has consumed 13 rows" in sections[8]
    read = re.findall(r"step +(\d+)  read +on slot +(\d+) \((\S+)\) by \w+, age (\d+)", sections[8])
    assert len({slot for step, slot, _, _ in read if int(step) > 7}) == 6, "each row of the answer"
    assert "bits copied right: 100%" in sections[8]
    assert number(r"drawn: session.png, (\d+) bytes", sections[8]) > 10_000


def test_without_onnx_runtime_export_says_so_and_the_rest_is_untouched():
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from model.example_usage import export_and_step\n"
        "export_and_step()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "skipped: onnxruntime not installed; extras `train` and `cpu` bring them\n"
    )
