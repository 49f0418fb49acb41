"""Answers that several places of the engine give when they say no."""

from __future__ import annotations

import re

from service.engine.sessions import Session
from service.errors import (
    KeyReused,
    NtmError,
    RevisionMismatch,
    SessionExpired,
    SessionNotFound,
    StoreRolledBack,
)
from service.requests import Guard
from service.store.store import SessionRow

REVISION = re.compile(r"[0-9]{1,18}")  # what a store and a frame can hold


def key_reused(key: str | None) -> KeyReused:
    """A key that came before with another request."""
    return KeyReused(f"Idempotency-Key {key!r} came before with another request")


def gone(name: str, reason: str | None) -> NtmError:
    """A session that is not there, or has outlived its TTL."""
    if reason == "expired":
        expected, got = "a session within its idle TTL", f"{name!r}, which outlived its own"
        return SessionExpired(f"expected {expected}, got {got}", expected=expected, got=name)
    expected = "the id of a live session"
    return SessionNotFound(f"expected {expected}, got {name!r}", expected=expected, got=name)


def mismatch(want: str, session: Session) -> NtmError:
    """An If-Match that does not hold. One of a later revision than the store has was told once:
    then the store came back without it."""
    incarnation, _, revision = want.rpartition("-")
    if incarnation == session.row.incarnation and REVISION.fullmatch(revision):
        if int(revision) > session.row.revision:
            return rolled_back(session.row, int(revision))
    detail = f'If-Match expected "{want}", the session is at "{session.etag}"'
    row = session.row
    return RevisionMismatch(
        detail, step=row.step, revision=row.revision, expected=want, got=session.etag
    )


def rolled_back(row: SessionRow, acknowledged: int) -> StoreRolledBack:
    """A session that the store has at an earlier revision than was acknowledged."""
    return StoreRolledBack(
        f"session {row.id!r}: revision {acknowledged} was acknowledged, the store has "
        f"{row.revision}",
        expected=acknowledged,
        got=row.revision,
    )


def hold(session: Session, guard: Guard) -> None:
    """Raises RevisionMismatch where If-Match does not hold."""
    if guard.if_match is not None and not session.holds(guard.if_match):
        raise mismatch(guard.if_match, session)
