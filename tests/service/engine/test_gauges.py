"""What a scrape asks for: the store's state and room, limits, each version's counts, the GPUs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from service.engine import gauges, nvml
from service.requests import Metrics, Statistics
from service.store.memory import MemoryStore
from service.store.sqlite import open_sqlite
from service.store.store import Room, SessionKey, StoreUnavailable
from tests.service.engine.conftest import MakeDriver, MakeVersions
from tests.service.engine.driver import Driver, rows_of
from tests.service.engine.test_metrics import value

COPY = {"model": "copy", "version": "1"}


class FailingStore(MemoryStore):
    """It can be taken away: then it refuses at once, or answers nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.state = "there"

    async def count(self, model: tuple[str, str] | None = None) -> int:
        if self.state == "refuses":
            raise StoreUnavailable("away")
        if self.state == "hangs":
            await asyncio.Event().wait()
        return await super().count(model)


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_while_the_store_is_away_the_rest_is_told(
    how: str, make_driver: MakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "STORE_S", 0.05)
    store = FailingStore()
    driver = make_driver(store=store)
    for name in ("s", "other"):
        await driver.create(name)
    await driver.stepped("s", rows_of(0, 3))
    assert await value(driver, "ntm_store_up", store="memory") == 1

    store.state = how
    assert await value(driver, "ntm_store_up", store="memory") == 0
    assert await value(driver, "ntm_live_sessions", store="memory") == 2  # as it was last
    await driver.stepped("s", rows_of(1, 2))
    assert await value(driver, "ntm_model_rows_total", **COPY) == 5
    assert await value(driver, "ntm_sessions", state="device") == 1
    store.state = "there"
    assert await value(driver, "ntm_store_up", store="memory") == 1


async def test_a_versions_counters_are_what_v2s_statistics_tell(driver: Driver) -> None:
    await driver.create("s")
    await driver.stepped("s", rows_of(0, 3))
    await driver.refused(driver.steps("s", rows_of(0, 2) * float("nan")))
    await driver.predict(rows_of(1, 20))
    (told,) = await driver.call(Statistics())

    for outcome, spent in (("success", told.success), ("failure", told.fail)):
        labels = COPY | {"outcome": outcome}
        assert await value(driver, "ntm_model_requests_total", **labels) == spent.count > 0
        seconds = await value(driver, "ntm_model_request_seconds_total", **labels)
        assert seconds == pytest.approx(spent.ns / 1e9)
    assert await value(driver, "ntm_model_rows_total", **COPY) == told.rows == 25
    assert await value(driver, "ntm_model_executions_total", **COPY) == told.executions
    for name, spent in (("queue", told.queue), ("step", told.infer)):
        seconds = await value(driver, f"ntm_model_{name}_seconds_total", **COPY)
        assert seconds == pytest.approx(spent.ns / 1e9)


async def test_limits_are_told_beside_what_they_limit(make_driver: MakeDriver) -> None:
    driver = make_driver(slots=6, max_batch=4, max_queue=17)
    await driver.create("s")
    assert await value(driver, "ntm_queue_limit", model="copy") == 17
    assert await value(driver, "ntm_batch_limit", model="copy") == 4
    assert await value(driver, "ntm_slots", model="copy") == 6
    answers = [driver.step("s", rows_of(n, 500)) for n in range(3)]
    assert await value(driver, "ntm_model_pending", **COPY) == 2  # the first is in a batch
    for answer in answers:
        driver.engine.cancel(answer)


async def test_sessions_are_counted_by_version(make_versions: MakeVersions) -> None:
    driver = Driver(make_versions("1", "2"))
    for version, count in (("1", 2), ("2", 3)):
        for at in range(count):
            await driver.create(f"{version}-{at}", version=version)
    for version, count in (("1", 2), ("2", 3)):
        labels = {"model": "copy", "version": version}
        assert await value(driver, "ntm_model_sessions", **labels) == count
    assert await value(driver, "ntm_live_sessions", store="memory") == 5
    assert await value(driver, "ntm_queue_limit", model="copy") == 2 * 64


async def test_what_comes_back_is_counted_by_where_it_was(make_driver: MakeDriver) -> None:
    driver = make_driver(slots=4)
    for n in range(4):
        await driver.create(f"s{n}")
        await driver.stepped(f"s{n}", rows_of(n, 1))
    host = {"model": "copy", "source": "host"}
    before = await value(driver, "ntm_restores_total", **host) or 0
    await driver.stepped("s0", rows_of(0, 1))
    assert await value(driver, "ntm_restores_total", **host) == before + 1

    session = driver.engine.life.known(SessionKey(driver.tenant, "s1"))
    assert session is not None
    driver.engine.life.forget(session)
    await driver.describe("s1")
    assert await value(driver, "ntm_restores_total", model="copy", source="store") == 1
    assert await value(driver, "ntm_load_seconds_count") == 1


async def test_the_room_of_a_file_is_that_of_its_disk(
    tmp_path: Path, make_driver: MakeDriver
) -> None:
    store = await open_sqlite(str(tmp_path / "sessions.db"))
    driver = make_driver(store=store)
    await driver.create("s")
    sizes = {name: await value(driver, f"ntm_store_{name}", store="sqlite") for name in
             ("bytes", "free_bytes", "limit_bytes")}  # fmt: skip
    used, free, limit = sizes.values()
    assert used and free and limit and used < limit and free < limit
    files = sum((tmp_path / f"sessions.db{end}").stat().st_size for end in ("", "-wal"))
    assert used == pytest.approx(files, abs=1 << 20)
    await driver.at_rest()
    await store.close()


class Unbounded(MemoryStore):
    """A store whose limit was lifted."""

    free: int | None = 5

    async def room(self) -> Room:
        return Room(7, self.free, self.free and 12)


async def test_a_limit_that_was_lifted_is_told_no_longer(make_driver: MakeDriver) -> None:
    driver = make_driver(store=(store := Unbounded()))
    assert await value(driver, "ntm_store_free_bytes", store="memory") == 5
    store.free = None
    assert await value(driver, "ntm_store_free_bytes", store="memory") is None
    assert await value(driver, "ntm_store_limit_bytes", store="memory") is None
    assert await value(driver, "ntm_store_bytes", store="memory") == 7


async def test_gpus_are_told_where_a_model_runs_on_one(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = nvml.Gpu(0, "GPU-1", 10, 80, None, 90.5)
    monkeypatch.setattr(nvml, "read", lambda: [found])
    await driver.call(Metrics())
    labels = {"gpu": "0", "uuid": "GPU-1"}
    assert await value(driver, "ntm_gpu_memory_used_bytes", **labels) is None

    (host,) = driver.engine.life.hosts.values()
    monkeypatch.setattr(host.runtime.backend, "device", "cuda")
    monkeypatch.setattr(host.runtime.backend, "device_bytes", lambda: 9)
    assert await value(driver, "ntm_gpu_memory_used_bytes", **labels) == 10
    assert await value(driver, "ntm_gpu_memory_total_bytes", **labels) == 80
    assert await value(driver, "ntm_gpu_power_watts", **labels) == 90.5
    assert await value(driver, "ntm_gpu_busy_ratio", **labels) is None  # a MIG slice's
