"""How many sessions live, where their states are, and what happens to them."""

from __future__ import annotations

from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.boards.board import (
    AT,
    BAD,
    GOOD,
    OF,
    RATE,
    WARN,
    Panels,
    board,
    lines,
    number,
    query,
)

HELD = f'ntm_sessions{{{AT}, state!="store"}}'


def sessions() -> Dashboard:
    """The dashboard of states: where they are, and what moves them."""
    return board(
        "ntm-sessions",
        "ntm-serve: sessions",
        "Live sessions by where their state is, and what moves, ends and doubles them.",
        [
            ("Now", now()),
            ("Where they are", places()),
            ("What moves them", moves()),
            ("What goes wrong", wrong()),
            ("The store", store()),
        ],
        ("instance", "model"),
    )


def now() -> Panels:
    """How many there are, and whether all is well with them."""
    return [
        number(
            "Live",
            "Sessions that have not ended. Replicas on one Redis share them, so they count once.",
            "short",
            "sum(ntm:live_sessions)",
            span=6,
        ),
        number(
            "Held by replicas",
            "Those whose state a replica has on its device or in its memory.",
            "short",
            f"sum({HELD})",
            span=6,
        ),
        number(
            "Damaged",
            "Sessions found damaged in the store within a day. Any: NtmDamagedState.",
            "short",
            f"sum(increase(ntm_damaged_total{{{AT}}}[1d]))",
            ((None, GOOD), (1, BAD)),
            span=6,
        ),
        number(
            "Left in the store",
            "Share of the disk, or of Redis's maxmemory, that is free where it is least. Below "
            "15%: NtmStoreFilling; below 5%: NtmStoreFull. Without maxmemory there is no limit.",
            "percentunit",
            "min(ntm:store_free:ratio)",
            ((None, BAD), (0.05, WARN), (0.15, GOOD)),
            span=6,
        ),
    ]


def places() -> Panels:
    """Where the states are."""
    return [
        lines(
            "Sessions by tier",
            "device: a slot of its own. initial: never stepped, shares one. host: in the engine's "
            "memory. store: in the store alone, and loaded when it is next asked for.",
            "short",
            query(f"sum by (state) ({HELD})", "{{state}}"),
            query(f"clamp_min(sum(ntm:live_sessions) - sum({HELD}), 0)", "store"),
            span=8,
            stacked=StackingMode.NORMAL,
        ),
        lines(
            "State bytes by tier",
            "Bytes of session state on devices and in the engines' memory (NTM_HOST_STATE_BYTES).",
            "bytes",
            query(f"sum by (tier) (ntm_state_bytes{{{AT}}})", "{{tier}}"),
            span=8,
            stacked=StackingMode.NORMAL,
        ),
        lines(
            "Device slots",
            "States on the device, of all models, and how many have room (NTM_SLOTS).",
            "short",
            query(f'sum by (instance) (ntm_sessions{{{AT}, state="device"}})', "{{instance}}"),
            query(f"sum by (instance) (ntm_slots{{{OF}}})", "{{instance}}: room"),
            span=8,
        ),
    ]


def moves() -> Panels:
    """What is put off, brought back and ended."""
    return [
        lines(
            "Evictions",
            "States put off a second. device_full: from the device to memory. host_full: from "
            "memory to the store. Half as many as steps: NtmEvictionStorm.",
            "ops",
            query(f"sum by (reason) (rate(ntm_evictions_total{{{OF}}}{RATE}))", "{{reason}}"),
            span=8,
        ),
        lines(
            "Restores",
            "States brought back a second. host: from memory to the device. store: from the "
            "store to memory.",
            "ops",
            query(f"sum by (source) (rate(ntm_restores_total{{{OF}}}{RATE}))", "{{source}}"),
            span=8,
        ),
        lines(
            "Ended",
            "Sessions ended a second: expired after their TTL, deleted, ended with their sequence.",
            "ops",
            query(f"sum by (reason) (rate(ntm_expiries_total{{{AT}}}{RATE}))", "{{reason}}"),
            span=8,
        ),
    ]


def wrong() -> Panels:
    """Work done twice, and states that cannot be read."""
    return [
        lines(
            "Commit conflicts",
            "Changes not written a second, since another replica had written to the session. "
            "Each is a step run twice. More than 1 in 100 steps: NtmCommitConflicts.",
            "ops",
            query(
                f"sum by (instance) (rate(ntm_commit_conflicts_total{{{AT}}}{RATE}))",
                "{{instance}}",
            ),
        ),
        lines(
            "Damaged states",
            "Sessions found damaged in the store, since the engine began.",
            "short",
            query(f"sum by (instance) (ntm_damaged_total{{{AT}}})", "{{instance}}"),
            bounds=((None, GOOD), (1, BAD)),
        ),
    ]


def store() -> Panels:
    """How full it is, and how long a session takes to come back."""
    loads = f"sum by (le) (rate(ntm_load_seconds_bucket{{{AT}}}{RATE}))"
    return [
        lines(
            "Room",
            "What the store takes up, and where there is a limit (the disk of the SQLite file, "
            "Redis's maxmemory) what is left.",
            "bytes",
            query(f"max by (store) (ntm_store_bytes{{{AT}}})", "{{store}}: used"),
            query(f"min by (store) (ntm_store_free_bytes{{{AT}}})", "{{store}}: left"),
        ),
        lines(
            "Loading a session",
            "From the store to memory, rows since its checkpoint run again.",
            "s",
            *(query(f"histogram_quantile({q}, {loads})", f"p{q * 100:g}") for q in (0.5, 0.99)),
        ),
    ]
