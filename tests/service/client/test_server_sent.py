import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client.errors import BadAnswer, Unavailable
from service.client.server_sent import Parser, event_of

TEXT = (
    "retry: 1500\nid: a-1\n\n"
    ": a comment\n\n"
    "id: a-2\nevent: stepped\ndata: {\"step\":1}\n\n"
    "event: forked\ndata: {\"note\":\"\u2028 \u00e9\"}\n\n"
    "id: a-3\nevent: reset\ndata: {\ndata: }\n\n"
    "id: a-4\nevent: half"
)  # fmt: skip
TOLD = [
    ("stepped", '{"step":1}', "a-2"),
    ("forked", '{"note":"\u2028 \u00e9"}', None),
    ("reset", "{\n}", "a-3"),
]


def fed(parser: Parser, data: bytes, at: list[int]) -> list[tuple[str, str, str | None]]:
    cuts = sorted({0, len(data), *(cut % (len(data) + 1) for cut in at)})
    pieces = [data[begin:end] for begin, end in zip(cuts, cuts[1:], strict=False)]
    return [event for piece in pieces for event in parser.feed(piece)]


@given(st.lists(st.integers(0, 400)), st.sampled_from(["\n", "\r\n", "\r"]))
def test_events_are_the_same_however_the_bytes_come_and_lines_end(at: list[int], end: str):
    parser = Parser(None)
    data = TEXT.replace("\n", end).encode()
    assert fed(parser, data, at) == TOLD
    assert (parser.last_id, parser.retry_s) == ("a-3", 1.5)


def test_what_was_half_read_is_forgotten_with_its_connection():
    parser = Parser(None)
    assert len(fed(parser, TEXT.encode(), [])) == 3
    parser.begin_anew()
    assert list(parser.feed(b"data: 1\n\n")) == [("message", "1", None)]
    assert parser.last_id == "a-3"


def test_an_events_numbers_are_arrays():
    weights = '[{"name":"r","role":"read_weights","dims":[1,2],"data":[0.25,0.75]}]'
    event = event_of(
        "stepped", f'{{"outputs":[[1,2],[3,4]],"weights":{weights},"usage":null}}', "a-1"
    )
    assert event.data["outputs"].shape == (2, 2) and event.data["outputs"].dtype == np.float32
    assert event.data["weights"]["r"].array.shape == (1, 2)
    assert event.data["usage"] is None


def test_the_event_that_says_failed_is_raised():
    with pytest.raises(Unavailable) as caught:
        event_of("failed", '{"status":503,"code":"store_away","detail":"gone"}', None)
    assert caught.value.code == "store_away"


@pytest.mark.parametrize("data", ["no json", "[1]"])
def test_an_event_of_another_make_is_a_bad_answer(data: str):
    with pytest.raises(BadAnswer):
        event_of("stepped", data, None)
