import asyncio
from pathlib import Path

import httpx

from service.app import create_app
from service.errors import EngineUnavailable
from service.link import EngineLink
from service.requests import Health
from service.results import HealthInfo
from service.settings import Settings
from tests.service.fake_engine import FakeEngine, in_loop
from tests.service.serving import client_of


def test_a_running_server_is_live_and_ready(client: httpx.Client):
    assert client.get("/health/live").json() == {"live": True}
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"ready": True})


@in_loop
async def test_without_an_engine_the_front_is_live_and_not_ready(tmp_path: Path):
    app = create_app(Settings(engine_socket=str(tmp_path / "nobody.sock")))
    async with app.lifespan(), client_of(app) as client:
        assert (await client.get("/health/live")).status_code == 200
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, EngineUnavailable.code)
        assert answer.headers["retry-after"] == "1"


@in_loop
async def test_an_engine_that_is_not_ready_says_why(tmp_path: Path):
    async with FakeEngine(str(tmp_path / "engine.sock")) as engine:
        link = EngineLink(engine.path, 5.0)
        await link.open()
        await engine.until(lambda: engine.connected)
        async with client_of(create_app(Settings(), link)) as client:
            asking = asyncio.create_task(client.get("/health/ready"))
            (call,) = await engine.received(1)
            assert isinstance(call.request, Health)
            engine.reply(call.number, HealthInfo(False, "warming copy 1"))
            answer = await asking
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert answer.json()["detail"] == "warming copy 1"
        await link.close()
