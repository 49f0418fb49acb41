"""What a server on one SQLite file keeps: through kills, stops, expiries and lack of room."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from export.bundle import STEP_ONNX, read_bundle
from service.engine.onnx import OnnxCpu
from service.engine.runtime import Runtime
from service.keys import EVERYBODY
from service.store.sqlite import open_sqlite
from service.store.sqlite_lock import HAND_OVER_S
from service.store.store import SessionKey, Stored
from tests.service.crash.reference import Reference
from tests.service.serving import Server, launched, served, until
from tests.service.test_routes_mutations import memory_of
from tests.service.test_routes_sessions import create, step

COUNT, CLIENTS = 600, 32  # sessions over 8 slots, and who steps them at once


@pytest.fixture(scope="module")
def reference(small: Path) -> Reference:
    bundle = read_bundle(small)
    spec, initial = bundle.manifest.state, bundle.initial_state()
    arrays = [initial[tensor.name] for tensor in spec]
    return Reference(Runtime(OnnxCpu(bundle.read(STEP_ONNX), spec, 1), spec, 7, 3, 32, arrays))


@contextmanager
def on_file(folder: Path, models: Path, **settings: str) -> Iterator[Server]:
    """A server on the file sessions.db of a folder."""
    with served(folder, models, NTM_STORE=f"sqlite://{folder}/sessions.db", **settings) as server:
        yield server


def rows_of(seed: int, count: int) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 7)).astype(np.float32)


def stepped(client: httpx.Client, session: str, rows: Any, **headers: str) -> httpx.Response:
    return step(client, session, rows.tolist(), **headers)


def path_of(info: dict[str, Any]) -> str:
    return f"/v1/sessions/{info['id']}"


def kill(server: Server) -> None:
    """SIGKILL of every process. The children first: without the supervisor they would end well;
    and it stands still meanwhile, or it would start them again."""
    server.process.send_signal(signal.SIGSTOP)
    for pid in server.children("service."):
        os.kill(pid, signal.SIGKILL)
    server.process.kill()
    server.process.wait()


async def records_to_replay(file: Path, sessions: list[str]) -> int:
    """Records after their session's newest checkpoint, in a file whose server has ended."""
    store = await open_sqlite(str(file), wait_s=HAND_OVER_S)
    found = [await store.load(SessionKey(EVERYBODY, path.rpartition("/")[2])) for path in sessions]
    await store.close()
    return sum(len(stored.records) for stored in found if isinstance(stored, Stored))


def metric(client: httpx.Client, name: str) -> float:
    line = next(x for x in client.get("/metrics").text.splitlines() if x.startswith(name + " "))
    return float(line.rpartition(" ")[2])


@pytest.mark.parametrize("durability", ["sync", "async", "off"])
def test_after_a_kill_sessions_go_on_from_what_their_durability_keeps(
    tmp_path: Path, small: Path, reference: Reference, durability: str
):
    """sync: all of it; async: what is older than its window; off: at least a consistent past."""
    settings = {"NTM_DURABILITY": durability, "NTM_ASYNC_WINDOW_S": "0.05"}
    parts = [rows_of(seed, seed % 3 + 1) for seed in range(7)]
    states, outputs = [reference.initial()], list[Any]([None])
    for rows in parts:
        y, state = reference.step(states[-1], rows)
        outputs.append(y)
        states.append(state)
    with on_file(tmp_path, small, **settings) as server, server.client() as client:
        session = path_of(create(client, "small"))
        for at, rows in enumerate(parts[:-1], 1):
            key = {"idempotency-key": f"key-{at}"}
            got = stepped(client, session, rows, **key).json()
            assert np.array_equal(np.float32(got["outputs"]), outputs[at])
        if durability == "async":
            file = tmp_path / "sessions.db"
            until(lambda: _revision(file) == len(parts))
        kill(server)
    with on_file(tmp_path, small, **settings) as server, server.client() as client:
        answer = client.get(session)
        if durability == "off" and answer.status_code == 404:
            return  # created within what a crash may take
        revision = answer.json()["revision"]
        assert revision == len(parts) or durability == "off"
        shown = [np.float32(tensor["data"]) for tensor in memory_of(client, session)]
        for got, want in zip(shown, states[revision - 1], strict=True):
            assert np.array_equal(got, want.ravel())
        if revision == len(parts):
            again = stepped(client, session, parts[-2], **{"idempotency-key": "key-6"})
            assert again.headers["idempotency-replayed"] == "true"
            assert np.array_equal(np.float32(again.json()["outputs"]), outputs[-2])
            last = stepped(client, session, parts[-1]).json()
            assert np.array_equal(np.float32(last["outputs"]), outputs[-1])


def _revision(file: Path) -> int:
    """The only session's, as another process reads it: a record's id ends in its revision."""
    db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    tables = "SELECT id FROM journal UNION ALL SELECT id FROM records"
    found = db.execute(f"SELECT max(id % 4294967296) FROM ({tables})").fetchone()[0]
    db.close()
    return found or 0


def test_durability_below_sync_is_refused_on_a_shared_store(tmp_path: Path, small: Path):
    settings = {"NTM_STORE": "redis://127.0.0.1:1/0", "NTM_DURABILITY": "async"}
    with launched(tmp_path, "--port", "0", NTM_MODELS=str(small), **settings) as refused:
        assert refused.process.wait(60) == 1
        assert "async" in refused.text()


