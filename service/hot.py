"""Steps below ASGI: from the parser of a connection to the engine, and back to its transport.

A router, middlewares and a task cost a front more than the step costs the model. So bounded_http.py
offers requests of hot_routes.py's routes here:

    bytes -> Hot.begin -> gate, names, rows, guards: what the handlers call -> EngineLink.submit
    bytes <- HotCycle.finish <- the handler's own answer, or problem details <- HotCycle.told

Errors, headers, metrics and access lines are those of Litestar's way, which all else takes: what
has a query, comes from a browser's page, is long, slow, or behind a request that is not answered.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any, Protocol

import msgspec
from litestar import Litestar
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service import access_log, problems
from service.access import ID_HEADER, SECURITY
from service.access_log import Served
from service.body import Head
from service.errors import ClientGone, NtmError
from service.front_state import FrontState
from service.hot_routes import ROUTES, Asked, Match, Route
from service.keys import Identity
from service.pending import Pending

KEY = "hot"  # in the app's state
METHOD = "POST"
ID_LINE = ID_HEADER + b": "
STATUS = {code: line.removesuffix(b"\r\n") for code, line in STATUS_LINE.items()}
COLON, END = b": ", b"\r\n"
SECURITY_LINES = END.join(map(COLON.join, SECURITY))
CLOSE = b"connection: close"
ODD = frozenset((b"origin", b"transfer-encoding", b"expect", b"upgrade"))

Headers = list[tuple[bytes, bytes]]


class Hit(msgspec.Struct, frozen=True):
    """A request whose head has come and is a hot route's."""

    route: Route
    path: Match
    head: Head
    request_id: bytes | None  # the client's: of several the first, as service/access.py has it


class Connection(Protocol):
    """What is needed of a connection."""

    transport: Any
    server_state: Any
    cycle: Any

    def on_response_complete(self) -> None:
        """An answer is out."""
        ...


class Hot:
    """The hot routes of one front."""

    def __init__(self, front: FrontState) -> None:
        self.front = front
        self._routes = () if front.tracer else ROUTES  # a span wants a task of its own

    def match(self, url: bytes, headers: Headers) -> Hit | None:
        """What is known of a POST with this target, where it is a plain one of a hot route."""
        for route in self._routes:
            if found := route.pattern.fullmatch(url):
                head = dict(headers)
                if not ODD.isdisjoint(head):
                    return None
                named = head.get(ID_HEADER) and dict(reversed(headers))[ID_HEADER]
                return Hit(route, found, head, named)
        return None

    def begin(self, connection: Connection, hit: Hit, body: bytes) -> bool:
        """Answer a request, now or later, as the connection's `cycle`. False where it is
        Litestar's after all."""
        cycle = HotCycle(self.front, connection, hit)
        try:
            asked = hit.route.ask(self.front, cycle.admit, hit.head, hit.path, body)
        except Exception as error:
            connection.cycle = cycle
            cycle.fail(error)
            return True
        if asked is None:
            return False
        connection.cycle = cycle
        cycle.send(asked)
        return True


def of(app: Any) -> Hot | None:
    """The hot routes of an app that service/app.py made."""
    return app.state.get(KEY) if isinstance(app, Litestar) else None


