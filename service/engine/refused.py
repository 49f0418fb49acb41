"""Answers that several places of the engine give when they say no."""

from __future__ import annotations

from service.errors import KeyReused, NtmError, RevisionMismatch, SessionExpired, SessionNotFound


def key_reused(key: str | None) -> KeyReused:
    """A key that came before with another request."""
    return KeyReused(f"Idempotency-Key {key!r} came before with another request")


def gone(name: str, reason: str | None) -> NtmError:
    """A session that is not there, or has outlived its TTL."""
    if reason == "expired":
        return SessionExpired(f"session {name!r} outlived its idle TTL and has ended")
    return SessionNotFound(f"no session {name!r}")


def mismatch(want: str, etag: str, step: int, revision: int) -> RevisionMismatch:
    """An If-Match that does not hold."""
    detail = f'If-Match expected "{want}", the session is at "{etag}"'
    return RevisionMismatch(detail, step=step, revision=revision)