@pytest.mark.parametrize(("end", "records"), [(Server.stop, 0), (kill, 3)])
def test_a_clean_stop_leaves_nothing_to_run_again_and_a_kill_does(
    tmp_path: Path, small: Path, end: Callable[[Server], Any], records: int
):
    with on_file(tmp_path, small) as server, server.client() as client:
        sessions = [path_of(create(client, "small")) for _ in range(3)]
        for seed, session in enumerate(sessions, 1):
            stepped(client, session, rows_of(seed, seed))
        end(server)
    assert asyncio.run(records_to_replay(tmp_path / "sessions.db", sessions)) == records


def test_an_expired_session_answers_410_also_after_a_restart(tmp_path: Path, small: Path):
    with on_file(tmp_path, small) as server, server.client() as client:
        short = path_of(create(client, "small", idle_ttl_s=0.2))
        swept = path_of(create(client, "small", idle_ttl_s=0.2))
        stays = path_of(create(client, "small"))
        until(lambda: client.get(short).status_code == 410)
        until(lambda: metric(client, 'ntm_expiries_total{reason="expired"}') == 2)
        answer = stepped(client, swept, rows_of(1, 1))
        assert (answer.status_code, answer.json()["code"]) == (410, "session_expired")
    with on_file(tmp_path, small) as server, server.client() as client:
        assert [client.get(path).status_code for path in (short, swept, stays)] == [410, 410, 200]
        unknown = client.get("/v1/sessions/nobody")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "session_not_found")


def test_a_second_server_on_the_same_file_is_refused(tmp_path: Path, small: Path):
    (tmp_path / "second").mkdir()
    store = f"sqlite://{tmp_path}/sessions.db"
    with on_file(tmp_path, small) as server, server.client() as client:
        settings = {"NTM_STORE": store, "NTM_MODELS": str(small)}
        with launched(tmp_path / "second", "--port", "0", **settings) as second:
            assert second.process.wait(60) == 1
            assert "another server has this store open" in second.text()
        assert create(client, "small")["revision"] == 1


def test_a_server_waits_for_what_is_left_of_one_that_was_killed(tmp_path: Path, small: Path):
    (tmp_path / "second").mkdir()
    settings = {"NTM_STORE": f"sqlite://{tmp_path}/sessions.db", "NTM_MODELS": str(small)}
    with on_file(tmp_path, small) as server, server.client() as client:
        session = path_of(create(client, "small"))
        stepped(client, session, rows_of(1, 3))
        (engine,) = server.children("engine.process")
        os.kill(engine, signal.SIGSTOP)  # it would have ended before the next one looks
        server.process.kill()
        server.process.wait()
    with launched(tmp_path / "second", "--port", "0", **settings) as second:
        try:
            until(lambda: f"waiting for process {engine} to let go" in second.text(), 60)
        finally:
            os.kill(engine, signal.SIGKILL)
        second.wait_until_listening()
        with second.client() as client:
            assert client.get(session).json()["step"] == 3


def test_a_reply_above_its_bound_is_refused_before_it_runs(tmp_path: Path, small: Path):
    with (
        served(tmp_path, small, NTM_MAX_REPLY_BYTES="100") as server,
        server.client() as client,
    ):
        session = path_of(create(client, "small"))
        answer = stepped(client, session, rows_of(1, 6))
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (413, "too_many_rows")
        assert (problem["expected"], problem["got"]) == (100, 120)
        assert client.get(session).json()["revision"] == 1
        assert stepped(client, session, rows_of(1, 5)).json()["step"] == 5


def test_many_more_sessions_than_slots_all_go_on_and_none_errs(
    tmp_path: Path, small: Path, reference: Reference
):
    """And few bytes of host memory: what is idle goes to the store and comes back right."""
    settings = {"NTM_SLOTS": "8", "NTM_HOST_STATE_BYTES": "20000", "NTM_MAX_BATCH": "4"}
    with on_file(tmp_path, small, **settings) as server, server.client() as client:
        states = asyncio.run(_burst(server.url, reference))
        until(lambda: metric(client, 'ntm_sessions{state="store"}') > COUNT / 2, 60)
        text = client.get("/metrics").text
        assert 'ntm_evictions_total{model="small",reason="device_full"}' in text
        assert metric(client, 'ntm_evictions_total{model="small",reason="host_full"}') > 0
        assert metric(client, 'ntm_sessions{state="device"}') <= 8
        until(lambda: metric(client, 'ntm_state_bytes{tier="host"}') <= 20000)
        with ThreadPoolExecutor(4) as pool:
            shown = list(pool.map(lambda path: memory_of(client, path), list(states)[::20]))
        for path, tensors in zip(list(states)[::20], shown, strict=True):
            for tensor, array in zip(tensors, states[path], strict=True):
                assert np.array_equal(np.float32(tensor["data"]), array.ravel()), path


async def _burst(url: str, reference: Reference) -> dict[str, Any]:
    """Every session created and stepped twice, by clients at once. Their states."""
    limits = httpx.Limits(max_connections=CLIENTS)
    states: dict[str, Any] = {}

    async def live(http: httpx.AsyncClient, number: int) -> None:
        created = await http.post("/v1/models/small/sessions", json={})
        assert created.status_code == 201, created.text
        path, state = created.headers["location"], reference.initial()
        for turn in range(2):
            rows = rows_of(2 * number + turn, 2)
            answer = await http.post(f"{path}/steps", json={"inputs": rows.tolist()})
            assert answer.status_code == 200, answer.text
            y, state = reference.step(state, rows)
            assert np.array_equal(np.float32(answer.json()["outputs"]), y)
        states[path] = state

    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http:
        todo = iter(range(COUNT))

        async def client() -> None:
            for number in todo:
                await live(http, number)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return states