class HotCycle:
    """One request and its answer. uvicorn takes it for a cycle of its own, and so lets what comes
    behind it on the connection wait."""

    __slots__ = (
        "_asked", "_begun", "_connection", "_front", "_head", "_id", "_path", "_pending", "_route",
        "_scope", "disconnected", "keep_alive", "more_body", "response_complete",
        "response_started",
    )  # fmt: skip

    def __init__(self, front: FrontState, connection: Connection, hit: Hit) -> None:
        self._front, self._connection = front, connection
        self._route, self._path, self._head = hit.route, hit.path, hit.head
        self._asked: Asked | None = None
        self._pending: Pending | None = None
        self._begun = perf_counter()
        self.keep_alive = True
        self.disconnected = self.more_body = self.response_complete = self.response_started = False
        self._scope: dict[str, Any] | None = None
        given = hit.request_id
        self._id = front.ids.drawn() if given is None else front.ids.fit(given)

    @property
    def scope(self) -> dict[str, Any]:
        """What ASGI would have of it, as far as errors need it."""
        if self._scope is None:
            named = self._path.groupdict().items()
            self._scope = {
                "path": self._path[0].decode("ascii"),
                "path_params": {name: part.decode("ascii") for name, part in named},
                "state": {"request_id": self._id},
            }
        return self._scope

    def admit(self) -> Identity:
        """Who sends it. Raises NtmError."""
        return self._front.gate.admit(self._head, "step")

    def send(self, asked: Asked) -> None:
        """Ask the engine."""
        self._asked = asked
        self._front.metrics.in_flight += 1
        try:
            self._pending = self._front.link.submit(
                asked.request, self.told, self._id, asked.timeout_s
            )
        except NtmError as error:
            self.fail(error)

    def told(self, outcome: Any) -> None:
        """The engine's result, or what came instead of one."""
        self._pending, asked = None, self._asked
        if asked is None or isinstance(outcome, NtmError):
            self.fail(outcome)
            return
        try:
            answer = asked.answer(asked.result.decode(outcome))
        except Exception as error:
            self.fail(error)
        else:
            self.finish(answer.status_code, answer.head, answer.body)

    def fail(self, error: Exception) -> None:
        """Answer with an error."""
        asked, metrics = self._asked, self._front.metrics
        try:
            if not isinstance(error, NtmError):
                raise error
            known = asked.failed(error) if asked and asked.failed else error
            problems.noted(self.scope, known, error, metrics)
        except Exception as defect:
            known = problems.unexpected(self.scope, defect, metrics)
        start, body = problems.messages(known, self.scope, "http.response")
        self.finish(known.status, start["headers"], body["body"])

    def finish(self, status: int, head: Headers, body: bytes) -> None:
        """Send the answer, count it, and let the next request of the connection come."""
        connection = self._connection
        self.response_started = self.response_complete = True
        # uvloop's transport raises where the other end has hung up meanwhile.
        if not (self.disconnected or connection.transport.is_closing()):
            self._write(connection, status, head, body)
        self._count(status, len(body))
        self._asked = self._scope = None  # the connection keeps its last cycle until the next
        self._head = {}
        connection.on_response_complete()

    def _write(self, connection: Connection, status: int, head: Headers, body: bytes) -> None:
        lines = [STATUS[status]]
        lines += map(COLON.join, connection.server_state.default_headers)
        lines += map(COLON.join, head)
        lines += (ID_LINE + self._id.encode("ascii"), SECURITY_LINES)
        if not self.keep_alive:
            lines.append(CLOSE)
        lines += (b"", body)
        connection.transport.write(END.join(lines))
        if not self.keep_alive:
            connection.transport.close()

    def _count(self, status: int, size: int) -> None:
        metrics, route = self._front.metrics, self._route.template
        metrics.in_flight -= self._asked is not None
        seconds = perf_counter() - self._begun
        metrics.answered(METHOD, route, status, seconds)
        if self._front.settings.access_log:
            code = self.scope["state"].get(problems.CODE, "")
            served = (METHOD, route, str(status), seconds, size, code)
            access_log.tell(Served(self._id, "http", *served))

    def client_gone(self) -> None:
        """What was asked for is given up."""
        self.disconnected = True
        pending, self._pending = self._pending, None
        if pending is not None:
            self._front.link.give_up(pending)
            self.fail(ClientGone("the client went away"))

    @property
    def message_event(self) -> HotCycle:
        """What uvicorn sets when the connection is lost, where it means an asyncio.Event."""
        return self

    def set(self) -> None:
        """See asyncio.Event. `client_gone` is what counts."""
