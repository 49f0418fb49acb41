"""Every family's memory on the screen: rendered to text without colours."""

import io

import numpy as np
import pytest
from rich.console import Console

from service.client import NamedTensor, SessionInfo, Stepped
from service.terminal import memory_view, tables
from service.terminal.output import Output, json_of

RNG = np.random.default_rng(1)


def shown(parts, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    output = Output(False, console)
    output.show(None, lambda: parts(output))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().splitlines()


def tensor(name: str, role: str, *dims: int) -> NamedTensor:
    return NamedTensor(name, role, RNG.uniform(0, 1, dims).astype(np.float32))


def focused(name: str, role: str, heads: int, slots: int, at: int) -> NamedTensor:
    array = np.zeros((heads, slots), np.float32)
    array[:, at] = 0.75
    return NamedTensor(name, role, array)


TITLE = ("abc", "dnc 1", 7, 3)


def test_heads_stand_under_the_slots_they_look_at():
    tensors = [tensor("memory", "memory", 30, 4), focused("reads_at", "read_weights", 2, 30, 11)]
    lines = shown(lambda output: memory_view.of(TITLE, tensors, False, output))
    assert lines[0] == "abc  dnc 1  step 7  revision 3"
    bars = [line for line in lines if "█" in line]
    assert [line.split()[:2] for line in bars] == [["reads_at", "0"], ["reads_at", "1"]]
    assert " reads_at 0 0.75 at 11   reads_at 1 0.75 at 11" in lines[-1]
    assert all(line.index("█") == memory_view.MARGIN + 11 for line in bars)
    memory = [line for line in lines if line.startswith(" " * 9 + "0..29")]
    assert len(memory) == 1 and len(memory[0]) == memory_view.MARGIN + 30


def test_a_memory_wider_than_the_screen_is_shown_in_bands_of_one_width():
    tensors = [tensor("memory", "memory", 128, 6), focused("w", "write_weights", 1, 128, 100)]
    lines = shown(lambda output: memory_view.of(TITLE, tensors, False, output))
    labels = [line.split()[0] for line in lines if ".." in line[: memory_view.MARGIN]]
    assert labels == ["0..63", "64..127"]
    (bar,) = [line for line in lines if "█" in line]
    assert bar.index("█") == memory_view.MARGIN + 100 - 64


def test_an_enormous_memory_is_pooled_and_says_so():
    tensors = [
        tensor("memory", "memory", 20_000, 3),
        focused("w", "read_weights", 1, 20_000, 19_999),
    ]
    lines = shown(lambda output: memory_view.of(TITLE, tensors, False, output))
    assert any("20000 x 3, slots from left to right, 79 a column" in line for line in lines)
    assert len(lines) < 40 and all(len(line) <= 80 for line in lines)
    assert any("0.75 at 19999" in line for line in lines)


def test_other_families_tensors_are_told_by_their_role():
    tensors = [
        tensor("stack", "stack", 12, 5),
        tensor("link", "link", 9, 9),
        tensor("usage", "usage", 9),
        NamedTensor("counter", "counter", np.array(7)),
        NamedTensor("nothing", "controller", np.zeros((0, 3), np.float32)),
    ]
    lines = shown(lambda output: memory_view.of(TITLE, tensors, False, output))
    text = "\n".join(lines)
    assert "stack  stack, 12 x 5" in text and " usage  " in text
    assert [line.split()[0] for line in lines[-3:]] == ["link", "counter", "nothing"]
    named = shown(lambda output: memory_view.of(TITLE, tensors[1:2], True, output))
    assert sum("." * 2 in line for line in named) >= 1 and len(named) >= 12


def test_a_step_shows_its_rows_and_a_repeat_says_so():
    done = Stepped(np.float32([[0.0, 1.0, -0.5]] * 2), 11, 4, None, True)  # pyright: ignore[reportArgumentType]
    lines = shown(lambda output: tables.stepped(done, output))
    assert lines[:2] == ["10   @=   0.000  1.000 -0.500", "11   @=   0.000  1.000 -0.500"]
    assert lines[2] == "step 11  revision 4  a repeat: nothing was stepped again"


def test_no_sessions_are_no_table_and_brackets_no_markup():
    assert shown(lambda _: tables.sessions([])) == ["no sessions"]
    info = SessionInfo("[red]x", "m", "1", 0, 1, "i", 0, 0, 0, "store", 8)
    assert "[red]x" in shown(lambda _: tables.session(info))[0]
    assert any("[red]x" in line for line in shown(lambda _: tables.sessions([info])))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 s"),
        (41, "41 s"),
        (119, "119 s"),
        (180, "3 min"),
        (7200, "2 h"),
        (12 * 86_400, "12 d"),
    ],
)
def test_durations_are_in_the_unit_that_reads(seconds: float, said: str):
    assert tables.duration(seconds) == said


def test_a_number_that_json_has_not_is_null():
    said = {"a": np.array([1.5, np.nan], np.float32), "b": [tensor("t", "usage", 2)], "c": None}
    assert json_of(said).startswith('{"a":[1.5,null],"b":[{"name":"t","role":"usage","dims":[2],')
