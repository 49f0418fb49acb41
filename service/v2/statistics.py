"""Triton's statistics extension, from what the engine counts of each model.

The engine does not time the copying in and out apart from the runtime's step: it is part of
compute_infer, and compute_input and compute_output tell a count without time.
"""

from __future__ import annotations

import msgspec

from service.front_state import FrontState
from service.requests import Statistics
from service.results import ModelStatistics, Spent
from service.v2 import metadata

COUNTED = msgspec.msgpack.Decoder(list[ModelStatistics])
NONE = Spent(0, 0)


class InferStatistics(msgspec.Struct, frozen=True):
    """Of requests, but for the compute ones, which are of executions."""

    success: Spent
    fail: Spent
    queue: Spent
    compute_input: Spent
    compute_infer: Spent
    compute_output: Spent
    cache_hit: Spent = NONE
    cache_miss: Spent = NONE


class BatchStatistics(msgspec.Struct, frozen=True):
    """Of executions with so many requests in them."""

    batch_size: int
    compute_input: Spent
    compute_infer: Spent
    compute_output: Spent


class ModelStats(msgspec.Struct, frozen=True):
    """One model and version. inference_count: rows."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferStatistics
    batch_stats: list[BatchStatistics]


async def statistics(
    front: FrontState, name: str | None, version: str | None, request_id: str
) -> list[ModelStats]:
    """What was run, by model and version: of all where no model is named.

    Raises ModelNotFound.
    """
    if name is not None:
        await metadata.versions_of(front, name, version, request_id)
    counted = await front.link.call(COUNTED, Statistics(), request_id=request_id)
    return [
        _stats(one)
        for one in counted
        if name in (None, one.name) and version in (None, one.version)
    ]


def _stats(one: ModelStatistics) -> ModelStats:
    copied = Spent(one.infer.count, 0)
    return ModelStats(
        one.name,
        one.version,
        one.last_ms,
        one.rows,
        one.executions,
        InferStatistics(one.success, one.fail, one.queue, copied, one.infer, copied),
        [_batch(size, spent) for size, spent in one.batches.items()],
    )


def _batch(size: int, spent: Spent) -> BatchStatistics:
    copied = Spent(spent.count, 0)
    return BatchStatistics(size, copied, spent, copied)
