"""KServe's and MLServer's own clients, each in an environment of its own: what the two need does
not go together, and is more than everything else here."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.serving import Server

HERE = Path(__file__).resolve().parent / "clients"
BUILT = HERE.parents[3] / "build" / "clients"
BUILD_S, RUN_S = 1800, 120

pytestmark = pytest.mark.clients


def environment(name: str) -> Path:
    """The programs of an environment with this client, built where it is not there yet."""
    folder, wanted = BUILT / name, (HERE / f"{name}.txt").read_text()
    folder.mkdir(parents=True, exist_ok=True)
    with open(BUILT / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / "built"
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
            subprocess.run([*pip, "-r", HERE / f"{name}.txt"], check=True, timeout=BUILD_S)
            stamp.write_text(wanted)
    return folder / "bin"


def test_kserves_client_finds_the_server_and_runs_sequences(server: Server, tmp_path: Path):
    python = environment("kserve") / "python"
    done = subprocess.run(
        [python, HERE / "with_kserve.py", server.url],
        cwd=tmp_path, capture_output=True, text=True, timeout=RUN_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["live"], found["ready"], found["model"]) == (True, True, True)
    assert found["totals"] == {"json": [4, 10, 19], "binary": [4, 10, 19]}
    assert found["refused"].startswith("sequence_not_started: sequence 'kserve-unknown'")


@pytest.mark.parametrize("options", [["-s", "1"], ["-s", "3"], ["-s", "3", "-b"]])
def test_mlservers_client_runs_a_file_of_requests(
    server: Server, tmp_path: Path, options: list[str]
):
    lines = [
        json.dumps(
            {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}]}
        )
        for value in range(6)
    ]
    (tmp_path / "in").write_text("\n".join(lines) + "\n")
    where = ["-u", server.url.removeprefix("http://"), "-m", "accumulator"]
    files = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-w", "2"]
    done = subprocess.run(
        [environment("mlserver") / "mlserver", "infer", *where, *files, *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=RUN_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    got = {answer["parameters"]["batch_index"]: answer["outputs"][0]["data"] for answer in answers}
    assert got == {index: [index] for index in range(6)}, done.stderr
