"""What every error is: a status, a stable code, a detail for people, and problem details.

The tree of them all is drawn in service/errors.py.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from service.messages import Failure

TYPE_PREFIX = "urn:problem-type:ntm:"
MAX_TOLD = 2000  # characters of a text; what a request brought may be megabytes


class Problem(msgspec.Struct, frozen=True):
    """An error as a client gets it (RFC 9457). Further members say what was expected and got."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class NtmError(Exception):
    """The root. `extra` becomes further members of the problem details, `headers` headers."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = ""
    title: ClassVar[str] = ""
    retry_after_s: ClassVar[int | None] = None

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = _short(detail)
        self.extra = {name: _short(value) for name, value in extra.items()}
        self.headers = dict(headers or {})
        if self.retry_after_s is not None:
            self.headers.setdefault("retry-after", str(self.retry_after_s))

    def to_failure(self) -> Failure:
        """The message that carries this error from the engine to a front."""
        return Failure(self.code, self.detail, self.extra)

    def to_body(self, request_id: str) -> bytes:
        """The problem details, as JSON."""
        problem = Problem(
            TYPE_PREFIX + self.code, self.title, self.status, self.detail, self.code, request_id
        )
        extra = {name: value for name, value in self.extra.items() if name not in _MEMBERS}
        return msgspec.json.encode(msgspec.structs.asdict(problem) | extra)


def _short(value: Any) -> Any:
    """A text that is longer than is told, cut off."""
    if isinstance(value, str) and len(value) > MAX_TOLD:
        return value[:MAX_TOLD] + "..."
    return value


_MEMBERS = frozenset(Problem.__struct_fields__)
