import argparse

import pytest

from model.sizes import parse_changes, require_positive


def test_changes_are_read_by_name_as_json() -> None:
    assert parse_changes("columns=512,depth=8") == {"columns": 512, "depth": 8}
    assert parse_changes('discrete=true,controller="lstm"') == {
        "discrete": True,
        "controller": "lstm",
    }


@pytest.mark.parametrize("text", ["", "columns", "columns=", "columns=x", "a=1=2"])
def test_what_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(
        argparse.ArgumentTypeError, match="expected names and JSON like columns=512"
    ):
        parse_changes(text)


@pytest.mark.parametrize("size", [0, -1, True, 2.0, "3"])
def test_a_size_that_is_no_positive_integer_is_refused_by_name(size: object) -> None:
    with pytest.raises(ValueError, match="columns must be an integer of at least 1"):
        require_positive(columns=size)  # pyright: ignore[reportArgumentType]
