"""What the engine counts, and that no session is ever a label."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from service.requests import Guard, Metrics
from tests.service.engine.conftest import MakeDriver, MakeVersions
from tests.service.engine.driver import Driver, rows_of, until

NAMES = {
    "ntm_queue_seconds": "histogram",
    "ntm_step_seconds": "histogram",
    "ntm_commit_seconds": "histogram",
    "ntm_batch_size": "histogram",
    "ntm_batches": "counter",
    "ntm_rows": "counter",
    "ntm_queue_depth": "gauge",
    "ntm_sessions": "gauge",
    "ntm_state_bytes": "gauge",
    "ntm_evictions": "counter",
    "ntm_expiries": "counter",
    "ntm_model_info": "gauge",
    "ntm_device_memory_bytes": "gauge",
    "ntm_queue_limit": "gauge",
    "ntm_batch_limit": "gauge",
    "ntm_slots": "gauge",
    "ntm_load_seconds": "histogram",
    "ntm_restores": "counter",
    "ntm_live_sessions": "gauge",
    "ntm_store_up": "gauge",
    "ntm_store_free_bytes": "gauge",
    "ntm_model_requests": "counter",
    "ntm_model_pending": "gauge",
    "ntm_gpu_busy_ratio": "gauge",
    "ntm_engine_cpu_seconds": "counter",
}


async def families(driver: Driver) -> dict[str, Metric]:
    text = (await driver.call(Metrics())).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


async def value(driver: Driver, name: str, **labels: str) -> float | None:
    await driver.call(Metrics())  # brings the gauges up to date
    return driver.engine.metrics.registry.get_sample_value(name, labels)


async def test_every_metric_has_its_name_type_and_meaning(driver: Driver) -> None:
    found = await families(driver)

    assert {name: found[name].type for name in NAMES} == NAMES
    assert all(name.startswith("ntm_") and f.documentation for name, f in found.items())


async def test_no_session_key_or_tenant_is_a_label(driver: Driver) -> None:
    await driver.create("a-session-id", guard=Guard("a-create-key", b"f"))
    await driver.stepped("a-session-id", rows_of(0, 3), guard=Guard("a-step-key", b"f"))
    await driver.create("other")
    await driver.delete("other")
    text = (await driver.call(Metrics())).decode()

    for secret in ("a-session-id", "other", "alice", "a-step-key", "a-create-key"):
        assert f'"{secret}"' not in text
    samples = [s for family in (await families(driver)).values() for s in family.samples]
    labels = {label for sample in samples for label in sample.labels}
    assert labels == {
        "model", "version", "family", "runtime", "device", "state", "tier", "reason", "le",
        "limit", "outcome", "store",
    }  # fmt: skip


async def test_rows_batches_and_times_are_counted_by_model(driver: Driver) -> None:
    for name in ("s", "mate"):
        await driver.create(name)
    answers = [driver.step(name, rows_of(0, 3)) for name in ("s", "mate")]
    for answer in answers:
        await answer.wait()
    await driver.predict(rows_of(1, 40))

    assert await value(driver, "ntm_rows_total", model="copy") == 46
    batches = await value(driver, "ntm_batch_size_count", model="copy")
    assert batches == await value(driver, "ntm_step_seconds_count", model="copy") == 4
    assert await value(driver, "ntm_batch_size_sum", model="copy") == 5  # 2, then 1 three times
    assert await value(driver, "ntm_batches_total", model="copy", limit="queue") == 4
    assert await value(driver, "ntm_queue_seconds_count", model="copy") == 3
    assert await value(driver, "ntm_commit_seconds_count") == 1
    seconds = await value(driver, "ntm_step_seconds_sum", model="copy")
    assert seconds is not None and 0 < seconds < 10


async def test_sessions_are_counted_by_where_their_state_is(make_driver: MakeDriver) -> None:
    driver = make_driver(slots=4)
    size = (await driver.create("fresh")).state_bytes
    for n in range(4):
        await driver.create(f"s{n}")
        await driver.stepped(f"s{n}", rows_of(n, 1))

    counts = {
        state: await value(driver, "ntm_sessions", state=state)
        for state in ("initial", "device", "host", "store")
    }
    assert counts == {"initial": 1, "device": 3, "host": 1, "store": 0}
    assert await value(driver, "ntm_state_bytes", tier="device") == 3 * size
    assert await value(driver, "ntm_state_bytes", tier="host") == size
    evicted = {"model": "copy", "reason": "device_full"}
    assert await value(driver, "ntm_evictions_total", **evicted) == 1

    for n in range(4):
        await driver.delete(f"s{n}")
    assert await value(driver, "ntm_sessions", state="device") == 0
    assert await value(driver, "ntm_state_bytes", tier="host") == 0
    assert await value(driver, "ntm_expiries_total", reason="deleted") == 4


async def test_the_queue_depth_rises_and_falls_with_what_waits(driver: Driver) -> None:
    await driver.create("s")
    assert await value(driver, "ntm_queue_depth", model="copy") == 0
    answers = [driver.step("s", rows_of(n, 500)) for n in range(3)]

    assert await value(driver, "ntm_queue_depth", model="copy") == 3
    for answer in answers[1:]:
        driver.engine.cancel(answer)
    assert await value(driver, "ntm_queue_depth", model="copy") == 1
    await answers[0].wait()
    await until(lambda: answers[0].job is None)
    assert await value(driver, "ntm_queue_depth", model="copy") == 0


async def test_the_queue_depth_of_a_models_versions_adds_up(make_versions: MakeVersions) -> None:
    driver = Driver(make_versions("1", "2"))
    answers = []
    for version in ("1", "2"):
        await driver.create(version, version=version)
        answers += [driver.step(version, rows_of(n, 300)) for n in range(2)]

    assert await value(driver, "ntm_queue_depth", model="copy") == 4
    for answer in answers:
        await answer.wait()
    await driver.at_rest()


async def test_the_loaded_model_is_told(driver: Driver) -> None:
    labels = {"model": "copy", "version": "1", "family": "ntm", "runtime": "onnx", "device": "cpu"}

    assert await value(driver, "ntm_model_info", **labels) == 1


@pytest.mark.parametrize("bad", [False, True])
async def test_only_rows_that_ran_are_counted(driver: Driver, bad: bool) -> None:
    await driver.create("s")
    rows = rows_of(0, 2) * np.float32(np.nan if bad else 1)
    await driver.step("s", rows).settled()
    late = driver.send(driver.steps("s", rows_of(0, 2)), timeout_s=-1.0)
    driver.engine.cancel(late)

    assert await value(driver, "ntm_rows_total", model="copy") == 2
    assert await value(driver, "ntm_commit_seconds_count") == (0 if bad else 1)
