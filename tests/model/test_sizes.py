import argparse

import pytest

from model.sizes import parse_sizes, require_positive


def test_sizes_are_read_by_name() -> None:
    assert parse_sizes("columns=512,depth=8") == {"columns": 512, "depth": 8}


@pytest.mark.parametrize("text", ["", "columns", "columns=", "columns=x", "a=1=2", "columns=1.5"])
def test_what_is_no_sizes_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected sizes like columns=512,depth=8"):
        parse_sizes(text)


@pytest.mark.parametrize("size", [0, -1, True, 2.0, "3"])
def test_a_size_that_is_no_positive_integer_is_refused_by_name(size: object) -> None:
    with pytest.raises(ValueError, match="columns must be an integer of at least 1"):
        require_positive(columns=size)  # pyright: ignore[reportArgumentType]
