"""Versions of a model come and go under a running server, and sessions stay on theirs."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from export.bundle import write_manifest
from service.settings import ZOO
from tests.service.conftest import next_version, read_manifest
from tests.service.serving import Server, launched, served, until
from tests.service.test_routes_mutations import memory_of
from tests.service.test_routes_sessions import create, step

ROWS = [[0.5, -0.25, 0.75, 0.0, 1.0, -1.0, 0.125]] * 2


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    """A folder of models with version 1 of small in it."""
    shutil.copytree(small, tmp_path / "models" / "1")
    return tmp_path / "models"


def put_version_2(small: Path, folder: Path) -> None:
    """Lay it beside the folder and move it in whole, as whoever deploys should."""
    next_version(small, folder.parent / "2")
    os.rename(folder.parent / "2", folder / "2")


def retask(bundle: Path) -> None:
    """Another bundle under the same name and version."""
    write_manifest(bundle, replace(read_manifest(bundle), task="other"))


def versions(client: httpx.Client) -> list[str]:
    return [model["version"] for model in client.get("/v1/models").json()["models"]]


def by_call(server: Server, client: httpx.Client) -> None:
    answer = client.post("/v1/models/reload")
    assert (answer.status_code, [m["version"] for m in answer.json()["models"]]) == (200, ["2"])


def by_signal(server: Server, client: httpx.Client) -> None:
    server.process.send_signal(signal.SIGHUP)


@contextmanager
def load_on(server: Server, sessions: list[str]) -> Iterator[list[httpx.Response]]:
    """Each session stepped by a client of its own, all the while; the answers."""
    stop, answers = threading.Event(), list[httpx.Response]()

    def work(session: str) -> None:
        with server.client() as client:
            while not stop.is_set():
                answers.append(step(client, session, ROWS))

    threads = [threading.Thread(target=work, args=[session]) for session in sessions]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("reload", [by_call, by_signal])
def test_a_new_version_is_picked_up_and_no_request_is_dropped(
    tmp_path: Path, small: Path, folder: Path, reload: Callable[[Server, httpx.Client], None]
):
    with served(tmp_path, folder) as server, server.client() as client:
        sessions = [f"/v1/sessions/{create(client, 'small')['id']}" for _ in range(4)]
        with load_on(server, sessions) as answers:
            until(lambda: len(answers) > 20)
            put_version_2(small, folder)
            reload(server, client)
            until(lambda: versions(client) == ["1", "2"])
            then = len(answers)
            until(lambda: len(answers) > then + 20)
        assert {answer.status_code for answer in answers} == {200}
        steps = sum(client.get(session).json()["step"] for session in sessions)
        assert steps == len(answers) * len(ROWS)
        assert {client.get(session).json()["version"] for session in sessions} == {"1"}
        assert create(client, "small")["version"] == "2"


def test_a_session_migrates_where_the_states_are_alike_and_is_told_the_differences_else(
    tmp_path: Path, small: Path, folder: Path
):
    shutil.copytree(Path(ZOO) / "copy" / "bundle", folder / "3")
    write_manifest(folder / "3", replace(read_manifest(folder / "3"), name="small", version="3"))
    put_version_2(small, folder)
    with served(tmp_path, folder) as server, server.client() as client:
        session = f"/v1/sessions/{create(client, 'small', version='1')['id']}"
        before = memory_of(client, session)
        moved = client.post(f"{session}/migrate", json={"version": "2"})
        assert (moved.status_code, moved.json()["version"]) == (200, "2")
        assert memory_of(client, session) == before, "it never stepped, and keeps its state"
        refused = client.post(f"{session}/migrate", json={"version": "3"})
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (409, "spec_mismatch")
        assert "memory: float32 [16, 4] became float32 [128, 20]" in problem["differences"]
        assert client.get(session).json()["version"] == "2"
        assert step(client, session, ROWS).status_code == 200


def test_a_bundle_changed_under_its_version_is_refused_and_the_old_goes_on(
    tmp_path: Path, small: Path, folder: Path
):
    with served(tmp_path, folder) as server, server.client() as client:
        session = f"/v1/sessions/{create(client, 'small')['id']}"
        fingerprint = client.get("/v1/models").json()["models"][0]["fingerprint"]
        retask(folder / "1")
        put_version_2(small, folder)
        answer = client.post("/v1/models/reload")
        assert (answer.status_code, answer.json()["code"]) == (409, "bundle_changed")
        (model,) = client.get("/v1/models").json()["models"]
        assert model["fingerprint"] == fingerprint
        assert step(client, session, ROWS).status_code == 200
        server.process.send_signal(signal.SIGHUP)
        until(
            lambda: "reload: " in server.text() and "is not the bundle that runs" in server.text()
        )
        assert step(client, session, ROWS).status_code == 200


def test_a_version_with_sessions_is_unloaded_by_force_alone_and_they_go_on_when_it_is_back(
    tmp_path: Path, folder: Path
):
    with served(tmp_path, folder) as server, server.client() as client:
        session = f"/v1/sessions/{create(client, 'small')['id']}"
        step(client, session, ROWS)
        before = memory_of(client, session)
        path = "/v1/models/small/versions/1"
        refused = client.delete(path)
        assert (refused.status_code, refused.json()["code"]) == (409, "version_in_use")
        assert refused.json()["sessions"] == 1
        assert client.delete(path, params={"force": "true"}).status_code == 204
        assert "ntm_model_info{" not in client.get("/metrics").text
        for answer in (client.get(f"{session}/memory"), step(client, session, ROWS)):
            assert (answer.status_code, answer.json()["code"]) == (503, "model_not_loaded")
            assert "retry-after" in answer.headers
        assert client.get(session).json()["step"] == 2
        assert client.get("/v1/sessions/nobody").status_code == 404
        again = client.post("/v1/models/reload").json()["models"]
        assert [model["version"] for model in again] == ["1"]
        assert memory_of(client, session) == before
        assert step(client, session, ROWS).json()["step"] == 4
        client.delete(session)
        assert client.delete(path).status_code == 204


def test_a_session_whose_bundle_changed_while_the_server_was_away_is_refused_not_forgotten(
    tmp_path: Path, small: Path, folder: Path
):
    store = {"NTM_STORE": f"sqlite://{tmp_path}/sessions.db"}
    original = tmp_path / "original"
    shutil.copytree(folder / "1", original)

    def visit(do: Callable[[httpx.Client], Any]) -> Any:
        with served(tmp_path, folder, **store) as server, server.client() as client:
            return do(client)

    session = f"/v1/sessions/{visit(lambda client: create(client, 'small'))['id']}"
    retask(folder / "1")
    with launched(tmp_path, "--port", "0", NTM_MODELS=str(folder), **store) as server:
        assert server.process.wait(90) == 1
    assert "is not the bundle that has live sessions as small 1" in server.text()
    put_version_2(small, folder)
    stands, stepped = visit(lambda client: (client.get(session), step(client, session, ROWS)))
    assert (stands.status_code, stands.json()["step"]) == (200, 0)
    assert (stepped.status_code, stepped.json()["code"]) == (503, "model_not_loaded")
    shutil.rmtree(folder / "1")
    shutil.copytree(original, folder / "1")
    assert visit(lambda client: step(client, session, ROWS)).json()["step"] == 2
