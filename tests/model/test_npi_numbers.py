import pytest

from model.npi_interpreter import trace
from model.npi_layout import LAYOUTS, Decision
from model.npi_numbers import (
    call_tree,
    digits_of,
    number_on,
    pad_of,
    ticks,
    typed_columns,
    typed_list,
    typed_rows,
)
from model.tasks.programs import PROGRAMS

ADDITION, SORTING = LAYOUTS["addition"], LAYOUTS["sorting"]


def test_digits_are_read_and_numbers_are_put_together_again() -> None:
    assert digits_of(0) == [0] and digits_of(307) == [3, 0, 7]
    assert number_on([-1, -1, 3, 0, 7]) == 307 and number_on([-1, -1]) is None
    with pytest.raises(ValueError, match="at least 0, got -1"):
        digits_of(-1)


def test_columns_are_typed_first_digits_first_with_blanks_before_the_shorter_number() -> None:
    assert typed_columns([[1, 2, 3], [9]]) == [(1, -1), (2, -1), (3, 9)]
    assert typed_list([4, 5]) == [(5,), (4,)]


def test_a_pad_is_the_same_given_whole_or_typed() -> None:
    _, added = trace(PROGRAMS["addition"], ADDITION, 5, typed_columns([[1, 2, 3], [9]]))
    pad = pad_of(ADDITION, 5, [[1, 2, 3], [9]])
    assert pad[:2] == added.pad[:2] == [[-1, -1, 1, 2, 3], [-1, -1, -1, -1, 9]]
    assert pad_of(SORTING, 4, [[3, 1]]) == [[3, 1, -1, -1]]
    with pytest.raises(ValueError, match="at most 4 numbers of 5 digits, got 1, the longest of 6"):
        pad_of(ADDITION, 5, [[1] * 6])


def test_rows_say_what_the_layout_says_they_do() -> None:
    (row,) = typed_rows(ADDITION, [(3, -1)])
    form = ADDITION.form["input"]
    assert len(row) == ADDITION.input_size and row[form["typed"]] == 1
    assert row[slice(*form["values"])] == [3, -1] and not any(row[slice(*form["decision"])])
    assert ticks(ADDITION, 2) == [[0.0] * ADDITION.input_size] * 2


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_decision_is_read_back_from_its_flags(layout) -> None:
    sizes = layout.widths[1:]
    decisions = [Decision(-1)]
    for place, size in enumerate(sizes):
        decisions += [Decision(*(n if k == place else 0 for k in range(4))) for n in range(size)]
    for decision in decisions:
        row = [0.0] * layout.output_size
        for place in layout.flags(decision):
            row[place] = 1.0
        assert layout.decide(row) == decision


def test_a_call_tree_is_set_in_by_depth_and_leaves_out_what_decided_nothing() -> None:
    told, _ = trace(PROGRAMS["addition"], ADDITION, 3, [(3, 4)])
    outputs = [[0.0] * ADDITION.output_size]
    for decision in told:
        row = [0.0] * ADDITION.output_size
        for place in ADDITION.flags(decision):
            row[place] = 1.0
        outputs.append(row)
    assert call_tree(ADDITION, outputs) == [
        "ADD",
        "  ADD1",
        "    ACT write out 7",
        "  LSHIFT",
        "    ACT left first",
        "    ACT left second",
        "    ACT left carry",
        "    ACT left out",
    ]
