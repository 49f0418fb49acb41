"""What goes over a session's WebSocket: frames of rows in, a frame back for each, in order.

A text frame is JSON, a binary frame MessagePack, and is answered in kind.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from service import rows, wire
from service.errors import NtmError
from service.schemas import MAX_INTEGER, OutRows, Rows, TensorView


class RowsFrame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows for the session, one or many. at: the rows that it has consumed before them."""

    at: Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
    inputs: Rows
    trace: bool = False


class DoneFrame(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a frame of rows: as to POST .../steps, and which frame it is to.

    replayed: some of the rows were consumed before; these are the outputs that they got then.
    """

    at: int
    outputs: OutRows
    step: int
    revision: int
    trace: list[TensorView] | None = None
    replayed: bool = False


class Asked(NamedTuple):
    """A frame that came, or what is wrong with it."""

    form: wire.Form
    at: int | None = None
    packed: bytes = b""
    dims: tuple[int, int] = (1, 0)
    trace: bool = False
    error: NtmError | None = None


READER = wire.Reader(RowsFrame)


def read(text: str | None, data: bytes | None, max_rows: int) -> Asked:
    """The frame of a message."""
    form = wire.MSGPACK if text is None else wire.JSON
    at = None
    try:
        frame = READER.decode(form, data or b"" if text is None else text.encode())
        at = frame.at
        packed, dims = rows.pack(frame.inputs, max_rows)
    except NtmError as error:
        return Asked(form, at, error=error)
    return Asked(form, at, packed, dims, frame.trace)


def problem(asked: Asked, error: NtmError, request_id: str) -> str | bytes:
    """An error as a frame: problem details, with the frame that met it."""
    members = msgspec.json.decode(error.to_body(request_id)) | {"at": asked.at}
    return written(asked.form, members)


def written(form: wire.Form, value: object) -> str | bytes:
    """A value as the text or the bytes of a frame."""
    encoded = form.encode(value)
    return encoded.decode() if form is wire.JSON else encoded
