"""The links of the OpenAPI document: what an answer gives that another request takes."""

from __future__ import annotations

from typing import Any

from litestar.openapi.spec import Link, Reference

Links = dict[str, Link | Reference]

ID = "$response.body#/id"
HERE = "$request.path.session_id"
ETAG = "$response.header.ETag"
OF_A_SESSION = (
    "describe_session", "step_session", "read_memory", "reset_session", "restore_session",
    "migrate_session", "fork_session", "keep_snapshot", "list_snapshots", "read_history",
    "export_state", "import_state", "watch_session", "end_session",
)  # fmt: skip
MODEL = "$response.body#/models/0/name"


def _to(operation: str, body: Any = None, **parameters: str) -> Link:
    return Link(operation_id=operation, parameters=parameters, request_body=body)


def _session(where: str, *operations: str) -> Links:
    """To these routes of a session, or to all."""
    return {name: _to(name, session_id=where) for name in operations or OF_A_SESSION}


def _only_if_unchanged(operation: str, where: str) -> Links:
    link = Link(operation_id=operation, parameters={"session_id": where, "header.If-Match": ETAG})
    return {f"{operation}_if_unchanged": link}


def of(operation: str) -> Links | None:
    """Where the answer of an operation leads to, by the links' names."""
    begun = _session(ID) | _only_if_unchanged("step_session", ID)
    moved = _session(
        HERE, "describe_session", "read_memory", "read_history", "step_session", "end_session"
    ) | _only_if_unchanged("reset_session", HERE)
    back = {"restore_session": _to("restore_session", _point("revision"), session_id=HERE)}
    match operation:
        case "create_session" | "fork_session":
            return begun
        case "step_session":
            seen = _session(HERE, "read_trace", "explain_session", "fork_session")
            return moved | back | seen
        case "reset_session" | "restore_session" | "migrate_session" | "import_state":
            return moved
        case "end_session":  # gone: these say so
            return _session(HERE, "describe_session", "step_session", "read_memory")
        case _:
            return _found(operation)


def _found(operation: str) -> Links | None:
    """Where those lead to that only look."""
    match operation:
        case "keep_snapshot":
            kept = {"snapshot": "$response.body#/name"}
            return {
                "restore_session": _to("restore_session", kept, session_id=HERE),
                "fork_session": _to("fork_session", kept, session_id=HERE),
                "list_snapshots": _to("list_snapshots", session_id=HERE),
            }
        case "list_sessions":
            first = "$response.body#/sessions/0/id"
            more = {"list_sessions": _to("list_sessions", cursor="$response.body#/cursor")}
            return more | _session(first, "describe_session", "read_memory", "step_session")
        case "read_history":
            more = _to("read_history", session_id=HERE, cursor="$response.body#/cursor")
            at = _to("restore_session", _point("history/0/revision"), session_id=HERE)
            return {"read_history": more, "restore_session": at}
        case "describe_session" | "read_memory":
            return _only_if_unchanged("step_session", HERE)
        case "list_models":
            named = ("describe_model", "predict", "create_session")
            return {name: _to(name, model=MODEL) for name in named}
        case "describe_model":
            here = "$request.path.model"
            return {name: _to(name, model=here) for name in ("predict", "create_session")}
        case _:
            return None


def _point(where: str) -> dict[str, str]:
    return {"revision": f"$response.body#/{where}"}
