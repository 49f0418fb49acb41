"""What each model and version does, and how full its device is with it."""

from __future__ import annotations

from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.boards import batches
from deploy.grafana.boards.board import OF, RATE, Panels, board, lines, query, warmth

VERSION = "{{model}} {{version}}"


def models() -> Dashboard:
    """The dashboard of the networks."""
    return board(
        "ntm-models",
        "ntm-serve: models",
        "Rows, versions, step times and batches of each model.",
        [
            ("Versions", versions()),
            ("Rows", rows()),
            ("Steps", steps()),
            ("Batches", [batches.size(span=12), batches.why_small(span=12)]),
        ],
        ("instance", "model"),
    )


def versions() -> Panels:
    """Which are loaded, and what still lives on them."""
    return [
        lines(
            "Loaded",
            "Replicas that have a version loaded, with what runs it and where.",
            "short",
            query(
                f"count by (model, version, runtime, device) (ntm_model_info{{{OF}}})",
                f"{VERSION}: {{{{runtime}}}} on {{{{device}}}}",
            ),
        ),
        lines(
            "Live sessions by version",
            "A version without sessions can be unloaded. Replicas on one store tell of the same.",
            "short",
            query(f"max by (model, version) (ntm_model_sessions{{{OF}}})", VERSION),
            stacked=StackingMode.NORMAL,
        ),
    ]


def rows() -> Panels:
    """How much is asked of each."""
    return [
        lines(
            "Rows by version",
            "Rows run a second, of all sessions in the batches.",
            "ops",
            query(f"sum by (model, version) (rate(ntm_model_rows_total{{{OF}}}{RATE}))", VERSION),
            span=8,
            stacked=StackingMode.NORMAL,
        ),
        lines(
            "Requests by outcome",
            "Steps and predictions answered a second. failure: an error, or given up.",
            "reqps",
            query(
                f"sum by (model, version, outcome) (rate(ntm_model_requests_total{{{OF}}}{RATE}))",
                f"{VERSION} {{{{outcome}}}}",
            ),
            span=8,
        ),
        lines(
            "Waiting",
            "Requests that wait for their first batch.",
            "short",
            query(f"sum by (model, version) (ntm_model_pending{{{OF}}})", VERSION),
            span=8,
        ),
    ]


def steps() -> Panels:
    """How long the runtime takes."""
    buckets = f"ntm_step_seconds_bucket{{{OF}}}{RATE}"
    spent = f"sum by (model, version) (rate(ntm_model_step_seconds_total{{{OF}}}{RATE}))"
    ran = f"sum by (model, version) (rate(ntm_model_rows_total{{{OF}}}{RATE}))"
    by_model = f"sum by (le, model) (rate({buckets}))"
    return [
        warmth(
            "Step time",
            "Batches by how long they took in the runtime, gather and scatter included.",
            "s",
            f"sum by (le) (increase({buckets}))",
            span=8,
        ),
        lines(
            "Step time by model",
            "Percentiles of one batch in the runtime.",
            "s",
            *(
                query(f"histogram_quantile({q}, {by_model})", f"{{{{model}}}} p{q * 100:g}")
                for q in (0.5, 0.99)
            ),
            span=8,
        ),
        lines(
            "Time a row, and the share of time computing",
            "Seconds of the runtime for one row, which larger batches make less; and the seconds "
            "it computes in each second: near 1 for a replica, its runtime is full.",
            "s",
            query(f"{spent} / {ran}", f"{VERSION}: a row"),
            query(spent, f"{VERSION}: computing"),
            span=8,
        ),
    ]
