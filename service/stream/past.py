"""Rows that a session has consumed already: the outputs that they got then, bit for bit."""

from __future__ import annotations

import msgspec

from service.errors import PointNotKept, RowsDiffer
from service.link import EngineLink
from service.requests import History
from service.results import HistoryPage, HistoryRecord

PAGE = msgspec.msgpack.Decoder(HistoryPage)
RECORDS = 64  # read at a time
STILL = ("step", "migrate")  # what leaves the rows before it where they are


class Past:
    """The last rows of a session, read backwards from where it stands to step `at`."""

    def __init__(self, at: int, packed: bytes, width: int) -> None:
        self._at, self._packed, self._bytes = at, packed, 4 * width
        self._end = at + len(packed) // self._bytes
        self._parts: list[bytes] = []
        self.revision = 0  # after the last of the rows

    @property
    def outputs(self) -> bytes:
        """What the rows got, once `take` has found them all."""
        return b"".join(reversed(self._parts))

    def take(self, record: HistoryRecord) -> bool:
        """Look at an earlier record. Returns whether the rows were all found. Raises NtmError."""
        if record.kind not in STILL:
            raise PointNotKept(
                f"the rows from step {self._at} on: the session has been put elsewhere since "
                f"({record.kind} at revision {record.revision})"
            )
        begin = record.step - record.count
        first, last = max(begin, self._at), min(record.step, self._end)
        if first < last:
            self._compare(record, begin, first, last)
        return begin <= self._at

    def _compare(self, record: HistoryRecord, begin: int, first: int, last: int) -> None:
        told = len(record.outputs) // record.count
        rows = record.rows[(first - begin) * self._bytes : (last - begin) * self._bytes]
        ours = self._packed[(first - self._at) * self._bytes : (last - self._at) * self._bytes]
        if len(record.rows) != record.count * self._bytes or rows != ours:
            raise RowsDiffer(
                f"steps {first} to {last - 1}: the session consumed other rows than these"
            )
        self._parts.append(record.outputs[(first - begin) * told : (last - begin) * told])
        self.revision = self.revision or record.revision


async def find(
    link: EngineLink, tenant: str, session: str, past: Past, at: int, request_id: str
) -> None:
    """Fill `past` from the session's history. Raises RowsDiffer, and PointNotKept where the rows
    are not kept any more."""
    before = None
    while True:
        call = History(tenant, session, before, RECORDS)
        page = await link.call(PAGE, call, request_id=request_id)
        for record in page.records:
            if past.take(record):
                return
        if page.before is None:
            raise PointNotKept(f"the rows from step {at} on are not kept any more")
        before = page.before
