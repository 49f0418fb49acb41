"""A page that shows the OpenAPI document offline.

The pages that Litestar brings load their script from a content delivery network; this one is one
HTML file without script, so it works where the server has no way out.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import msgspec
from litestar.openapi.plugins import OpenAPIRenderPlugin


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
    responses = document["components"]["responses"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield from _operation(path, method, operation, responses)
    yield "<h2>Shapes</h2>"
    for name, shape in document["components"]["schemas"].items():
        yield f'<h3 id="{escape(name)}">{escape(name)}</h3>{_pretty(shape)}'
    yield "</html>"


def _operation(
    path: str, method: str, operation: dict[str, Any], responses: dict[str, Any]
) -> Iterator[str]:
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
        response = responses.get(response.get("$ref", "").rsplit("/", 1)[-1], response)
        yield f"<tr><td>{status}<td>{escape(response['description'])}<td>"
        for media in response.get("content", {}).values():
            name = media["schema"].get("$ref", "").rsplit("/", 1)[-1]
            yield f'<a href="#{escape(name)}">{escape(name)}</a>'
    yield "</table>"


def _pretty(value: Any) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return f"<pre>{escape(text)}</pre>"
