"""Frames of the engine's socket: a 4-byte little-endian length, then a msgpack array."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

LENGTH = struct.Struct("<I")
LENGTH_BYTES = LENGTH.size
MAX_FRAME_BYTES = 256 * 1024 * 1024

_ENCODER = msgspec.msgpack.Encoder()


class FrameReader(Generic[T]):
    """Cuts a stream of bytes into frames, each decoded as one `T`."""

    def __init__(self, kind: type[T], max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterable[T]:
        """The frames that `data` completes.

        Raises ValueError for one longer than allowed, msgspec.DecodeError for one that is no `T`,
        also where the frames are gone through.
        """
        length = len(data) - LENGTH_BYTES
        if not self._buffer and 0 <= length <= self._max_bytes:
            if LENGTH.unpack_from(data)[0] == length:  # as nearly always
                return (self._decoder.decode(data[LENGTH_BYTES:]),)
        return self._cut(data)

    def _cut(self, data: bytes) -> Iterator[T]:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= LENGTH_BYTES:
            (length,) = LENGTH.unpack_from(buffer)
            if length > self._max_bytes:
                raise ValueError(f"expected a frame of at most {self._max_bytes} bytes: {length}")
            end = LENGTH_BYTES + length
            if len(buffer) < end:
                return
            frame = bytes(memoryview(buffer)[LENGTH_BYTES:end])
            del buffer[:end]
            yield self._decoder.decode(frame)


def frame_of(messages: Sequence[T]) -> bytes:
    """One frame of all the messages."""
    body = _ENCODER.encode(messages)
    return len(body).to_bytes(LENGTH_BYTES, "little") + body


def frames_of(
    messages: Sequence[T], max_bytes: int = MAX_FRAME_BYTES
) -> tuple[list[bytes], list[T]]:
    """As few frames as the limit allows, and the messages that do not fit one by themselves.

    What cannot be written at all, such as a number past 64 bits, is left over as well: it must not
    take the messages of others with it.
    """
    try:
        frame = frame_of(messages)
    except (OverflowError, TypeError, ValueError):
        frame = None
    if frame is not None and len(frame) - LENGTH_BYTES <= max_bytes:
        return [frame], []
    if len(messages) == 1:
        return [], list(messages)
    half = len(messages) // 2
    first, first_left = frames_of(messages[:half], max_bytes)
    second, second_left = frames_of(messages[half:], max_bytes)
    return first + second, first_left + second_left
