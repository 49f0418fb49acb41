"""What a request's parameters say of a sequence, and the session that it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.sessions import ID_PATTERN
from service.errors import InvalidRequest
from service.v2.sequence import Sequence, guard_of, sequence_of, session_id, user_id

IDS = st.integers(1, 2**64 - 1) | st.text(st.characters(codec="utf-8"), min_size=1)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)


@pytest.mark.parametrize("none", [{}, {"sequence_id": 0}, {"sequence_id": ""}])
def test_no_id_is_no_sequence(none: dict[str, Any]):
    assert sequence_of(none | {"sequence_start": False, "sequence_end": False}) is None
    for flag in ("sequence_start", "sequence_end"):
        with pytest.raises(InvalidRequest, match="sequence_id"):
            sequence_of(none | {flag: True})


@pytest.mark.parametrize(
    "parameters",
    [
        {"sequence_id": -1},
        {"sequence_id": 2**64},
        {"sequence_id": 1.5},
        {"sequence_id": True},
        {"sequence_id": None},
        {"sequence_id": [7]},
        {"sequence_id": "x" * 1025},
        {"sequence_id": 7, "sequence_start": 1},
        {"sequence_id": 7, "sequence_end": "true"},
    ],
)
def test_a_parameter_of_another_kind_is_refused(parameters: dict[str, Any]):
    with pytest.raises(InvalidRequest):
        sequence_of(parameters)


def test_ids_go_to_their_ends():
    for number in (1, 2**64 - 1, "0", "x" * 1024):
        assert sequence_of({"sequence_id": number, "sequence_end": True}) == Sequence(
            number, False, True
        )


@given(NAMES, IDS)
def test_a_session_id_is_one_that_no_user_may_give(model: str, number: int | str):
    name = session_id(model, number)
    assert ID_PATTERN.fullmatch(name) and name.startswith("v2~")
    assert name == session_id(model, number)


@given(st.tuples(NAMES, IDS), st.tuples(NAMES, IDS))
def test_two_keys_have_two_sessions(one: tuple[str, int | str], other: tuple[str, int | str]):
    assert (session_id(*one) == session_id(*other)) == (one == other)


@given(NAMES, st.integers(1, 2**64 - 1))
def test_an_integer_and_its_string_have_two_sessions(model: str, number: int):
    assert session_id(model, number) != session_id(model, str(number))


def test_ids_that_fit_are_read_in_the_sessions():
    assert session_id("copy", 7) == "v2~copy~int~7"
    assert session_id("copy", "7") == "v2~copy~string~7"
    assert session_id("copy", 2**64 - 1) == "v2~copy~int~18446744073709551615"
    for odd in ("two words", "ä", "x" * 60, "a/b"):
        assert session_id("copy", odd).count("~") == 1


def test_only_a_string_that_is_an_id_may_mean_a_users_session():
    assert user_id("mine") == "mine"
    for other in (7, "two words", "v2~copy~int~7", ""):
        assert user_id(other) is None


def test_a_request_id_is_the_key_in_whatever_characters():
    sequence = Sequence(7, True, False)
    assert guard_of("", "s", sequence, b"rows").key is None
    assert guard_of("r1", "s", sequence, b"rows").key == "r1"
    odd = guard_of("two words ä", "s", sequence, b"rows")
    assert odd.key and odd.key.isascii() and " " not in odd.key
    assert odd.key != guard_of("two words ö", "s", sequence, b"rows").key
    assert len(guard_of("x" * 10_000, "s", sequence, b"rows").key or "") < 255


def test_a_repeat_is_told_from_other_rows_and_flags():
    one = guard_of("r1", "s", Sequence(7, True, False), b"rows")
    assert one == guard_of("r1", "s", Sequence(7, True, False), b"rows")
    for other in (
        guard_of("r1", "s", Sequence(7, False, False), b"rows"),
        guard_of("r1", "s", Sequence(7, True, True), b"rows"),
        guard_of("r1", "t", Sequence(7, True, False), b"rows"),
        guard_of("r1", "s", Sequence(7, True, False), b"others"),
    ):
        assert other.fingerprint != one.fingerprint
