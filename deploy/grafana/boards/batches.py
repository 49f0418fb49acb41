"""Panels about batches, which two dashboards show."""

from __future__ import annotations

from grafana_foundation_sdk.builders.timeseries import Panel
from grafana_foundation_sdk.models.common import StackingMode

from deploy.grafana.boards.board import BAD, GOOD, OF, PLAIN, RATE, WARN, lines, query


def size(span: int) -> Panel:
    """How many requests one call of the runtime serves."""
    total, count = (f"rate(ntm_batch_size_{end}{{{OF}}}{RATE})" for end in ("sum", "count"))
    return lines(
        "Batch size",
        "Requests stepped by one call of the runtime, in the mean, and how many there may be "
        "(NTM_MAX_BATCH). NtmBatchCollapse fires where batches stay small though more waits.",
        "short",
        query(f"sum by (model) ({total}) / sum by (model) ({count})", "{{model}}"),
        query(f"max by (model) (ntm_batch_limit{{{OF}}})", "{{model}}: limit"),
        span=span,
    )


def why_small(span: int) -> Panel:
    """What kept batches from being larger."""
    batches = f"rate(ntm_batches_total{{{OF}}}{RATE})"
    return lines(
        "Why was this batch small?",
        "Share of batches by what ended them. queue: nothing else waited, all is well. size: "
        "NTM_MAX_BATCH was reached. sessions: what waited did so for an earlier request of its "
        "own session; send a session's rows in one request. slots: no more states could be put "
        "on the device; raise NTM_SLOTS.",
        "percentunit",
        query(f"sum by (limit) ({batches}) / on () group_left () sum({batches})", "{{limit}}"),
        span=span,
        stacked=StackingMode.NORMAL,
        colors={"queue": GOOD, "size": PLAIN, "sessions": WARN, "slots": BAD},
    )
