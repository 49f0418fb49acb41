import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.frames import LENGTH_BYTES, FrameReader, frame_of, frames_of

MESSAGES = st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=4), max_size=5)


@given(messages=MESSAGES, size=st.integers(1, 50))
def test_frames_cut_anywhere_come_out_as_they_went_in(messages: list[list[bytes]], size: int):
    stream = b"".join(frame_of(frame) for frame in messages)
    reader = FrameReader(list[bytes])
    found: list[list[bytes]] = []
    for at in range(0, len(stream), size):
        found += reader.feed(stream[at : at + size])
    assert found == messages


def test_a_frame_is_a_little_endian_length_and_msgpack():
    frame = frame_of([1, "two"])
    assert frame == b"\x06\0\0\0" + msgspec.msgpack.encode([1, "two"])


def test_a_frame_longer_than_allowed_is_refused_before_it_has_arrived():
    reader = FrameReader(list[int], max_bytes=10)
    with pytest.raises(ValueError, match="at most 10 bytes: 11"):
        list(reader.feed((11).to_bytes(LENGTH_BYTES, "little")))


def test_a_frame_as_long_as_allowed_is_taken():
    reader = FrameReader(list[bytes], max_bytes=10)
    frame = frame_of([b"1234567"])
    assert len(frame) - LENGTH_BYTES == 10
    assert list(reader.feed(frame)) == [[b"1234567"]]


def test_messages_that_do_not_fit_one_frame_travel_in_several_in_order():
    messages = [bytes([at]) * 30 for at in range(7)]
    frames, left = frames_of(messages, 100)
    reader = FrameReader(list[bytes], max_bytes=100)
    sizes = [len(frame) - LENGTH_BYTES for frame in frames]
    assert len(frames) > 1 and max(sizes) <= 100
    assert [part for frame in frames for got in reader.feed(frame) for part in got] == messages
    assert left == []


def test_a_message_that_fits_no_frame_is_told_and_the_others_travel():
    frames, left = frames_of([b"a", b"b" * 200, b"c"], 100)
    reader = FrameReader(list[bytes])
    assert left == [b"b" * 200]
    assert [part for frame in frames for got in reader.feed(frame) for part in got] == [b"a", b"c"]


def test_messages_that_fill_a_frame_to_the_byte_share_it():
    messages = [b"a" * 20, b"b" * 20]
    size = len(msgspec.msgpack.encode(messages))
    assert len(frames_of(messages, size)[0]) == 1
    assert len(frames_of(messages, size - 1)[0]) == 2
