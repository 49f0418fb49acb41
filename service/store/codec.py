"""Rows of the store's tables, each with a checksum over all its columns, and back.

A row is the tuple of its columns, the checksum the last of them. The same bytes in another place
do not pass, since the columns tell whose they are.
"""

from __future__ import annotations

import hashlib
import zlib
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from service.store.store import Checkpoint, Record, SessionRow

REVISIONS = 1 << 32  # a session's; a record's id is sid * REVISIONS + revision
PLAIN = 0  # in place of a name: a checkpoint that is no snapshot
SESSION_COLUMNS = (
    "sid, tenant, id, model, version, fingerprint, incarnation, revision, step, created_at, "
    "committed_at, idle_ttl_s, forked_from, sum"
)
RECORD_COLUMNS = "id, kind, step, count, at, key, fingerprint, rows, outputs, bundle, sum"
CHECKPOINT_COLUMNS = "sid, revision, name, step, at, key, fingerprint, state, bundle, sum"

_encode = msgspec.msgpack.Encoder().encode
Columns = tuple[Any, ...]


class DamagedError(Exception):
    """What is stored does not match its checksum."""


def summed(columns: Columns) -> Columns:
    """The columns and their checksum (CRC-32 of their encoding)."""
    return (*columns, zlib.crc32(_encode(columns)))


def checked(what: str, columns: Columns) -> Columns:
    """The columns without their checksum. Raises DamagedError where it does not match."""
    values = columns[:-1]
    if zlib.crc32(_encode(values)) != columns[-1]:
        raise DamagedError(f"{what} does not match its checksum")
    return values


def hash_of(state: bytes) -> bytes:
    """What a state is found by, and checked against."""
    return hashlib.blake2b(state, digest_size=20).digest()


@lru_cache(maxsize=256)
def bundle_of(fingerprint: str) -> int:
    """The bundle's fingerprint, short enough to be with each record and checkpoint."""
    return int.from_bytes(hashlib.blake2b(fingerprint.encode(), digest_size=6).digest())


def id_of(sid: int, revision: int) -> int:
    """Where a session's record of a revision is."""
    return sid * REVISIONS + revision


def session_columns(sid: int, row: SessionRow) -> Columns:
    """A session as `SESSION_COLUMNS`."""
    return summed(
        (
            sid,
            row.tenant,
            row.id,
            row.model,
            row.version,
            row.fingerprint,
            row.incarnation,
            row.revision,
            row.step,
            float(row.created_at),
            float(row.committed_at),
            float(row.idle_ttl_s),
            row.forked_from,
        )
    )


def session_of(columns: Columns) -> tuple[int, SessionRow]:
    """The sid and the row of `SESSION_COLUMNS`. Raises DamagedError."""
    sid, *values = checked("the session's row", columns)
    return sid, SessionRow(*values)


def record_columns(sid: int, record: Record, row: SessionRow) -> Columns:
    """A record as `RECORD_COLUMNS`. row: the session's after it."""
    return summed(
        (
            id_of(sid, record.revision),
            record.kind,
            record.step,
            record.count,
            float(row.committed_at),
            record.key,
            record.fingerprint,
            record.rows,
            record.outputs,
            bundle_of(row.fingerprint),
        )
    )


class Written(NamedTuple):
    """A record, when it was committed in Unix seconds, and on which bundle."""

    record: Record
    at: float
    bundle: int


class Kept(NamedTuple):
    """A checkpoint without its state, that one's hash, and on which bundle it was written."""

    checkpoint: Checkpoint
    state: bytes | None
    bundle: int


def record_of(columns: Columns) -> Written:
    """The record of `RECORD_COLUMNS`. Raises DamagedError."""
    revision = columns[0] % REVISIONS
    _, kind, step, count, at, key, fingerprint, rows, outputs, bundle = checked(
        f"the record of revision {revision}", columns
    )
    return Written(Record(kind, revision, step, rows, outputs, count, key, fingerprint), at, bundle)


def checkpoint_columns(
    sid: int, checkpoint: Checkpoint, state: bytes | None, row: SessionRow
) -> Columns:
    """A checkpoint as `CHECKPOINT_COLUMNS`. state: the hash of its state."""
    return summed(
        (
            sid,
            checkpoint.revision,
            PLAIN if checkpoint.name is None else checkpoint.name,
            checkpoint.step,
            float(checkpoint.created_at),
            checkpoint.key,
            checkpoint.fingerprint,
            state,
            bundle_of(row.fingerprint),
        )
    )


def checkpoint_of(columns: Columns) -> Kept:
    """The checkpoint of `CHECKPOINT_COLUMNS`. Raises DamagedError."""
    _, revision, name, step, at, key, fingerprint, state, bundle = checked(
        f"the checkpoint of revision {columns[1]}", columns
    )
    named = None if name == PLAIN else name
    return Kept(Checkpoint(revision, step, None, named, at, key, fingerprint), state, bundle)
