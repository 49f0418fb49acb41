"""The parameters and headers of the OpenAPI document, each with the form that it must have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from litestar.openapi.spec import OpenAPIHeader, Parameter, Reference, Schema
from litestar.openapi.spec.enums import OpenAPIType

from export.bundle import NAME_PATTERN
from service.engine.sessions import ID_PATTERN
from service.names import ROLES
from service.stream.events import INCLUDED

INCLUDE = "|".join(INCLUDED)
# What a path or query parameter must be like, where the handler and not Litestar checks it.
PATTERNS = {
    "session_id": f"^{ID_PATTERN.pattern}$",
    "model": f"^{NAME_PATTERN.pattern}$",
    "version": f"^{NAME_PATTERN.pattern}$",
    "cursor": f"^{ID_PATTERN.pattern}$",  # of sessions; a history's is a number
    "roles": f"^{ROLES.pattern}$",
    "include": f"^(({INCLUDE})(,({INCLUDE}))*)?$",
}


def told(found: Iterable[Parameter | Reference]) -> Iterator[Parameter | Reference]:
    """What Litestar found, with the forms of names and without null, which no query has."""
    for parameter in found:
        if isinstance(parameter, Parameter) and isinstance(parameter.schema, Schema):
            parameter.schema = _one(parameter.schema)
            pattern = PATTERNS.get(parameter.name)
            if pattern is not None and parameter.schema.type == OpenAPIType.STRING:
                parameter.schema.pattern = pattern
        yield parameter


def _one(schema: Schema) -> Schema:
    kinds: list[Any] = [
        kind
        for kind in schema.one_of or ()
        if isinstance(kind, Schema) and kind.type != OpenAPIType.NULL
    ]
    if len(kinds) != 1:
        return schema
    kinds[0].minimum, kinds[0].maximum = schema.minimum, schema.maximum
    return kinds[0]


def header(description: str, pattern: str, required: bool = True) -> OpenAPIHeader:
    """A header of an answer."""
    schema = Schema(type=OpenAPIType.STRING, pattern=pattern)
    return OpenAPIHeader(description=description, required=required, schema=schema)


def _asked(name: str, description: str, pattern: str | None) -> Parameter:
    """A header of a request."""
    schema = Schema(type=OpenAPIType.STRING, pattern=pattern)
    return Parameter(name=name, param_in="header", description=description, schema=schema)


KEY = _asked(
    "Idempotency-Key",
    "A repeat with this key gets the first answer, and changes nothing",
    "^[!-~]{1,255}$",
)
MATCH = _asked(
    "If-Match",
    "Only where the session still has this ETag",
    r'^(\*|(W/)?"[!#-~]{0,255}")$',
)
PRIORITY = _asked(
    "Priority",
    "RFC 9218: of a tenant's own requests u=0 is served first, u=7 last, u=3 where none is said;"
    " what else stands there is passed over",
    None,
)
LAST_EVENT_ID = _asked(
    "Last-Event-ID", "Go on behind the event of this id", "^[0-9A-Za-z]{1,64}-[0-9]{1,18}$"
)
RETRY_AFTER: dict[str, OpenAPIHeader | Reference] = {
    "Retry-After": header("Seconds to wait", "^[0-9]+$")
}
CHALLENGE: dict[str, OpenAPIHeader | Reference] = {
    "WWW-Authenticate": header("What a key goes with", "^Bearer")
}
