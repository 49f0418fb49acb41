"""What methods a path takes, told to OPTIONS.

Litestar answers OPTIONS by itself, but for a path of several handlers only with the first one's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, route
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from service import gate

KIND = re.compile(r":\w+(?=})")  # of a path's parameter


def answering(handlers: Sequence[HTTPRouteHandler]) -> HTTPRouteHandler:
    """A handler of OPTIONS on the paths of these. An app has to be given it before them."""
    taken: defaultdict[str, set[str]] = defaultdict(lambda: {"OPTIONS"})
    for handler in handlers:
        for path in handler.paths:
            taken[KIND.sub("", path)] |= handler.http_methods
    paths = sorted({path for handler in handlers for path in handler.paths})

    @route(
        paths,
        http_method=[HttpMethod.OPTIONS],
        status_code=204,
        opt=gate.OPEN,
        include_in_schema=False,
    )
    async def list_methods(request: Request[Any, Any, Any]) -> Response[None]:
        """What methods the path takes."""
        allowed = taken[request.scope["path_template"]]
        return Response(None, headers={"allow": ", ".join(sorted(allowed))})

    return list_methods
