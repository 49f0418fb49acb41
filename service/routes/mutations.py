"""What moves a session other than its steps, and what keeps or copies where it stands."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from litestar import Request, get, post
from litestar.response.base import ASGIResponse

from service import gate, guards, names, openapi, wire
from service.errors import InvalidRequest
from service.front_state import answer, answer_once, front_of, request_id, tenant_of
from service.guards import etag
from service.requests import Fork, Guard, ListSnapshots, Migrate, Point, Reset, Restore, Snapshot
from service.requests import Request as EngineRequest
from service.results import Moved, SessionInfo, SnapshotInfo
from service.routes.paths import session_id
from service.schemas import (
    EmptyBody,
    ForkBody,
    MigrateBody,
    MovedAnswer,
    PointBody,
    SnapshotBody,
    SnapshotList,
)

EMPTY_BODY = wire.Reader(EmptyBody)
POINT_BODY = wire.Reader(PointBody)
FORK_BODY = wire.Reader(ForkBody)
SNAPSHOT_BODY = wire.Reader(SnapshotBody)
MIGRATE_BODY = wire.Reader(MigrateBody)
MOVED = msgspec.msgpack.Decoder(Moved)
INFO = msgspec.msgpack.Decoder(SessionInfo)
SNAPSHOT = msgspec.msgpack.Decoder(SnapshotInfo)
SNAPSHOTS = msgspec.msgpack.Decoder(list[SnapshotInfo])

AnyRequest = Request[Any, Any, Any]
T = TypeVar("T", bound=msgspec.Struct)

ONCE = (openapi.KEY, openapi.MATCH)


@post(
    "/v1/sessions/{session_id:str}/reset",
    opt=gate.STEP,
    status_code=200,
    operation_class=openapi.operation(
        "sessions", MovedAnswer, takes=EmptyBody, required=False, reads=ONCE, tells=openapi.ETAG
    ),
)
async def reset_session(request: AnyRequest) -> ASGIResponse:
    """Back to the initial state and step 0. The history stays, so this too can be undone."""
    _, guard = await _wanted(request, EMPTY_BODY, EmptyBody())
    return await _move(request, Reset(tenant_of(request), session_id(request), guard))


@post(
    "/v1/sessions/{session_id:str}/restore",
    opt=gate.STEP,
    status_code=200,
    operation_class=openapi.operation(
        "sessions", MovedAnswer, takes=PointBody, reads=ONCE, tells=openapi.ETAG
    ),
)
async def restore_session(request: AnyRequest) -> ASGIResponse:
    """Back to a snapshot, a step or a revision that is kept."""
    wanted, guard = await _wanted(request, POINT_BODY, None)
    point = _point(wanted, least=1)
    return await _move(request, Restore(tenant_of(request), session_id(request), point, guard))


@post(
    "/v1/sessions/{session_id:str}/migrate",
    opt=gate.STEP,
    status_code=200,
    operation_class=openapi.operation(
        "sessions", MovedAnswer, 409, takes=MigrateBody, reads=ONCE, tells=openapi.ETAG
    ),
)
async def migrate_session(request: AnyRequest) -> ASGIResponse:
    """Go on with another loaded version of the model, where it keeps the same state."""
    wanted, guard = await _wanted(request, MIGRATE_BODY, None)
    names.version(wanted.version)
    return await _move(
        request, Migrate(tenant_of(request), session_id(request), wanted.version, guard)
    )


@post(
    "/v1/sessions/{session_id:str}/fork",
    opt=gate.STEP,
    operation_class=openapi.operation(
        "sessions",
        SessionInfo,
        409,
        takes=ForkBody,
        required=False,
        reads=ONCE,
        tells=openapi.ETAG | openapi.LOCATION,
    ),
)
async def fork_session(request: AnyRequest) -> ASGIResponse:
    """A new session that goes on from where this one stands, or stood."""
    wanted, guard = await _wanted(request, FORK_BODY, ForkBody())
    names.fresh(wanted.id, "$.id")
    call = Fork(
        tenant_of(request),
        session_id(request),
        _point(wanted, least=0),
        wanted.id,
        wanted.idle_ttl_s,
        guard,
    )
    info = await _call(request, INFO, call)
    headers = {"location": f"/v1/sessions/{info.id}", "etag": etag(info.incarnation, info.revision)}
    return answer_once(request, info, headers)


@post(
    "/v1/sessions/{session_id:str}/snapshots",
    opt=gate.STEP,
    operation_class=openapi.operation(
        "sessions", SnapshotInfo, 409, takes=SnapshotBody, required=False, reads=ONCE
    ),
)
async def keep_snapshot(request: AnyRequest) -> ASGIResponse:
    """Keep where the session stands, by name, for as long as it lives."""
    wanted, guard = await _wanted(request, SNAPSHOT_BODY, SnapshotBody())
    names.fresh(wanted.name, "$.name")
    call = Snapshot(tenant_of(request), session_id(request), wanted.name, guard)
    return answer_once(request, await _call(request, SNAPSHOT, call), {})


@get(
    "/v1/sessions/{session_id:str}/snapshots",
    opt=gate.READ,
    operation_class=openapi.operation("sessions", SnapshotList),
)
async def list_snapshots(request: AnyRequest) -> ASGIResponse:
    """The kept points of a session."""
    call = ListSnapshots(tenant_of(request), session_id(request))
    return answer(request, SnapshotList(await _call(request, SNAPSHOTS, call)))


async def _wanted(
    request: AnyRequest, reader: wire.Reader[T], default: T | None
) -> tuple[T, Guard]:
    """The body, or its default where there is none, and what the mutation is conditional on."""
    head = dict(request.scope["headers"])
    wanted = await reader.read(head, request.receive, front_of(request).settings, default)
    said = msgspec.json.encode(wanted, order="deterministic")
    return wanted, guards.of(head, b"POST", request.scope["path"].encode(), said)


async def _move(request: AnyRequest, call: EngineRequest) -> ASGIResponse:
    moved = await _call(request, MOVED, call)
    headers = {"etag": etag(moved.incarnation, moved.revision)}
    if moved.replayed:
        headers["idempotency-replayed"] = "true"
    return answer(request, MovedAnswer(moved.step, moved.revision, moved.version), headers=headers)


async def _call(
    request: AnyRequest, decoder: msgspec.msgpack.Decoder[Any], call: EngineRequest
) -> Any:
    link = front_of(request).link
    return await link.call(decoder, call, request_id=request_id(request), receive=request.receive)


def _point(wanted: PointBody | ForkBody, least: int) -> Point:
    """The point that a body names. Raises InvalidRequest for more than one, or fewer than asked,
    and PointNotKept for what can be no snapshot."""
    point = Point(wanted.step, wanted.revision, names.snapshot(wanted.snapshot))
    named = [name for name in ("step", "revision", "snapshot") if getattr(point, name) is not None]
    if not least <= len(named) <= 1:
        expected = ("exactly" if least else "at most") + " one of step, revision and snapshot"
        got = " and ".join(named) or "none"
        raise InvalidRequest(f"$: expected {expected}, got {got}", expected=expected, got=got)
    return point
