"""What /schema tells: the OpenAPI document of our routes.

Litestar finds the routes and their parameters. The rest an operation says itself, since a handler
reads its headers and its body on its own: `@get(path, operation_class=operation(...))`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from litestar import Response, Router
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPI,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    SecurityScheme,
)

from service import gate, openapi_links, openapi_parameters, openapi_shapes
from service.errors import Problem, RouteNotFound
from service.metrics import package_version
from service.openapi_page import Page
from service.openapi_parameters import KEY as KEY
from service.openapi_parameters import LAST_EVENT_ID as LAST_EVENT_ID
from service.openapi_parameters import MATCH as MATCH
from service.openapi_parameters import PRIORITY as PRIORITY
from service.openapi_parameters import RETRY_AFTER, header

JSON, MSGPACK = "application/json", "application/msgpack"
EVENTS = "text/event-stream"
PROBLEM_TYPE = "application/problem+json"
REASONS = {
    400: "The request is not valid",
    401: "The request has no key, or one that is not known",
    403: "The key does not allow it, or the page that asks is of another origin",
    404: "There is no such session, model or point",
    408: "The body took too long to arrive",
    409: "What is there already stands against it",
    410: "The session has expired",
    412: "If-Match does not hold",
    413: "The body is too large, or has too many rows",
    415: "The body is of a type that the route does not read",
    422: "The Idempotency-Key belongs to another request",
    426: "The path speaks WebSocket",
    429: "A limit is reached; Retry-After says when to try again",
    500: "The server failed; its log has more under the request id",
    503: "The engine or the store is away, or not ready; Retry-After says when to try again",
    504: "The request took longer than NTM_REQUEST_TIMEOUT_S",
}
ALL = (400, 403, 500)  # of every route
GUARDED = (401, 429, 503, 504)  # of every route under /v1: its key and limits, the engine
OF_A_NAME = {  # path and header parameters
    "session_id": (404, 410),
    "model": (404,),
    "Idempotency-Key": (422,),
    "If-Match": (412,),
}
OF_A_BODY = (408, 413, 415)
Headers = dict[str, OpenAPIHeader | Reference]

ALWAYS: Headers = {
    "X-Request-Id": header("The id of this request", "^[A-Za-z0-9._~:/+=@-]{1,128}$")
}
ETAG: Headers = {"ETag": header("What If-Match takes", '^"[0-9A-Za-z]+-[0-9]+"$')}
LOCATION: Headers = {"Location": header("The path of what was made", "^/v1/sessions/")}
REPLAYED: Headers = {
    "Idempotency-Replayed": header("The answer to an earlier request", "^true$", required=False)
}


def operation(
    tag: str,
    gives: type[Any] | str | None = None,
    *further: int,
    takes: type[Any] | str | None = None,
    required: bool = True,
    reads: tuple[Parameter, ...] = (),
    tells: Headers | None = None,
    guarded: bool = True,
    succeeds: bool = True,
) -> type[Operation]:
    """How a route documents itself.

    gives, takes: what is answered and what the body is: a struct, in JSON or MessagePack, or else a
    media type, or nothing. further: statuses of problems beside those that follow from the rest.
    reads, tells: headers of the request and of its answer. succeeds: can it ever?
    """

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            self.tags = [tag]
            status = next(iter(self.responses or {"200": None}))
            self.parameters = [*openapi_parameters.told(self.parameters or ()), *reads]
            headers = ALWAYS | (tells or {}) | (REPLAYED if KEY in reads else {})
            links = openapi_links.of(self.operation_id or "")
            done = OpenAPIResponse("Done", headers, _content(gives), links)
            self.responses = {status: done} if succeeds else {}
            asked = (*further, *(GUARDED if guarded else ()), *(OF_A_BODY if takes else ()))
            for problem in sorted({*ALL, *asked, *_of_names(self.parameters)}):
                self.responses[str(problem)] = Reference(f"#/components/responses/{problem}")
            if takes is not None:
                self.request_body = RequestBody(_content(takes) or {}, required=required)

    return Documented


def _of_names(parameters: Iterable[Parameter | Reference]) -> Iterator[int]:
    """The statuses that come with what a request names."""
    for parameter in parameters:
        if isinstance(parameter, Parameter):
            yield from OF_A_NAME.get(parameter.name, ())


def _content(kind: type[Any] | str | None) -> dict[str, OpenAPIMediaType] | None:
    """What a body may be, by its media type."""
    if kind is None:
        return None
    if isinstance(kind, str):
        event: Any = {"$ref": openapi_shapes.PLACE + "Event"}  # each, and not the whole stream
        shape: Any = event if kind == EVENTS else openapi_shapes.BINARY
        return {kind: OpenAPIMediaType(schema=shape)}
    plain: Any = openapi_shapes.of(kind)
    packed: Any = openapi_shapes.of(kind, packed=True)
    return {JSON: OpenAPIMediaType(schema=plain), MSGPACK: OpenAPIMediaType(schema=packed)}


def _problem(status: int, reason: str) -> OpenAPIResponse:
    headers = {401: openapi_parameters.CHALLENGE, 429: RETRY_AFTER, 503: RETRY_AFTER}
    shape: Any = openapi_shapes.of(Problem)
    content = {PROBLEM_TYPE: OpenAPIMediaType(schema=shape)}
    return OpenAPIResponse(reason, ALWAYS | headers.get(status, {}), content)


async def _refuse_unknown(response: Response[Any]) -> Response[Any]:
    """Litestar's own page for an unknown path under /schema gives way to problem details."""
    if response.status_code == RouteNotFound.status:
        raise RouteNotFound("expected /schema, /schema/openapi.json or /schema/openapi.yaml")
    return response


@dataclass
class Document(OpenAPI):
    """The document with our shapes in place of those that Litestar finds."""

    def to_schema(self) -> dict[str, Any]:
        """See BaseSchemaObject."""
        document = super().to_schema()
        document["components"]["schemas"] = openapi_shapes.components()
        return document


class Config(OpenAPIConfig):
    """Makes a `Document`."""

    def to_openapi_schema(self) -> Document:
        """See OpenAPIConfig."""
        made = super().to_openapi_schema()
        return Document(**{name: getattr(made, name) for name in made.__dataclass_fields__})


def _id(handler: HTTPRouteHandler, method: Any, path: Any) -> str:
    return handler.handler_name


def config() -> OpenAPIConfig:
    """The OpenAPI document and where it is served."""
    key = SecurityScheme("http", "An API key, where NTM_KEYS names a file of them", scheme="bearer")
    return Config(
        title="ntm-serve",
        version=package_version(),
        description="Sessions of networks with memory: rows in, rows out, the state kept between.",
        use_handler_docstrings=True,
        operation_id_creator=_id,
        components=Components(
            security_schemes={"key": key},
            responses={str(status): _problem(status, why) for status, why in REASONS.items()},
        ),
        security=[{"key": []}, {}],
        render_plugins=[Page(), JsonRenderPlugin(), YamlRenderPlugin()],
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            include_in_schema=False,
            after_request=_refuse_unknown,
            opt=gate.OPEN,
        ),
    )
