"""A change as the committing script takes it, and its answer as an outcome."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from msgspec.structs import replace
from redis.exceptions import ResponseError

from service.store.redis_format import (
    Line,
    Meta,
    Unreadable,
    digest_of,
    keys_of,
    record_of,
    row_of,
    sealed,
)
from service.store.redis_index import tag_of
from service.store.redis_server import Command
from service.store.store import (
    Change,
    Checkpoint,
    Committed,
    Damaged,
    Gone,
    Outcome,
    Record,
    Replayed,
    Retention,
    Stale,
)

Args = tuple[bytes | str | int, ...]


def command_of(script: str, change: Change, born: str, retention: Retention) -> Command:
    """The call of the script, by its hash. born: of the entry of a session to be created."""
    row, keys = change.row, keys_of(change.row.key)
    checkpoint = change.checkpoint
    if checkpoint is None and change.expected is None:
        checkpoint = Checkpoint(row.revision, row.step, None)
    args: Args = (
        *(change.expected or ("", 0)),
        change.ended or "",
        round(retention.tombstone_s * 1000),
        row.incarnation,
        row.revision,
        sealed(row),
        tag_of(row.model, row.version),
        born,
        *_record_args(change.record, row.fingerprint),
        *_checkpoint_args(checkpoint, row.fingerprint),
        retention.history_rows,
        retention.replies,
        retention.checkpoint_spacing,
    )
    return Command(keys[0], ("EVALSHA", script, len(keys), *keys, *args))


def outcome_of(answer: Any) -> Outcome:
    """What the script answered. An error of it is about this session alone."""
    if isinstance(answer, ResponseError):
        return Damaged(f"Redis: {answer}")
    try:
        match answer[0]:
            case 0:
                return Committed()
            case 1:
                return Replayed(record_of(answer[1]))
            case 2:
                return Stale(row_of(answer[1]))
            case _:
                return gone_of(answer[1])
    except Unreadable as error:
        return Damaged(str(error))


def gone_of(reason: bytes | None) -> Gone:
    """Of a tombstone, or of none."""
    return Gone(None if reason is None else reason.decode())


def _record_args(record: Record | None, spec: str) -> Args:
    if record is None:
        return ("", 0, 0, "")
    key = "" if record.key is None else f"={record.key}"
    line = sealed(Line(record, spec))
    return (line, record.revision, record.count, key)


def _checkpoint_args(checkpoint: Checkpoint | None, spec: str) -> Args:
    if checkpoint is None:
        return ("", 0, 0, "", "", "")
    digest = digest_of(checkpoint.state)
    name = "" if checkpoint.name is None else f"={quote(checkpoint.name, safe='')}"
    meta = sealed(Meta(replace(checkpoint, state=None), digest, spec))
    return (digest, checkpoint.revision, checkpoint.step, name, meta, checkpoint.state or b"")
