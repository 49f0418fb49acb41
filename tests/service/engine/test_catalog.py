"""Models come and go while an engine runs, and its sessions stay."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest

from export.bundle import Bundle, write_manifest
from service.engine.engine import Engine
from service.engine.metrics import EngineMetrics
from service.engine.models import load_hosts
from service.requests import Describe, ListModels, Reload, Unload
from service.settings import Settings
from service.store.memory import MemoryStore
from tests.service.engine.driver import Driver, rows_of


def put(bundle: Bundle, zoo: Path, version: str, task: str = "copy") -> None:
    """Lay a version of the model into the zoo."""
    shutil.copytree(bundle.folder, zoo / version, dirs_exist_ok=True)
    write_manifest(
        zoo / version, msgspec.structs.replace(bundle.manifest, version=version, task=task)
    )


@pytest.fixture
def zoo(bundle: Bundle, tmp_path: Path) -> Path:
    put(bundle, tmp_path, "1")
    return tmp_path


@pytest.fixture
def driver(zoo: Path) -> Driver:
    settings = Settings(models=(str(zoo),), device="cpu", slots=4, max_batch=4)
    engine = Engine(settings, MemoryStore(), EngineMetrics())
    for host in load_hosts(settings, engine.metrics):
        engine.add(host)
    return Driver(engine)


async def versions(driver: Driver) -> list[str]:
    return [model.manifest.version for model in await driver.call(ListModels())]


async def test_a_reload_adds_what_is_new_beside_what_runs(
    driver: Driver, bundle: Bundle, zoo: Path
) -> None:
    await driver.create("old")
    running = driver.step("old", rows_of(0, 300))
    put(bundle, zoo, "2")

    new = await driver.call(Reload())

    assert [model.manifest.version for model in new] == ["2"]
    assert await versions(driver) == ["1", "2"]
    assert (await running.wait()).step == 300
    assert (await driver.create("new")).version == "2"
    assert (await driver.describe("old")).version == "1"
    assert await driver.call(Reload()) == []
    await driver.at_rest()


async def test_two_reloads_at_once_add_a_model_once(
    driver: Driver, bundle: Bundle, zoo: Path
) -> None:
    put(bundle, zoo, "2")

    both = await asyncio.gather(*(driver.call(Reload()) for _ in range(2)))

    assert sorted(len(new) for new in both) == [0, 1]
    assert await versions(driver) == ["1", "2"]


async def test_a_bundle_changed_under_its_version_is_refused(
    driver: Driver, bundle: Bundle, zoo: Path
) -> None:
    put(bundle, zoo, "1", task="other")
    put(bundle, zoo, "2")

    assert (await driver.refused(Reload())).code == "bundle_changed"
    assert await versions(driver) == ["1"]


async def test_a_version_with_sessions_is_unloaded_by_force_alone(
    driver: Driver, bundle: Bundle, zoo: Path
) -> None:
    await driver.create("s")
    await driver.stepped("s", rows_of(0, 3))

    error = await driver.refused(Unload("copy", "1", False))
    assert error.code == "version_in_use" and error.extra == {"sessions": 1}
    await driver.call(Unload("copy", "1", True))
    assert await versions(driver) == []
    assert (await driver.refused(driver.steps("s", rows_of(0, 1)))).code == "model_not_loaded"

    await driver.call(Reload())
    assert (await driver.stepped("s", rows_of(0, 1))).step == 4


async def test_a_version_with_requests_under_way_is_not_unloaded_even_by_force(
    driver: Driver,
) -> None:
    await driver.create("s")
    running = driver.step("s", rows_of(0, 300))

    assert (await driver.refused(Unload("copy", "1", True))).code == "version_in_use"
    assert (await running.wait()).step == 300
    await driver.call(Unload("copy", "1", True))
    assert (await driver.refused(Unload("copy", "1", True))).code == "model_not_found"


async def test_sessions_keep_the_bundle_that_they_began_on_also_where_it_is_not_loaded(
    driver: Driver, bundle: Bundle, zoo: Path
) -> None:
    mine = Driver(driver.engine, "bob")
    await mine.create("s")
    await driver.call(Unload("copy", "1", True))
    put(bundle, zoo, "1", task="other")

    assert (await driver.refused(Reload())).code == "bundle_changed"
    assert await versions(driver) == []
    await mine.delete("s")
    await driver.call(Reload())
    assert await versions(driver) == ["1"]


async def test_a_session_whose_version_is_not_loaded_is_described_and_ended(
    driver: Driver,
) -> None:
    begun = await driver.create("s")
    await driver.call(Unload("copy", "1", True))

    seen = await driver.describe("s")
    assert (seen.incarnation, seen.version, seen.tier) == (begun.incarnation, "1", "store")
    await driver.delete("s")
    assert (await driver.refused(Describe("alice", "s"))).code == "session_not_found"
