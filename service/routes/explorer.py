"""The memory explorer: a page and its files, which lie in service/explorer.

Nothing on it is fetched from elsewhere and nothing in it is inline, so that its content security
policy lets run what this server sent and no more. The files tell nothing of anybody and need no
key; the page asks for one before it asks /v1.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from litestar import Request, get
from litestar.response.base import ASGIResponse

from service import gate
from service.errors import RouteNotFound
from service.front_state import Answer

FOLDER = Path(__file__).resolve().parent.parent / "explorer"
PAGE = "index.html"
MEDIA_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Asset(msgspec.Struct, frozen=True):
    """A file as it is sent. tag: its ETag, by its content."""

    data: bytes
    media_type: bytes
    tag: str


@get("/explorer", opt=gate.OPEN, include_in_schema=False)
async def explorer_page(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The page of the memory explorer."""
    if request.scope["raw_path"].endswith(b"/"):  # its links would count from the wrong place
        return Answer(b"", MEDIA_TYPES[".html"], 308, {"location": "../explorer"})
    return _sent(request, PAGE)


@get("/explorer/{file:path}", opt=gate.OPEN, include_in_schema=False)
async def explorer_file(request: Request[Any, Any, Any]) -> ASGIResponse:
    """A file of the memory explorer. Raises RouteNotFound where there is none of that name."""
    return _sent(request, str(request.path_params["file"]).lstrip("/"))


@cache
def assets() -> dict[str, Asset]:
    """Every file by its path below service/explorer. Nothing else is ever looked for."""
    found: dict[str, Asset] = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix in MEDIA_TYPES:
            data = path.read_bytes()
            tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
            name = path.relative_to(FOLDER).as_posix()
            found[name] = Asset(data, MEDIA_TYPES[path.suffix], tag)
    return found


def _sent(request: Request[Any, Any, Any], name: str) -> Answer:
    asset = assets().get(name)
    if asset is None:
        raise RouteNotFound("expected /explorer or a file of it")
    # A browser keeps a file and asks whether it is still the same: a new server is seen at once.
    headers = {
        "etag": asset.tag,
        "cache-control": "no-cache",
        "content-security-policy": POLICY,
    }
    known = request.headers.get("if-none-match", "")
    if asset.tag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Answer(b"", asset.media_type, 304, headers)
    return Answer(asset.data, asset.media_type, 200, headers)


HANDLERS = (explorer_page, explorer_file)
