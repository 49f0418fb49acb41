"""`create_app`: the only place where settings, the link to the engine and the routes meet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from service import hot, openapi, problems, query, tracing
from service.access import Access
from service.errors import NtmError
from service.front_state import KEY, FrontState, let_in
from service.gate import Gate
from service.link import EngineLink
from service.metrics import FrontMetrics
from service.request_ids import RequestIds
from service.routes import explorer, methods, v2
from service.routes.admin import reload_models, unload_model
from service.routes.health import live, ready
from service.routes.insight import explain_session, read_trace
from service.routes.metrics import metrics as read_metrics
from service.routes.models import describe_model, list_models
from service.routes.mutations import (
    fork_session,
    keep_snapshot,
    list_snapshots,
    migrate_session,
    reset_session,
    restore_session,
)
from service.routes.past import export_state, import_state, read_history
from service.routes.predict import predict
from service.routes.sessions import (
    create_session,
    describe_session,
    end_session,
    list_sessions,
    read_memory,
    step_session,
)
from service.routes.stream import explain_stream, stream_rows, watch_session
from service.routes.tenant import describe_tenant
from service.settings import Settings
from service.stream.streams import Streams

PUBLISH_S = 1.0
READ_HEADERS = ("accept", "idempotency-key", "if-match", "last-event-id", "x-request-id")
SENT_HEADERS = ("etag", "idempotency-replayed", "location", "retry-after", "x-request-id")
HANDLERS: tuple[Any, ...] = (
    create_session,
    list_sessions,
    describe_session,
    end_session,
    step_session,
    read_memory,
    reset_session,
    restore_session,
    migrate_session,
    fork_session,
    keep_snapshot,
    list_snapshots,
    read_history,
    read_trace,
    explain_session,
    export_state,
    import_state,
    watch_session,
    explain_stream,
    predict,
    reload_models,
    unload_model,
    list_models,
    describe_model,
    describe_tenant,
    live,
    ready,
    read_metrics,
    *v2.HANDLERS,
)


def create_app(settings: Settings, link: EngineLink | None = None, front: int = 0) -> Litestar:
    """The app of one front process.

    link: to the engine; by default one to `settings.engine_socket`, opened and closed with the app.
    front: this process's number among `settings.fronts`.
    """
    folder = Path(settings.engine_socket).parent if settings.fronts > 1 else None
    metrics, draining = FrontMetrics(front, folder), asyncio.Event()
    tracer = tracing.start(settings, f"front {front}")
    state = FrontState(
        settings,
        link or EngineLink(settings.engine_socket, settings.request_timeout_s, tracer),
        metrics,
        draining,
        Streams(settings, metrics.streams, draining),
        Gate.of(settings),
        RequestIds(),
        tracer,
    )
    metrics.engine_up.set_function(lambda: state.link.connected)
    metrics.keys_current.set_function(lambda: state.gate.current)
    app = Litestar(
        route_handlers=[methods.answering(HANDLERS), *HANDLERS, stream_rows, *explorer.HANDLERS],
        guards=[let_in, query.check],
        state=State({KEY: state, hot.KEY: hot.Hot(state)}),
        lifespan=[lambda _: _running(state, opens=link is None)],
        after_exception=[problems.keep],
        exception_handlers=dict.fromkeys((NtmError, HTTPException, Exception), problems.answer),
        openapi_config=openapi.config(),
        cors_config=_cors(settings) if settings.cors_origins else None,
        logging_config=None,
        request_max_body_size=settings.max_body_bytes,
    )
    # Around Litestar's router, since its own middleware does not see a request without a route.
    app.asgi_handler = Access(app.asgi_handler, state)
    return app


def _cors(settings: Settings) -> CORSConfig:
    """What pages of other sites may send, and read of the answers."""
    return CORSConfig(
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["authorization", "content-type", *READ_HEADERS],
        expose_headers=list(SENT_HEADERS),
    )


@contextlib.asynccontextmanager
async def _running(state: FrontState, opens: bool) -> AsyncGenerator[None]:
    """What runs beside the app: its link, where it is its own, and its metrics' file."""
    async with contextlib.AsyncExitStack() as stack:
        if state.tracer is not None:
            stack.push_async_callback(asyncio.to_thread, state.tracer.close)
        if opens:
            await state.link.open()
            stack.push_async_callback(state.link.close)
        if state.metrics.folder is not None:
            publisher = asyncio.create_task(_publish(state.metrics), name="metrics")
            stack.callback(publisher.cancel)
        if state.settings.grpc_port:
            from service.grpc.server import serving  # its packages come with the grpc extra

            await stack.enter_async_context(serving(state))
        yield


async def _publish(metrics: FrontMetrics) -> None:
    while True:
        metrics.publish()
        await asyncio.sleep(PUBLISH_S)
