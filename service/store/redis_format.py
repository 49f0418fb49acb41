"""How Redis holds a session: the names of its keys, and what stands in them, with checksums."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple, TypeVar
from urllib.parse import quote
from zlib import crc32

import msgspec
from msgspec.structs import replace

from service.store.store import Checkpoint, Record, SessionKey, SessionRow
from service.store.timeline import Mark

PARTS = ("session", "log", "kept", "keys", "points", "states", "gone")
NO_STATE = "-"  # the digest of a checkpoint that stands for the bundle's initial state
ENCODER = msgspec.msgpack.Encoder()
T = TypeVar("T")


class Unreadable(Exception):
    """What is stored does not match its checksum, or is not there."""


class Meta(msgspec.Struct, frozen=True):
    """A checkpoint apart from its state, which is stored under its digest."""

    checkpoint: Checkpoint
    digest: str
    spec: str  # fingerprint of the bundle it was made on


class Line(msgspec.Struct, frozen=True):
    """A record as it is stored."""

    record: Record
    spec: str


class Point(NamedTuple):
    """A checkpoint as it stands in the list of them. mark: what `timeline` wants to know."""

    mark: Mark
    digest: str
    meta: bytes


_ROWS = msgspec.msgpack.Decoder(SessionRow)
_METAS = msgspec.msgpack.Decoder(Meta)
_LINES = msgspec.msgpack.Decoder(Line)


def keys_of(key: SessionKey) -> list[str]:
    """The keys of a session, in the order of PARTS. What is in braces puts all into one slot."""
    tag = f"ntm:{{{quote(key.tenant, safe='')}/{quote(key.id, safe='')}}}:"
    return [tag + part for part in PARTS]


def sealed(value: msgspec.Struct) -> bytes:
    """A value's bytes behind their checksum."""
    body = ENCODER.encode(value)
    return crc32(body).to_bytes(4, "little") + body


def row_of(data: bytes) -> SessionRow:
    """The row of its sealed bytes. Raises Unreadable."""
    return _unsealed(_ROWS, data, "the row")


def record_of(data: bytes, spec: str | None = None) -> Record:
    """The record of its sealed bytes. Raises Unreadable, also for one of another bundle."""
    line = _unsealed(_LINES, data, "a record")
    if spec is not None and line.spec != spec:
        raise Unreadable(f"the record of revision {line.record.revision} is of another bundle")
    return line.record


def digest_of(state: bytes | None) -> str:
    """What a state is stored under; it is its checksum as well."""
    return NO_STATE if state is None else blake2b(state, digest_size=16).hexdigest()


def point_of(text: bytes) -> Point:
    """A line of the list of checkpoints. Raises Unreadable."""
    try:
        revision, _, step, flag, digest, _, meta = text.split(b" ", 6)
        checkpoint = checkpoint_of(meta)
        # The script goes by what stands in front, so that must be true as well.
        if (int(revision), int(step)) != (checkpoint.revision, checkpoint.step):
            raise ValueError
        if (flag == b"s") != (checkpoint.name is not None):
            raise ValueError
    except ValueError:
        raise Unreadable("a checkpoint's line cannot be read") from None
    mark = Mark(checkpoint.revision, checkpoint.step, name=checkpoint.name)
    return Point(mark, digest.decode(), meta)


def checkpoint_of(meta: bytes) -> Checkpoint:
    """The checkpoint, without its state, of its sealed bytes. Raises Unreadable."""
    return _unsealed(_METAS, meta, "a checkpoint").checkpoint


def with_state(point: Point, state: bytes | None, spec: str | None = None) -> Checkpoint:
    """The whole checkpoint. Raises Unreadable, also for one of another bundle."""
    meta = _unsealed(_METAS, point.meta, "a checkpoint")
    what = f"the checkpoint of revision {meta.checkpoint.revision}"
    if spec is not None and meta.spec != spec:
        raise Unreadable(f"{what} is of another bundle")
    if meta.digest != point.digest or digest_of(state) != meta.digest:
        raise Unreadable(f"{what} does not match its checksum")
    return replace(meta.checkpoint, state=state)


def _unsealed(decoder: msgspec.msgpack.Decoder[T], data: bytes, what: str) -> T:
    body = memoryview(data)[4:]
    if not data:
        raise Unreadable(f"{what} is missing")
    if crc32(body).to_bytes(4, "little") != data[:4]:
        raise Unreadable(f"{what} does not match its checksum")
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise Unreadable(f"{what} cannot be read: {error}") from None
