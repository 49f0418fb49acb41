"""The client that is awaited, against the real server; what differs from the blocking one."""

import asyncio
import inspect

import numpy as np
import pytest

from service.client import (
    AsyncClient,
    AsyncRowStream,
    AsyncSession,
    Client,
    InvalidRequest,
    Misuse,
    NoAnswer,
    Retries,
    RevisionMismatch,
    RowStream,
    Session,
    SessionNotFound,
)
from tests.service.serving import Server
from tests.service.stream.socket import rows_of


@pytest.mark.parametrize(
    ("blocking", "awaited"),
    [(Client, AsyncClient), (Session, AsyncSession), (RowStream, AsyncRowStream)],
)
def test_both_have_the_same_methods_with_the_same_parameters(blocking: type, awaited: type):
    def shape(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert shape(blocking) == shape(awaited)


async def test_a_session_lives_as_long_as_its_async_with(server: Server):
    async with AsyncClient(server.url) as client:
        assert await client.ready()
        async with client.session("copy", id="awaited") as session:
            done = await session.step(rows_of(1, 3), trace=True)
            assert done.outputs.shape == (3, 8) and done.trace is not None
            assert "awaited" in [info.id async for info in client.sessions("copy", page=1)]
            memory = await session.memory()
            assert np.array_equal(memory["read_weights"], done.trace["read_weights"].array[-1])
        with pytest.raises(SessionNotFound):
            await client.open("awaited")


async def test_awaited_sessions_stay_and_opened_ones_too(server: Server):
    async with AsyncClient(server.url) as client:
        session = await client.session("copy")
        await session.step(rows_of(1, 2))
        async with client.open(session.id) as again:
            assert again.position == session.position
        assert (await (await client.open(session.id)).info()).step == 2
        async with session.fork(step=1) as fork:
            assert fork.position.step == 1
        with pytest.raises(SessionNotFound):
            await fork.info()
        await session.delete()


async def test_everything_else_is_there_too(server: Server):
    rows = rows_of(2, 4)
    async with AsyncClient(server.url) as client, client.session("copy") as session:
        assert {model.name for model in await client.models()} == {"copy", "small"}
        assert (await client.model("copy"))["name"] == "copy"
        first = (await session.step(rows)).outputs
        assert np.array_equal(await client.predict("copy", rows), first)
        assert (await session.snapshot("s")).step == 4
        data = await session.export_state()
        assert (await session.reset()).step == 0
        assert (await session.restore(snapshot="s")).step == 4
        assert (await session.import_state(data)).step == 4
        assert (await session.migrate("1")).version == "1"
        assert [snapshot.name for snapshot in await session.snapshots()] == ["s"]
        told = [entry.kind async for entry in session.history(page=2)]
        assert told == ["migrate", "import", "restore", "reset", "step", "create"]
        with pytest.raises(InvalidRequest):
            await session.step(rows[:, :3])


async def test_tasks_that_share_a_handle_step_one_after_another_and_handles_do_not_wait(
    server: Server,
):
    async with AsyncClient(server.url) as client, client.session("copy") as session:
        done = await asyncio.gather(*(session.step(rows_of(1, 1)) for _ in range(8)))
        assert sorted(step.step for step in done) == list(range(1, 9))
        other = await client.open(session.id)
        await session.step(rows_of(1, 1))
        with pytest.raises(RevisionMismatch):
            await other.step(rows_of(1, 1))
        assert (await other.info()).step == 9


async def test_pauses_are_awaited_and_end_with_the_tries():
    waited: list[float] = []

    async def note(seconds: float) -> None:
        waited.append(seconds)

    policy = Retries(count=2, base_s=0.5)
    async with AsyncClient("http://127.0.0.1:1", retries=policy, sleep=note) as client:
        assert not await client.ready()
        with pytest.raises(NoAnswer):
            await client.models()
    assert len(waited) == 2
    with pytest.raises(Misuse):
        AsyncClient("nonsense")


async def test_a_call_that_is_cancelled_leaves_the_handle_usable(server: Server):
    async with AsyncClient(server.url) as client, client.session("copy") as session:
        task = asyncio.ensure_future(session.step(rows_of(1, 1)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        step = (await session.info()).step
        assert (await session.step(rows_of(1, 1))).step == step + 1
