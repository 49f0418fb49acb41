"""What /schema tells: the OpenAPI document of our routes, and a page that reads it offline.

The pages that Litestar brings load their script from a content delivery network; this one is one
HTML file without script, so it works where the server has no way out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import msgspec
from litestar import Response, Router
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import OpenAPIMediaType, Operation, Parameter, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType

from service import gate
from service.errors import Problem, RouteNotFound
from service.metrics import package_version

PROBLEM_TYPE = "application/problem+json"
REASONS = {
    400: "The request is not valid",
    404: "There is no such session or model",
    409: "There is a session of this id",
    410: "The session has expired",
    412: "If-Match does not hold",
    413: "The body is too large, or has too many rows",
    415: "The body is neither application/json nor application/msgpack",
    426: "The path speaks WebSocket",
    422: "The Idempotency-Key belongs to another request",
    429: "A queue or the number of sessions is at its limit; Retry-After says when to try again",
    503: "The engine is away or not ready; Retry-After says when to try again",
    504: "The request took longer than NTM_REQUEST_TIMEOUT_S",
}


def _header(name: str, description: str) -> Parameter:
    return Parameter(
        name=name,
        param_in="header",
        description=description,
        schema=Schema(type=OpenAPIType.STRING),
    )


KEY = _header(
    "Idempotency-Key", "A repeat with this key gets the first answer, and changes nothing"
)
MATCH = _header("If-Match", "Only where the session still has this ETag")


def answers(model: type[Any], *statuses: int, status: int = 200) -> dict[int, ResponseSpec]:
    """The answers of a route: what it gives, and the problems it may meet."""
    found = {status: ResponseSpec(model, generate_examples=False, description="Done")}
    return found | problems(*statuses)


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Problem details for these statuses."""
    return {
        status: ResponseSpec(
            Problem,
            generate_examples=False,
            description=REASONS[status],
            media_type=PROBLEM_TYPE,
        )
        for status in statuses
    }


def takes(
    *headers: Parameter, body: type[Any] | None = None, required: bool = True
) -> type[Operation]:
    """An operation that documents a body and headers that its handler reads by itself."""

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            if body is not None:
                media = OpenAPIMediaType(schema=_schema(body))
                forms = {"application/json": media, "application/msgpack": media}
                self.request_body = RequestBody(forms, required=required)
            self.parameters = [*(self.parameters or []), *headers]

    return Documented


def _schema(kind: type[Any]) -> Any:
    _, components = msgspec.json.schema_components(
        (kind,), ref_template="#/components/schemas/{name}"
    )
    return components[kind.__name__]


class Page(OpenAPIRenderPlugin):
    """The whole document as one plain page."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Any, openapi_schema: dict[str, Any]) -> bytes:
        """See OpenAPIRenderPlugin."""
        return "".join(_page(openapi_schema)).encode()


def _page(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width"><link rel="icon" href="data:,">'
        f"<title>{escape(info['title'])}</title><style>body{{font:16px/1.5 system-ui;"
        "max-width:60rem;margin:2rem auto;padding:0 1rem}pre{background:#8882;padding:.6rem;"
        "overflow:auto}code,pre{font-size:.9em}h2{border-top:1px solid #8888;padding-top:1rem}"
        "td{padding-right:1.5rem;vertical-align:top}</style>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info.get('description') or '')}</p>"
        '<p>For tools: <a href="/schema/openapi.json">openapi.json</a>, '
        '<a href="/schema/openapi.yaml">openapi.yaml</a></p>'
    )
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield from _operation(path, method, operation)
    yield "<h2>Shapes</h2>"
    for name, shape in document["components"]["schemas"].items():
        yield f'<h3 id="{escape(name)}">{escape(name)}</h3>{_pretty(shape)}'
    yield "</html>"


def _operation(path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
    yield f"<p>{escape(operation.get('description') or '')}</p><table>"
    for parameter in operation.get("parameters", ()):
        where, said = parameter["in"], parameter.get("description") or ""
        yield f"<tr><td><code>{escape(parameter['name'])}</code><td>{where}<td>{escape(said)}"
    yield "</table>"
    for kind, media in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Takes {escape(kind)}</p>{_pretty(media['schema'])}"
    yield "<table>"
    for status, response in operation["responses"].items():
        yield f"<tr><td>{status}<td>{escape(response['description'])}<td>"
        for media in response.get("content", {}).values():
            name = media["schema"].get("$ref", "").rsplit("/", 1)[-1]
            yield f'<a href="#{escape(name)}">{escape(name)}</a>'
    yield "</table>"


def _pretty(value: Any) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return f"<pre>{escape(text)}</pre>"


async def _refuse_unknown(response: Response[Any]) -> Response[Any]:
    """Litestar's own page for an unknown path under /schema gives way to problem details."""
    if response.status_code == RouteNotFound.status:
        raise RouteNotFound("expected /schema, /schema/openapi.json or /schema/openapi.yaml")
    return response


def config() -> OpenAPIConfig:
    """The OpenAPI document and where it is served."""
    return OpenAPIConfig(
        title="ntm-serve",
        version=package_version(),
        description="Sessions of networks with memory: rows in, rows out, the state kept between.",
        use_handler_docstrings=True,
        render_plugins=[Page(), JsonRenderPlugin(), YamlRenderPlugin()],
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            include_in_schema=False,
            after_request=_refuse_unknown,
            opt=gate.OPEN,
        ),
    )
