"""The notebook runs from its first cell to its last, and shows what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "model" / "walkthrough.ipynb"
RUN_S = 240


@pytest.fixture(scope="module")
def book() -> Any:
    return pytest.importorskip("nbformat", reason="no nbformat").read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def run(book: Any, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each code cell printed and showed, after a run in a kernel of its own."""
    nbclient = pytest.importorskip("nbclient", reason="no nbclient")
    pytest.importorskip("ipykernel", reason="no ipykernel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patch.setenv("OMP_NUM_THREADS", "1")
        resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
        waits = {"timeout": RUN_S, "startup_timeout": RUN_S}  # on a busy machine
        done = nbclient.NotebookClient(book, resources=resources, **waits).execute()
    return [said(cell) for cell in done.cells if cell.cell_type == "code"]


def said(cell: Any) -> str:
    parts = [one.get("text", "") for one in cell.outputs]
    kinds = [kind for one in cell.outputs for kind in one.get("data", {}) if "image" in kind]
    return "".join([*parts, *kinds])


def test_it_is_kept_without_outputs(book: Any):
    for cell in book.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


def test_it_trains(run: list[str]):
    first, last = (float(loss) for loss in re.findall(r"20 (?:steps )?(\d\.\d+)", run[2]))
    assert last < 0.5 * first
    assert all("image/png" in run[cell] for cell in (2, 3, 4, 7))


def test_it_exports_and_steps_a_session_that_answers_as_trained(run: list[str]):
    assert "step_traced.onnx" in run[5] and re.search(r"write_weights +write_weights", run[5])
    assert "'step': 17, 'revision': 18" in run[6]
    assert "forked at step 4; the session itself has not moved: True" in run[6]
    assert re.search(r"step 17  read +on slot +\d+ \(\S+\) by \w+, age 8", run[6])
    assert "bits copied right: 100%" in run[7] and "slots:" in run[8]
