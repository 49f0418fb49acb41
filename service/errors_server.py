"""The errors that are answered with 5xx: the server could not, or not now."""

from __future__ import annotations

from service.errors_base import NtmError


class Internal(NtmError):
    """A defect of the server."""

    status, code, title = 500, "internal", "The server failed"


class StateDamaged(NtmError):
    """What is stored of the session does not match its checksum."""

    status, code, title = 500, "state_damaged", "The stored session is damaged"


class Unavailable(NtmError):
    """Not now; trying again is right."""

    status, retry_after_s = 503, 1


class EngineUnavailable(Unavailable):
    """The engine process is starting or away. The request was not run."""

    code, title = "engine_unavailable", "The engine is not available"


class NotReady(Unavailable):
    """Models are still being loaded or warmed."""

    code, title = "not_ready", "The server is not ready"


class ModelNotLoaded(Unavailable):
    """The session's own model, version and bundle are not loaded."""

    code, title = "model_not_loaded", "The session's model is not loaded"


class Draining(Unavailable):
    """The server is stopping."""

    code, title = "draining", "The server is stopping"


class StoreAway(Unavailable):
    """The store cannot be reached. Nothing was changed."""

    code, title = "store_away", "The store cannot be reached"


class StoreRolledBack(Unavailable):
    """The store came back without something that was acknowledged."""

    code, title = "store_rolled_back", "The store is behind what was acknowledged"


class CommitUnknown(Unavailable):
    """Nobody knows whether the request was committed: send it again with the same key."""

    code, title = "commit_unknown", "It is not known whether the request took effect"


class DeadlineExceeded(NtmError):
    """NTM_REQUEST_TIMEOUT_S went by. Nothing was changed."""

    status, code, title = 504, "deadline_exceeded", "The request took too long"
