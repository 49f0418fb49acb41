import os
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from model.checkpoint import load_checkpoint, save_checkpoint, write_atomically


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    content = {"step": 3, "weights": {"a": torch.arange(5.0)}, "best": None, "rates": [0.5, 1.0]}
    save_checkpoint(tmp_path / "new" / "checkpoint.pt", content)
    found = load_checkpoint(tmp_path / "new" / "checkpoint.pt")
    assert found["weights"]["a"].equal(content["weights"]["a"])
    assert {**found, "weights": 0} == {**content, "weights": 0}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text("old")

    def fail(file: BinaryIO) -> None:
        file.write(b"half of the n")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_atomically(path, fail)
    assert [child.name for child in tmp_path.iterdir()] == ["card.json"]
    assert path.read_text() == "old"


class Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"step": Attack(tmp_path / "owned")}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="is not a training checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "owned").exists()


def test_a_cut_checkpoint_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.pt", {"weights": torch.zeros(1000)})
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is not a training checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")
