"""Sessions the engine holds: where each one's committed state is, and its latest replies."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING

from service.results import SessionInfo
from service.store.store import Record, SessionRow

if TYPE_CHECKING:
    from service.engine.host import Host
    from service.engine.job import Job

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")
RESERVED = "v2~"  # begins the ids of sequences' sessions, and of no others


class Session:
    """A session in the engine. Its committed state is in `slot`, else in `saved`.

    `pins` counts the jobs that hold it on the device; `unsaved` the rows since its checkpoint.
    """

    __slots__ = (
        "_waiting", "host", "inflight", "jobs", "kept", "pins", "replies", "row", "saved", "slot",
        "unsaved",
    )  # fmt: skip

    def __init__(self, row: SessionRow, host: Host, kept_replies: int = 16) -> None:
        self.row, self.host, self.kept = row, host, kept_replies
        self.slot: int | None = None
        self.saved: bytes | None = None
        self.pins = 0
        self.unsaved = 0
        self.replies: OrderedDict[str, Record] = OrderedDict()
        self.jobs: dict[Job, None] = {}  # in the order they came
        self.inflight: dict[str, Job] = {}  # those of them with an idempotency key
        self._waiting: list[asyncio.Future[None]] | None = None

    @property
    def etag(self) -> str:
        """The opaque validator of this revision of this incarnation."""
        return f"{self.row.incarnation}-{self.row.revision}"

    def holds(self, want: str | None) -> bool:
        """Does this If-Match hold? It names a revision, or the step of whatever revision."""
        row = self.row
        return want is None or want == self.etag or want == step_tag(row.incarnation, row.step)

    @property
    def tier(self) -> str:
        """Where the committed state is: "device" or "host". The initial state is everybody's."""
        return "device" if self.slot else "host"

    def remember(self, record: Record) -> None:
        """Keep a reply for repeats of its key: as many of them as the store keeps."""
        if record.key is not None:
            self.replies[record.key] = record
            while len(self.replies) > self.kept:
                self.replies.popitem(last=False)

    def next_end(self) -> asyncio.Future[None]:
        """Is done when one of its jobs has ended, or by `wake`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting = [*(self._waiting or ()), future]
        return future

    def wake(self) -> None:
        """Let those go on who wait for a job's end."""
        waiting, self._waiting = self._waiting, None
        for future in waiting or ():
            if not future.done():
                future.set_result(None)

    def info(self) -> SessionInfo:
        """The session as its owner sees it."""
        return describe(self.row, self.host.state_bytes, self.tier)


def describe(row: SessionRow, state_bytes: int, tier: str) -> SessionInfo:
    """A row as its owner sees it."""
    return SessionInfo(
        row.id,
        row.model,
        row.version,
        row.step,
        row.revision,
        row.incarnation,
        row.created_at,
        row.committed_at,
        row.expires_at,
        tier,
        state_bytes,
        row.forked_from,
    )


def draw_id(tenant: str, model: str, key: str | None) -> str:
    """A new session's id: random, or with an idempotency key always the same for that key."""
    if key is None:
        raw = secrets.token_bytes(15)
    else:
        raw = hashlib.blake2b("\0".join((tenant, model, key)).encode(), digest_size=15).digest()
    return base64.b32encode(raw).decode().lower()


def step_tag(incarnation: str, step: int) -> str:
    """What an If-Match says that holds wherever the session has consumed as many rows."""
    return f"{incarnation}@{step}"


def draw_incarnation() -> str:
    """What tells a session from an earlier one of the same id."""
    return secrets.token_hex(4)
