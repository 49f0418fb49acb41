"""Is the service well, and where does a request's time go?"""

from __future__ import annotations

from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.boards import batches
from deploy.grafana.boards.board import (
    AT,
    BAD,
    GOOD,
    OF,
    RATE,
    WARN,
    WHOLE,
    Panels,
    board,
    lines,
    number,
    query,
    warmth,
)

REQUESTS = f'{AT}, route!~"/metrics|/health/.*"'


def service() -> Dashboard:
    """The dashboard to open first."""
    return board(
        "ntm-service",
        "ntm-serve: service",
        "Rate, errors, latency, queue and batches, and what the processes take.",
        [
            ("Now", now()),
            ("Requests", requests()),
            ("Latency", latency()),
            ("Queue and batches", queue()),
            ("Store", store()),
            ("Processes", processes()),
        ],
        ("instance", "model"),
    )


def now() -> Panels:
    """The six numbers that say whether to look any further; what fires is in each description."""
    return [
        number(
            "Replicas",
            "Servers that answer Prometheus. Fewer than within a day: NtmReplicaGone.",
            "short",
            "ntm:replicas:up",
            ((None, BAD), (1, GOOD)),
        ),
        number(
            "Requests",
            "Answered a second by all replicas, without health checks and scrapes.",
            "reqps",
            "ntm:requests:rate5m",
        ),
        number(
            "Failing",
            "Share of requests answered with 5xx, over 5 minutes. Above 1%: NtmErrorRatio.",
            "percentunit",
            "ntm:errors:ratio5m",
            ((None, GOOD), (0.001, WARN), (0.01, BAD)),
        ),
        number(
            "Slowest 1 in 100",
            "99th percentile of steps, predictions and inferences. Above 500 ms: NtmSlow.",
            "s",
            "ntm:request_seconds:p99_5m",
            ((None, GOOD), (0.25, WARN), (0.5, BAD)),
        ),
        number(
            "Fullest queue",
            "Admitted requests by NTM_MAX_QUEUE, of the fullest queue. Above 80%: "
            "NtmQueueSaturated, and at 100% clients get 429.",
            "percentunit",
            "max(ntm:queue:ratio)",
            ((None, GOOD), (0.5, WARN), (0.8, BAD)),
        ),
        number(
            "Store answers",
            "Share of the replicas that reach their store. Below 100%: NtmStoreAway.",
            "percentunit",
            "avg(ntm_store_up)",
            ((None, BAD), (1, GOOD)),
        ),
    ]


def requests() -> Panels:
    """What is asked, and what goes wrong."""
    return [
        lines(
            "Rate by route",
            "Requests answered a second, by route.",
            "reqps",
            query(f"sum by (route) (rate(ntm_http_requests_total{{{REQUESTS}}}{RATE}))"),
            span=8,
            stacked=StackingMode.NORMAL,
        ),
        lines(
            "Rate by status",
            "Requests answered a second, by status. 4xx are the clients' own mistakes.",
            "reqps",
            query(f"sum by (status) (rate(ntm_http_requests_total{{{REQUESTS}}}{RATE}))"),
            span=8,
            stacked=StackingMode.NORMAL,
        ),
        lines(
            "Errors by code",
            "Errors answered a second, by their code. service/README.md says what each means.",
            "reqps",
            query(f"sum by (code) (rate(ntm_errors_total{{{AT}}}{RATE})) > 0"),
            span=8,
            stacked=StackingMode.NORMAL,
        ),
    ]


