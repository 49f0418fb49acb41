"""The engine of a replica under Ray, and its settings: what of deploy/ray needs no Ray."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings, SettingsError
from tests.deploy.ray_serve import DEPLOYED, processes
from tests.service.serving import environ, until
from tests.service.store.redis_server import running

REDIS = "redis://127.0.0.1:1/0"
KEYLESS = {"NTM_SERVE_WITHOUT_KEYS": "1"}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(DEPLOYED)
    return importlib.import_module("ntm_ray.engine")


def running_engines(engine: Any) -> list[int]:
    socket = f"NTM_ENGINE_SOCKET={engine.settings.engine_socket}"
    return processes(lambda line: "service.engine.process" in line, socket)


@pytest.mark.parametrize("store", ["memory", "sqlite:///tmp/sessions.db"])
def test_a_store_that_replicas_cannot_share_is_refused(module: Any, store: str):
    with pytest.raises(SettingsError, match="NTM_STORE: expected redis://"):
        module.settings_of(KEYLESS | {"NTM_STORE": store})


def test_what_listens_beside_ray_is_refused(module: Any):
    with pytest.raises(SettingsError, match="NTM_GRPC_PORT"):
        module.settings_of(KEYLESS | {"NTM_STORE": REDIS, "NTM_GRPC_PORT": "8001"})


def test_a_replica_that_others_can_reach_needs_keys(module: Any):
    with pytest.raises(SettingsError, match="there are no keys"):
        module.settings_of({"NTM_STORE": REDIS, "NTM_HOST": "0.0.0.0"})


async def test_an_engine_that_ends_is_started_again_and_none_is_left_in_the_end(
    module: Any, tmp_path: Path
):
    with running(tmp_path / "redis") as redis:
        settings = module.settings_of({"NTM_STORE": redis.url, "NTM_FRONTS": "3"})
        engine = module.Engine(settings, environ(NTM_STORE=redis.url))
        assert engine.settings.fronts == 1
        await engine.start()
        (first,) = running_engines(engine)
        os.kill(first, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: set(running_engines(engine)) - {first})
        await engine.stop()
        assert running_engines(engine) == []
        assert not Path(engine.settings.engine_socket).parent.exists()


def test_the_configuration_names_settings_and_what_there_is():
    told = yaml.safe_load((DEPLOYED / "serve.yaml").read_text())
    (application,) = told["applications"]
    settings = Settings.from_env(application["runtime_env"]["env_vars"])
    assert told["http_options"]["request_timeout_s"] > settings.request_timeout_s
    module, name = application["import_path"].split(":")
    source = (DEPLOYED / f"{module.replace('.', '/')}.py").read_text()
    assert f"\n{name} = " in source
    (deployment,) = application["deployments"]
    assert f"\nclass {deployment['name']}:" in source


def test_a_replica_has_time_to_drain():
    source = (DEPLOYED / "ntm_ray" / "replica.py").read_text()
    found = re.search(r"graceful_shutdown_timeout_s=(\d+)", source)
    assert found and float(found[1]) > 2 * Settings().drain_s
