"""The accelerators. Without one these panels are empty."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.boards.board import (
    AT,
    BAD,
    GOOD,
    RATE,
    WARN,
    Panels,
    board,
    lines,
    number,
    query,
)

GPU = "{{instance}} GPU {{gpu}}"


def gpu() -> Dashboard:
    """The dashboard of the GPUs that models run on."""
    return board(
        "ntm-gpu",
        "ntm-serve: GPU",
        "How busy and how full the GPUs are, as the driver tells it. Empty on a CPU.",
        [("Now", now()), ("Over time", course()), ("What for", worth())],
        ("instance",),
    )


def now() -> Panels:
    """The busiest and the fullest."""
    return [
        number(
            "Busiest",
            "Share of the last moment that the busiest GPU computed.",
            "percentunit",
            f"max(ntm_gpu_busy_ratio{{{AT}}})",
            span=8,
        ),
        number(
            "Fullest",
            "Share of its memory in use, whoever uses it. Above 95%: NtmGpuMemory.",
            "percentunit",
            "max(ntm:gpu_memory:ratio)",
            ((None, GOOD), (0.85, WARN), (0.95, BAD)),
            span=8,
        ),
        number(
            "Power",
            "What all GPUs draw together.",
            "watt",
            f"sum(ntm_gpu_power_watts{{{AT}}})",
            span=8,
        ),
    ]


def course() -> Panels:
    """Each GPU by itself."""
    return [
        lines(
            "Utilization",
            "Share of time in which the GPU computed anything at all: it can be 100% and not full.",
            "percentunit",
            query(f"ntm_gpu_busy_ratio{{{AT}}}", GPU),
            span=8,
        ),
        lines(
            "Memory",
            "In use on the GPU, whoever uses it, and what it has.",
            "bytes",
            query(f"ntm_gpu_memory_used_bytes{{{AT}}}", f"{GPU}: used"),
            query(f"ntm_gpu_memory_total_bytes{{{AT}}}", f"{GPU}: total"),
            span=8,
        ),
        lines(
            "Power",
            "What each GPU draws, computing or not.",
            "watt",
            query(f"ntm_gpu_power_watts{{{AT}}}", GPU),
            span=8,
        ),
    ]


def worth() -> Panels:
    """What the server does with them."""
    return [
        lines(
            "Memory of the server itself",
            "What the engine has allocated on its device: slots and the runtime's buffers.",
            "bytes",
            query(f"ntm_device_memory_bytes{{{AT}}}", "{{instance}} {{device}}"),
        ),
        lines(
            "Rows a joule",
            "Rows run for the energy that the machine's GPUs take.",
            "short",
            query(
                f"sum by (instance) (rate(ntm_rows_total{{{AT}}}{RATE})) "
                f"/ sum by (instance) (ntm_gpu_power_watts{{{AT}}})",
                "{{instance}}",
            ),
        ),
    ]
