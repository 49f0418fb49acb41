"""The one who asks: who he is to the server, what he has there, and how much he may."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get
from litestar.response.base import ASGIResponse

from service import gate, openapi
from service.front_state import answer, front_of, identity_of, request_id
from service.requests import Usage
from service.results import UsageInfo
from service.schemas import TenantAnswer, TenantLimits
from service.settings import Settings

USAGE = msgspec.msgpack.Decoder(UsageInfo)


@get("/v1/tenant", opt=gate.ANY, operation_class=openapi.operation("tenants", TenantAnswer))
async def describe_tenant(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Whose key this is, what it may do, and what its tenant's live sessions come to."""
    front, identity = front_of(request), identity_of(request)
    used = await front.link.call(USAGE, Usage(identity.tenant), request_id=request_id(request))
    return answer(
        request,
        TenantAnswer(
            identity.tenant,
            sorted(identity.scopes),
            used.sessions,
            used.state_bytes,
            _limits(front.settings) if front.settings.keys else None,
        ),
    )


def _limits(settings: Settings) -> TenantLimits:
    return TenantLimits(
        settings.tenant_sessions,
        settings.tenant_state_bytes,
        settings.tenant_requests_s,
        settings.tenant_streams,
        settings.tenant_queue_share,
    )