def latency() -> Panels:
    """How long clients wait, and for what."""
    whole = f"rate(ntm_http_request_seconds_bucket{{{AT}, {WHOLE}}}{RATE})"
    by_le = f"sum by (le) ({whole})"
    return [
        warmth(
            "Latency",
            "Steps, predictions and inferences by how long they took, from their headers to the "
            "end of their answer.",
            "s",
            f"sum by (le) (increase(ntm_http_request_seconds_bucket{{{AT}, {WHOLE}}}{RATE}))",
            span=8,
        ),
        lines(
            "Latency percentiles",
            "Of steps, predictions and inferences. NtmSlow fires where p99 stays above 500 ms.",
            "s",
            *(
                query(f"histogram_quantile({q}, {by_le})", f"p{q * 100:g}")
                for q in (0.5, 0.9, 0.99)
            ),
            span=8,
            bounds=((None, GOOD), (0.5, BAD)),
        ),
        lines(
            "Where a step's time goes",
            "Means of: waiting for the first batch; one batch in the runtime (a request of many "
            "rows takes several); the commit, which its answer waits for; all of it, HTTP too.",
            "s",
            *(query(expr, legend) for legend, expr in phases()),
            span=8,
        ),
    ]


def phases() -> list[tuple[str, str]]:
    """The phases of a step and their mean times."""

    def mean(name: str, which: str) -> str:
        total, count = (f"sum(rate({name}_{end}{{{which}}}{RATE}))" for end in ("sum", "count"))
        return f"{total} / {count}"

    return [
        ("queue", mean("ntm_queue_seconds", OF)),
        ("one batch", mean("ntm_step_seconds", OF)),
        ("commit", mean("ntm_commit_seconds", AT)),
        ("whole request", mean("ntm_http_request_seconds", f"{AT}, {WHOLE}")),
    ]


def queue() -> Panels:
    """How much waits, and what the batches are like."""
    return [
        lines(
            "Queue",
            "Requests admitted and not answered yet, and how many there may be (NTM_MAX_QUEUE).",
            "short",
            query(f"sum by (model) (ntm_queue_depth{{{OF}}})", "{{model}}"),
            query(f"sum by (model) (ntm_queue_limit{{{OF}}})", "{{model}}: limit"),
            span=8,
        ),
        batches.size(span=8),
        batches.why_small(span=8),
    ]


def store() -> Panels:
    """What every answer waits for."""
    commits = f"sum by (le) (rate(ntm_commit_seconds_bucket{{{AT}}}{RATE}))"
    return [
        lines(
            "Commits",
            "How long the store takes for a tick's changes. NtmStoreSlow fires where p99 stays "
            "above 250 ms.",
            "s",
            *(query(f"histogram_quantile({q}, {commits})", f"p{q * 100:g}") for q in (0.5, 0.99)),
            bounds=((None, GOOD), (0.25, BAD)),
        ),
        lines(
            "Reaches its store",
            "1 where a replica's store answers it. 0: NtmStoreAway.",
            "bool_yes_no",
            query(f"ntm_store_up{{{AT}}}", "{{instance}} {{store}}"),
        ),
    ]


def processes() -> Panels:
    """What the server takes of its machine."""
    return [
        lines(
            "Processors",
            "Cores in use. An engine's event loop is one thread: an engine near 1 is full, and "
            "more replicas are what helps.",
            "short",
            query(f"rate(ntm_engine_cpu_seconds_total{{{AT}}}{RATE})", "{{instance}} engine"),
            query(
                f"sum by (instance) (rate(ntm_front_cpu_seconds_total{{{AT}}}{RATE}))",
                "{{instance}} fronts",
            ),
            span=8,
        ),
        lines(
            "Memory",
            "Bytes that the processes hold.",
            "bytes",
            query(f"ntm_engine_resident_bytes{{{AT}}}", "{{instance}} engine"),
            query(f"sum by (instance) (ntm_front_resident_bytes{{{AT}}})", "{{instance}} fronts"),
            span=8,
        ),
        lines(
            "Open streams and requests",
            "WebSockets, event streams and gRPC streams that are open, and requests under way.",
            "short",
            query(f"sum by (kind) (ntm_streams{{{AT}}})", "{{kind}}"),
            query(f"sum(ntm_http_requests_in_flight{{{AT}}})", "requests"),
            span=8,
        ),
    ]
