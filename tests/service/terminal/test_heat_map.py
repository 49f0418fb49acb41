import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.terminal import heat_map


def test_nothing_is_dark_and_the_two_signs_are_two_colours():
    zero, most, least = (heat_map.colour(value, 2.0) for value in (0.0, 2.0, -2.0))
    assert max(zero) < 40
    assert most[0] > most[2] and least[2] > least[0]
    assert heat_map.colour(9.0, 2.0) == most and heat_map.colour(-9.0, 2.0) == least
    assert heat_map.colour(0.0, 0.0) == zero
    assert heat_map.colour(float("nan"), 1.0) == heat_map.NO_NUMBER


def test_in_colour_two_rows_share_a_line():
    values = np.array([[1.0, -1.0], [0.0, 0.5], [0.25, 0.0]])
    lines = list(heat_map.matrix(values, 1.0, colours=True))
    assert [line.plain for line in lines] == ["▀▀", "▀▀"]
    first, last = lines[0].spans[0].style, lines[1].spans[0].style
    assert not isinstance(first, str) and first.color and first.bgcolor
    assert first.color.triplet == heat_map.colour(1.0, 1.0)
    assert first.bgcolor.triplet == heat_map.colour(0.0, 1.0)
    assert not isinstance(last, str) and last.bgcolor is None  # an odd row stands alone


def test_without_colour_a_row_is_a_line_of_shades():
    values = np.array([[0.0, 1.0, -1.0], [0.5, np.nan, 0.04]])
    lines = [line.plain for line in heat_map.matrix(values, 1.0, colours=False)]
    assert lines == [" @@", "=? "]


def test_bars_grow_and_what_is_there_at_all_is_seen():
    values = np.array([0.0, 0.03, 0.5, 1.0, np.nan, -1.0])
    assert heat_map.bars(values, 1.0, blocks=True) == " ▁▄█  "
    assert heat_map.bars(values, 1.0, blocks=False) == " .=@  "
    assert heat_map.bars(values[:2], 0.0, blocks=True) == "  "


def test_pooling_keeps_the_number_furthest_from_nothing_with_its_sign():
    values = np.array([[1.0, -3.0, 2.0, 0.0, 5.0], [0.0, 0.0, -1.0, 1.0, -2.0]])
    pooled, group = heat_map.pooled(values, 3)
    assert group == 2
    assert np.array_equal(pooled, [[-3, 2, 5], [0, -1, -2]])
    assert heat_map.pooled(values, 5)[0] is values


@given(st.integers(1, 40), st.integers(1, 40))
def test_pooled_is_never_wider_than_asked_and_loses_no_peak(width: int, columns: int):
    values = np.random.default_rng(width).uniform(-1, 1, (3, width))
    pooled, _ = heat_map.pooled(values, columns)
    assert pooled.shape[1] <= columns
    assert np.array_equal(np.abs(pooled).max(1), np.abs(values).max(1))


@pytest.mark.parametrize(
    ("values", "most"), [([1, -4, 2], 4), ([np.nan, 1], 1), ([np.inf], 0), ([], 0)]
)
def test_the_largest_is_finite(values: list[float], most: float):
    assert heat_map.largest(np.array(values, float)) == most


def test_the_legend_names_both_ends():
    assert heat_map.legend(1.25, True).plain.startswith("-1.25 █")
    assert heat_map.legend(1.25, True).plain.endswith("█ 1.25")
    assert heat_map.SHADES in heat_map.legend(1.25, False).plain
