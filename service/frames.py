"""Frames of the engine's socket: a 4-byte little-endian length, then a msgpack array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 256 * 1024 * 1024

_ENCODER = msgspec.msgpack.Encoder()


class FrameReader(Generic[T]):
    """Cuts a stream of bytes into frames, each decoded as one `T`."""

    def __init__(self, kind: type[T], max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[T]:
        """The frames that `data` completes.

        Raises ValueError for one longer than allowed, msgspec.DecodeError for one that is no `T`.
        """
        buffer = self._buffer
        length = int.from_bytes(data[:LENGTH_BYTES], "little")
        whole = len(data) == LENGTH_BYTES + length <= LENGTH_BYTES + self._max_bytes
        if whole and not buffer:  # as nearly always
            yield self._decoder.decode(memoryview(data)[LENGTH_BYTES:])
            return
        buffer += data
        while len(buffer) >= LENGTH_BYTES:
            length = int.from_bytes(buffer[:LENGTH_BYTES], "little")
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
