import json
import shutil
from pathlib import Path

import pytest

from model.plot import main
from model.training import main as train

TINY = (
    "--batch 3 --compile off --steps 4 --log-every 2 --eval-sequences 8 --controller-size 6 "
    "--test-sequences 2 --test-within 0"
).split()
MEMORY = "--memory-size 16 --memory-width 5".split()


def test_the_command_draws_and_measures_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [tmp_path / "one", tmp_path / "two"]
    assert train(["copy", *TINY, *MEMORY, "--out", str(runs[0])]) == 0
    shutil.copytree(runs[0], runs[1])
    card = json.loads((runs[1] / "card.json").read_text())
    card["training"]["start"] = "model/zoo/reverse"
    (runs[1] / "card.json").write_text(json.dumps(card))
    out = tmp_path / "figures"
    options = ["--out", str(out), "--lengths", "2,3", "--length", "4", "--sequences", "5"]
    assert main([*map(str, runs), *options]) == 0
    found = json.loads((out / "analysis.json").read_text())
    assert set(found["generalisation"]) == {"2", "3"}
    assert found["utilisation"]["slots"] == 16 and len(found["memory_change"]) == 9
    assert len(found["content"]) == 5 and found["learning"]["runs"] == 2
    assert found["learning"]["transfer"]["two"]["start"] == "model/zoo/reverse"
    assert [cost["slots"] for cost in found["scaling"]] == [16, 32, 64, 128, 256, 512, 1024]
    told = (out / "algorithm.md").read_text()
    assert told in capsys.readouterr().out
    names = "episode generalisation learning seeds access noise memory_change scaling".split()
    drawn = {path.name for path in out.iterdir()}
    assert {f"{name}.{kind}" for name in names for kind in ("png", "svg")} <= drawn


def test_a_network_without_memory_is_drawn_as_far_as_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "lstm", tmp_path / "figures"
    assert train(["copy", *TINY, "--family", "lstm", "--out", str(run)]) == 0
    assert main([str(run), "--out", str(out), "--lengths", "2", "--sequences", "3"]) == 0
    assert "A lstm has no memory" in capsys.readouterr().out
    assert "access" not in json.loads((out / "analysis.json").read_text())
    assert (out / "episode.svg").exists() and not (out / "noise.svg").exists()


def test_a_dnc_is_drawn_by_its_own_ways_of_addressing(tmp_path: Path) -> None:
    run, out = tmp_path / "dnc", tmp_path / "figures"
    options = [*TINY, *MEMORY, "--family", "dnc", "--read-heads", "2", "--out", str(run)]
    assert train(["copy", *options]) == 0
    assert main([str(run), "--out", str(out), "--lengths", "2", "--sequences", "3"]) == 0
    found = json.loads((out / "analysis.json").read_text())
    read, write = found["access"]["read"]["seeing"], found["access"]["write"]["answering"]
    for part, ways in (
        (read, ("backward", "content", "forward")),
        (write, ("allocation", "content", "nothing")),
    ):
        assert sum(part[way] for way in ways) == pytest.approx(1, abs=1e-5)
    told = [rule["rule"] for rule in found["algorithm"]]
    assert "read head 1 of 2 goes on in the order of writing while it answers" in told
    assert "the write head takes a free slot for each row seen" in told
    assert not any("leaps" in rule for rule in told)
    assert (out / "access.svg").exists() and (out / "scaling.svg").exists()


def test_a_folder_that_is_no_entry_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 1
    assert "ntm plot: " in capsys.readouterr().err and not (tmp_path / "figures").exists()
